"""The compiled step is the recorded one within rounding, or is refused."""

from __future__ import annotations

import copy
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from droplab import placement
from droplab.errors import ArgumentError, DroplabError
from droplab.models import MLP
from droplab.train import ExecutionPlan, UnsupportedError
from droplab.train.capture import CapturedStep
from droplab.train.compiled import _compiler, compiler
from droplab.train.compiled._compiler import load
from droplab.train.optimizers import build_optimizer

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

OPTIMIZERS = [
    ("Adam", {"lr": 1e-2}),
    ("Adam", {"lr": 1e-2, "weight_decay": 0.1}),
    ("AdamW", {"lr": 1e-2, "weight_decay": 0.1, "betas": [0.8, 0.9]}),
    ("Adam", {"lr": torch.tensor(1e-2)}),
]
SHAPES = [(12, (16, 8), 3), (37, (13,), 5), (70, (66, 34), 10), (16, (), 4), (3, (2,), 2)]


def replica(shape, name="Adam", options=None, p=0.4):
    features, hidden, classes = shape
    torch.manual_seed(0)
    model = MLP(features, hidden=hidden, classes=classes)
    sites = placement.plan(model, {f"fc{i + 2}": p for i in range(len(hidden))} or {"fc1": p})
    applied = sites.apply()
    applied.seed({name: 10 + i for i, name in enumerate(applied.names)})
    options = {"lr": 1e-2} if options is None else options
    return model, build_optimizer(name, copy.deepcopy(options), model.parameters()), applied


def net(*middle):
    return nn.Sequential(nn.Linear(12, 8), *middle, nn.Linear(8, 3))


def batches(shape, count):
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        rows = 9 if index % 3 else 4  # two shapes, as with the last batch of an epoch
        inputs = torch.randn(rows, shape[0], generator=generator)
        yield inputs, torch.randint(0, shape[2], (rows,), generator=generator)


@needs_compiler
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_equals_recorded_within_rounding(shape, name, options):
    recorded, compiled = replica(shape, name, options), replica(shape, name, options)
    one, two = CapturedStep(*recorded[:2]), CapturedStep(*compiled[:2], compiled=True)
    for step, (inputs, targets) in enumerate(batches(shape, 12)):
        recorded[2].set_step(step)
        compiled[2].set_step(step)
        torch.testing.assert_close(two(inputs, targets), one(inputs, targets), rtol=1e-3, atol=1e-4)
    for a, b in zip(recorded[0].parameters(), compiled[0].parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=2e-4)
    for a, b in zip(recorded[1].state.values(), compiled[1].state.values(), strict=True):
        assert a["step"] == b["step"] == 12
        torch.testing.assert_close(b["exp_avg"], a["exp_avg"], rtol=1e-2, atol=1e-5)


@needs_compiler
def test_logits_that_are_reshaped_at_the_end_are_returned_as_they_are():
    torch.manual_seed(0)
    one = net(nn.ReLU(), nn.Flatten(), nn.Linear(8, 8))
    one.append(nn.Flatten())
    two = copy.deepcopy(one)
    steps = [
        CapturedStep(model, build_optimizer("Adam", {}, model.parameters()), compiled=compiled)
        for model, compiled in ((one, False), (two, True))
    ]
    for inputs, targets in batches((12, (), 3), 6):
        expected, found = (step(inputs, targets) for step in steps)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@needs_compiler
def test_rates_and_the_learning_rate_are_read_as_they_are():
    shape = (12, (16, 8), 3)
    rate = torch.tensor(0.0)
    model, optimizer, applied = replica(shape, options={"lr": rate})
    step = CapturedStep(model, optimizer, compiled=True)
    inputs, targets = next(batches(shape, 1))
    for number in range(2):  # the second one is compiled
        applied.set_step(number)
        step(inputs, targets)
    applied.p.zero_()
    model.eval()
    with torch.no_grad():
        expected = model(inputs)
    torch.testing.assert_close(step(inputs, targets), expected)
    assert torch.equal(step(inputs, targets), step(inputs, targets))
    optimizer.param_groups[0]["lr"].fill_(0.1)
    step(inputs, targets)
    assert not torch.equal(step(inputs, targets), expected)


@needs_compiler
def test_a_rate_or_a_target_that_is_none_is_refused_when_it_is_met():
    shape = (12, (16, 8), 3)
    model, optimizer, applied = replica(shape)
    step = CapturedStep(model, optimizer, compiled=True)
    inputs, targets = next(batches(shape, 1))
    for number in range(3):
        applied.set_step(number)
        step(inputs, targets)
    for wrong in (3, -1, -100):
        with pytest.raises(IndexError, match="a target is no class of the model"):
            step(inputs, torch.full_like(targets, wrong))
    applied.p[1] = 1.5
    with pytest.raises(ArgumentError, match=r"\[0, 1\]"):
        step(inputs, targets)


@needs_compiler
@pytest.mark.parametrize(
    ("model", "name", "options", "clip", "what"),
    [
        (lambda: net(nn.BatchNorm1d(8), nn.ReLU()), "Adam", {}, None, "no C is known for aten"),
        (lambda: net(nn.GELU()), "Adam", {}, None, "aten.gelu"),
        (lambda: net().double(), "Adam", {}, None, "float64"),
        (net, "SGD", {"lr": 0.1}, None, "aten._fused_sgd_"),
        (net, "Adam", {"amsgrad": True}, None, "amsgrad"),
        (net, "Adam", {}, 0.5, "no C is known for aten"),
    ],
    ids=["norm", "gelu", "double", "sgd", "amsgrad", "clip"],
)
def test_what_is_not_known_in_c_is_said(model, name, options, clip, what):
    torch.manual_seed(0)
    model = model()
    optimizer = build_optimizer(name, options, model.parameters())
    step = CapturedStep(model, optimizer, clip, compiled=True)
    inputs, targets = next(batches((12, (), 3), 1))
    inputs = inputs.to(next(model.parameters()).dtype)
    step(inputs, targets)
    with pytest.raises(UnsupportedError, match=what):
        step(inputs, targets)


@needs_compiler
def test_what_was_compiled_once_is_found_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = "int step(void *const *a, void *const *b, float *c) { return 41; }"
    load.cache_clear()
    compile_it = Mock(side_effect=_compiler._compile)
    monkeypatch.setattr(_compiler, "_compile", compile_it)
    assert load(source)(None, None, None) == 41
    load.cache_clear()
    assert load(source)(None, None, None) == 41
    assert compile_it.call_count == 1
    with pytest.raises(UnsupportedError, match="refuses the source"):
        load(source.replace("return", "retrun"))
    assert not list(tmp_path.rglob("*.so.*"))
    load.cache_clear()
    monkeypatch.setattr(_compiler.ctypes, "CDLL", Mock(side_effect=OSError("not allowed")))
    with pytest.raises(UnsupportedError, match="cannot be used: not allowed"):
        load(source)


def test_without_a_compiler_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert compiler() is None
    with pytest.raises(UnsupportedError, match="no C compiler was found: expected cc"):
        load("int other;")
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compiler() is None


@pytest.mark.parametrize("options", [{"group": 2}, {"captured": False}, {"device": "cuda"}])
def test_plans_that_cannot_be_compiled_are_refused(options):
    with pytest.raises(DroplabError, match="compiled: expected recorded steps of one replica"):
        ExecutionPlan(1, **{"captured": True, "compiled": True, **options})
