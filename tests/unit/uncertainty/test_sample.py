"""Samples that are samples: what a wrong sampler gets wrong."""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import droplab
from droplab.errors import ArgumentError
from droplab.uncertainty import ROWS, sample
from tests.unit.uncertainty.ways import WAYS, X, close, model_with


def net(p: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 3)).eval()


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_to_drop_gives_the_same_samples_for_the_same_seed(way):
    """And other samples for another pass, another input, and another seed; no state changes."""
    model = model_with(way).eval()
    before = copy.deepcopy(model.state_dict())
    found = sample(model, X, 3, seed=7)
    assert found.shape == (3, 150, 3)
    torch.manual_seed(99)
    assert close(found, sample(model, X, 3, seed=7, chunk=ROWS))
    assert close(found, sample(model, X, 3, seed=7, chunk=3 * ROWS))
    assert not close(found, sample(model, X, 3, seed=8))
    differ = (found[0] - found[1]).abs() > 1e-6
    assert differ.any(1).float().mean() > 0.25  # stochastic depth leaves half of the inputs
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(m.training or m._forward_pre_hooks for m in model.modules())


class Widest(torch.overrides.TorchFunctionMode):
    """Counts how many passes times inputs the calls into a model hold."""

    def __init__(self):
        super().__init__()
        self.inputs: list[int] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.linear:
            while torch._C._functorch.is_batchedtensor(out):
                out = torch._C._functorch.get_unwrapped(out)
            self.inputs.append(out.numel() // out.shape[-1])
        return out


@pytest.mark.parametrize(
    ("chunk", "widest"), [(64, 64), (127, 64), (128, 128), (200, 192), (320, 320), (9999, 320)]
)
@pytest.mark.parametrize("placed", [False, True])
def test_a_chunk_bounds_what_is_computed_at_once_and_changes_nothing(chunk, widest, placed):
    model, rates = (net(0.0), 0.5) if placed else (net(), None)
    expected = sample(model, X, 5, seed=1, rates=rates, chunk=ROWS)
    with Widest() as seen:
        found = sample(model, X, 5, seed=1, rates=rates, chunk=chunk)
    assert max(seen.inputs) == widest
    assert close(found, expected)
    assert close(sample(model, X, 5, seed=1, rates=rates), expected)


def test_more_passes_begin_with_the_same_ones():
    assert close(sample(net(), X, 9, seed=1)[:4], sample(net(), X, 4, seed=1))


@pytest.mark.parametrize("size", [1, 7, 64, 150])
def test_the_batches_of_a_loader_change_nothing(size):
    expected = sample(net(), X, 3, seed=1)
    pairs = TensorDataset(X, torch.zeros(150))
    assert close(sample(net(), DataLoader(pairs, batch_size=size), 3, seed=1), expected)
    assert close(sample(net(), pairs, 3, seed=1), expected)


def test_the_generators_of_torch_are_left_alone():
    model = net()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    sample(model, X, 2, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_inputs_have_masks_of_their_own_also_in_other_blocks():
    """Two equal inputs differ, be they in one block or at the same place of two."""
    same = torch.ones(2 * ROWS + 1, 8)
    found = sample(nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5)), same, 1, seed=0)[0]
    assert len({tuple(row) for row in found.tolist()}) == 2 * ROWS + 1
    assert not torch.equal(found[0], found[ROWS])


@pytest.mark.parametrize("way", ["nn.Dropout", "F.dropout2d", "nn.LSTM", "written by hand"])
def test_shared_masks_are_one_function_of_the_input(way):
    model = model_with(way).eval()
    same = X[:1].expand(ROWS + 3, -1)
    found = sample(model, same, 2, seed=0, masks="shared")
    assert close(found, found[:, :1].expand_as(found))
    assert not torch.equal(found[0], found[1])
    alone = sample(model, X[5:6], 2, seed=0, masks="shared")
    assert close(sample(model, X[:10], 2, seed=0, masks="shared")[:, 5:6], alone)


def test_a_linear_model_has_its_closed_form():
    """y = w (m x) / (1 - p): mean w x, variance the sum of w^2 x^2 p / (1 - p).

    Over 4000 passes the mean is within five standard errors, and the variance within 15 %: of ten
    outputs each, a right sampler fails once in many thousands.
    """
    torch.manual_seed(0)
    p, passes = 0.3, 4000
    linear = nn.Linear(20, 1, bias=False)
    x = torch.randn(10, 20)
    found = sample(nn.Sequential(nn.Dropout(p), linear), x, passes, seed=3)[..., 0]
    weights = linear.weight.detach()[0]
    variance = ((weights * x) ** 2).sum(1) * p / (1 - p)
    error = (found.mean(0) - x @ weights).abs() / (variance / passes).sqrt()
    assert error.max() < 5
    assert ((found.var(0) / variance - 1).abs() < 0.15).all()
    assert (torch.corrcoef(found.T) - torch.eye(10)).abs().max() < 5 / math.sqrt(passes)


def test_outputs_of_any_form_are_stacked():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x, scale):
            x = self.drop(x)
            return {"map": x[:, None, :, None] * scale[:, None, None, None], "sum": (x.sum(1),)}

    found = sample(Several(), (X, torch.ones(150)), 4, seed=0)
    assert found["map"].shape == (4, 150, 1, 8, 1)
    assert found["sum"][0].shape == (4, 150)
    named = sample(Several(), {"x": X, "scale": torch.ones(150)}, 4, seed=0)
    assert close(named["map"], found["map"])


def test_a_data_class_becomes_a_dictionary():
    @dataclass
    class Out:
        logits: torch.Tensor

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return Out(self.drop(x))

    assert sample(Model(), X, 2, seed=0)["logits"].shape == (2, 150, 8)


def test_what_is_none_in_an_output_is_left_out():
    model = Dropping(lambda _, x: {"logits": x, "loss": None})
    assert list(sample(model, X, 2, seed=0)) == ["logits"]


def test_outputs_of_truths_and_whole_numbers_are_kept():
    model = Dropping(lambda _, x: (x > 0, x.argmax(1)))
    truths, places = sample(model, X, 3, seed=0)
    assert (truths.dtype, truths.shape) == (torch.bool, (3, 150, 8))
    assert (places.dtype, places.shape) == (torch.int64, (3, 150))


def test_a_list_of_items_is_a_data_set():
    expected = sample(net(), X, 2, seed=1)
    assert close(sample(net(), list(zip(X, range(150), strict=True)), 2, seed=1), expected)
    assert close(sample(net(), [row.numpy() for row in X], 2, seed=1), expected)
    with pytest.raises(droplab.errors.PlacementError, match=r"\(8,\), .{1,100}\.\.\., with which"):
        sample(net(), list(X), 2, seed=1)  # arguments of one call


def test_a_plan_that_is_seeded_gives_way_and_comes_back():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    expected = sample(model, X, 3, seed=1, rates=0.5)
    with droplab.plan(model, 0.5).applied() as applied:
        applied.seed(dict.fromkeys(applied.streams, 4))
        assert close(sample(model, X, 3, seed=1), expected)
        assert applied.seeded


def test_a_models_own_dropout_that_is_keyed_gives_way_too():
    model = net()
    expected = sample(model, X, 3, seed=1)
    applied = droplab.plan(model, {}).apply(own=["2"])
    applied.seed(dict.fromkeys(applied.streams, 4))
    assert close(sample(model, X, 3, seed=1), expected)
    applied.revert()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        return self.drop(x)


class Dropping(nn.Module):
    """Drops its input, and returns what a function makes of it."""

    def __init__(self, function):
        super().__init__()
        self.drop, self.function = nn.Dropout(0.5), function
        self.calls, self.weight = 0, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(self, self.drop(x))


def training_itself(self, x):
    with torch.no_grad():
        self.weight += 1
    return x * self.weight


def counting_calls(self, x):
    self.calls += 1
    return x * self.calls


def failing_on_few(self, x):
    return x if len(x) == ROWS else x @ x


class Growing(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(x).expand(len(x), 8) if len(x) == ROWS else self.drop(x)[:, :5]


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(x).mean(0)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (net(), {"passes": 0}, "passes: expected a whole number of at least 1, got 0"),
        (net(), {"passes": 2.5}, "passes: expected"),
        (net(), {"seed": -1}, "seed: expected an integer"),
        (net(), {"masks": "same"}, "masks: expected 'per-input' or 'shared'"),
        (net(), {"chunk": 63}, "chunk: expected 'auto' or a whole number of at least 64"),
        (net(0.0), {}, "without any dropout"),
        (net(), {"data": X[:0]}, "at least one input"),
        (net(), {"data": 3}, "data: expected a tensor"),
        (net(), {"data": (X, X[:5])}, "as many rows in every tensor, got 5, 150"),
        (net(), {"data": X * math.nan}, "is NaN for input 0"),
        (net(), {"data": torch.cat((X, X[:1] * math.nan))}, "is NaN for input 150"),
        (Counting(), {}, "leaves its state alone, got one that changes 'seen'"),
        (Dropping(training_itself), {}, "leaves its state alone, got one that changes 'weight'"),
        (Dropping(counting_calls), {}, "the same output for the same input and masks"),
        (Dropping(lambda _, x: x * random.random()), {}, "or draws by random"),
        (Dropping(lambda _, x: x[:, torch.randperm(8)]), {}, "torch.randperm"),
        (Dropping(failing_on_few), {}, r"that fails on inputs 128 to 149 .*RuntimeError: mat1"),
        (Dropping(lambda _, x: {"a": x, "b": "text"}), {}, r"got str at \['b'\]; say with output"),
        (Dropping(lambda _, x: None), {}, "got NoneType"),
        (Dropping(lambda _, x: ()), {}, "got nothing"),
        (Dropping(lambda _, x: (x, x.sum())), {}, r"shape \(\) of one pass at \[1\]"),
        (net(), {"data": "text"}, "got 't' as item 0"),
        (net(), {"data": (X.numpy(),)}, "one row for each input, got ndarray"),
        (net(), {"data": iter(X)}, "give a DataLoader of it"),
        (Growing(), {}, "outputs of one shape"),
        (Pooled(), {}, "an output for each of 64 inputs"),
        (nn.Sequential(droplab.nn.Dropout(0.5, seed=3)), {}, "'0' has a seed of its own"),
    ],
)
def test_bad_input_gets_one_sentence(model, options, words):
    given = {"data": X, "passes": 3, "seed": 0} | options
    with pytest.raises(ArgumentError, match=words):
        sample(model, given.pop("data"), given.pop("passes"), **given)


@pytest.mark.parametrize(("batch_passes", "widest"), [(True, 320), (False, 64)])
def test_passes_go_together_as_is_asked(batch_passes, widest):
    with Widest() as seen:
        found = sample(net(), X, 5, seed=1, batch_passes=batch_passes)
    assert max(seen.inputs) == widest
    assert close(found, sample(net(), X, 5, seed=1))
    with pytest.raises(ArgumentError, match="batch_passes: expected True, False or 'auto'"):
        sample(net(), X, 5, seed=1, batch_passes="always")


def test_progress_is_told_in_inputs():
    pairs = TensorDataset(X, torch.zeros(150))
    ways = [
        (X, 150),
        ((X,), 150),
        (DataLoader(pairs, batch_size=40), 150),
        (DataLoader(pairs, batch_size=40, drop_last=True), None),
        (pairs, 150),
    ]
    for data, total in ways:
        told = []
        sample(net(), data, 2, seed=1, progress=lambda *found, told=told: told.append(found))
        count = 120 if total is None else 150
        assert told == [(64, total), (min(128, count), total), (count, total)][: 3 if total else 2]
