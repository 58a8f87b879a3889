"""Running models: every check on right and wrong ones, and what examine leaves behind."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab.doctor import examine
from droplab.doctor._codes import RUNNING as CHECKS
from droplab.errors import ArgumentError


def build(snippet):
    """Return the model and batch that a snippet makes."""
    torch.manual_seed(0)
    space = {"torch": torch, "nn": nn, "F": F, "__name__": "snippet"}
    exec(compile(snippet.text, "<snippet>", "exec"), space)
    return space["model"], space["batch"]


def codes(model, batch, **options):
    return [finding.code for finding in examine(model, batch, **options)]


def test_true(true_model):
    """The fault is found, with something measured."""
    found = examine(*build(true_model), select=[true_model.code])
    assert found
    assert {finding.code for finding in found} == {true_model.code}
    assert all(finding.found_by == "running" and finding.evidence for finding in found)


def test_near(near_model):
    """Right models are left alone."""
    assert examine(*build(near_model), select=[near_model.code]) == []


def test_nothing_stays_changed(true_model):
    """Flags, parameters, buffers, gradients, attributes, generators and the batch are as before."""
    model, batch = build(true_model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
    model.counter, model.notes = 3, [1, 2]
    if len(list(model.children())):
        next(model.children()).eval()
    before = snapshot(model)
    kept = batch.detach().clone()
    grads = [parameter.grad for parameter in model.parameters()]
    examine(model, batch)
    after = snapshot(model)
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal(value, after[name]) if torch.is_tensor(value) else value == after[name]
        assert same, name
    assert torch.equal(batch, kept)
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def snapshot(model):
    """Return everything about a model and the generators that could change."""
    state = {f"state.{k}": v.clone() for k, v in model.state_dict().items()}
    for name, module in model.named_modules():
        state[f"training.{name}"] = module.training
        plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str | list)}
        state[f"plain.{name}"] = repr(plain)
    for at, parameter in enumerate(model.parameters()):
        state[f"grad.{at}"] = parameter.grad.clone()
    state["cpu"] = torch.get_rng_state()
    state["python"] = random.getstate()
    state["numpy"] = repr(np.random.get_state())  # noqa: NPY002
    return state


def test_state_is_given_back_after_an_error():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(8)

        def forward(self, x):
            self.extra = 1
            torch.rand(1)
            self.bn(x)
            raise RuntimeError("broken")

    model, batch, state = Fails(), torch.randn(4, 8), torch.get_rng_state()
    with pytest.raises(ArgumentError, match="broken"):
        examine(model, batch)
    assert torch.equal(torch.get_rng_state(), state)
    assert not hasattr(model, "extra")
    assert int(model.bn.num_batches_tracked) == 0
    assert model.training


def test_the_line_of_a_functional_call_is_told(tmp_path, monkeypatch):
    file = tmp_path / "net_for_the_doctor.py"
    file.write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def forward(self, x):\n        return nn.functional.dropout(x, 0.5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import net_for_the_doctor

    (finding,) = examine(net_for_the_doctor.Net(), torch.ones(4, 8))
    assert (finding.path.endswith(file.name), finding.line) == (True, 5)
    assert finding.source == "return nn.functional.dropout(x, 0.5)"


def test_modules_are_named_by_their_path():
    model = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Dropout(0.0)))
    (finding,) = examine(model, torch.randn(4, 8))
    assert (finding.code, finding.module, finding.place) == ("DRP014", "1.0", "1.0")


def test_the_variance_ratio_is_the_one_of_the_formula():
    """Zero-mean input at p = 0.5 has twice the variance.

    The ratio is a mean over 3 * 256 * 64 elements; its standard error is below 0.01, so 5 % is over
    five of them: a false alarm less than once in 10**6 seeds, and the seed is fixed.
    """
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(64))
    torch.manual_seed(0)
    (finding,) = examine(model, torch.randn(256, 64), select=["DRP032"])
    assert finding.evidence["variance ratio"] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("batch", "shape"),
    [
        ((torch.randn(4, 8),), (4, 8)),
        ([torch.randn(4, 8)], (4, 8)),
        ({"x": torch.randn(4, 8)}, (4, 8)),
        ((torch.randn(4, 8), torch.zeros(4)), (4, 8)),
    ],
)
def test_batches_of_every_form(batch, shape):
    class Net(nn.Module):
        def forward(self, x):
            assert x.shape == shape
            return F.dropout(x, 0.5)

    assert codes(Net(), batch) == ["DRP004"]


def test_outputs_of_every_form():
    class Output:
        def __init__(self, logits):
            self.logits = logits

    class Net(nn.Module):
        def forward(self, x):
            return Output(F.dropout(x, 0.5))

    assert codes(Net(), torch.randn(4, 8)) == ["DRP004"]


def test_a_loss_of_ones_own_is_used():
    seen = []
    model = nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.5), nn.Linear(2, 2))
    examine(model, torch.randn(4, 8), loss=lambda out: seen.append(1) or out.square().sum())
    assert len(seen) == 3


def test_a_healthy_model_is_healthy():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(4 * 36, 16),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 3),
    )
    assert codes(model, torch.randn(16, 1, 8, 8)) == []


@pytest.mark.parametrize("layer", [nn.TransformerEncoderLayer(16, 2, batch_first=True)])
def test_torchs_own_blocks_are_healthy(layer):
    assert codes(layer, torch.randn(4, 5, 16)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear, torch.ones(2, 2)), "model must be a torch.nn.Module"),
        ((nn.Linear(2, 2), 3), "batch must be"),
        ((nn.Linear(2, 2), ()), "batch is empty"),
        ((nn.Linear(2, 2), torch.ones(2, 3)), "fails on the batch in eval mode"),
        ((nn.BatchNorm1d(2), torch.ones(1, 2)), "fails on the batch in train mode"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        examine(*arguments)


@pytest.mark.parametrize("options", [{"steps": 1}, {"steps": True}, {"select": ["DRP999"]}])
def test_bad_options_are_refused(options):
    with pytest.raises(ArgumentError):
        examine(nn.Linear(2, 2), torch.ones(2, 2), **options)


def test_selection():
    model, batch = nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.5)), torch.randn(8, 8)
    assert codes(model, batch) == ["DRP031"]
    assert codes(model, batch, ignore=["on-logits"]) == []
    assert codes(model, batch, select=["DRP00"]) == []


def test_every_running_check_has_models(live_corpus):
    counts = Counter((snippet.code, snippet.kind) for snippet in live_corpus)
    for code in CHECKS:
        assert counts[code, "true"] >= 5, code
        assert counts[code, "near"] >= 5, code
    for code in ("DRP004", "DRP005"):
        assert min(counts[code, "true"], counts[code, "near"]) >= 10, code
