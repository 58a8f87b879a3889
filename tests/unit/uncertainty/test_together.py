"""Passes that go through the model together, and those that must not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import droplab
from droplab.placement import Applied
from droplab.uncertainty import ROWS, sample
from droplab.uncertainty._passes import Passes
from droplab.uncertainty._together import Together
from tests.unit.uncertainty.ways import WAYS, X, close, model_with


@pytest.mark.parametrize("options", [{}, {"batch_passes": True}, {"chunk": 640}])
def test_passes_that_cannot_go_together_go_one_by_one(options):
    """The inputs of a block depend on each other, in some blocks."""

    class Asking(nn.Module):
        def forward(self, x):
            return x * 2 if x.sum().item() > 0 else x

    model = nn.Sequential(nn.Dropout(0.5), Asking(), nn.Linear(8, 3)).eval()
    data = torch.cat((X.abs(), X, X - 0.1, X + 0.1))
    expected = sample(model, data, 9, seed=1, batch_passes=False)
    assert close(sample(model, data, 9, seed=1, **options), expected)


def test_a_function_of_droplab_drops_in_every_way_to_make_passes():
    class Own(nn.Module):
        def forward(self, x):
            return droplab.ops.dropout(x, 0.5, self.training)

    for masks in ("per-input", "shared"):
        expected = sample(Own(), X, 5, seed=7, masks=masks, batch_passes=False)
        assert close(sample(Own(), X, 5, seed=7, masks=masks, batch_passes=True), expected)
        assert not close(expected[0], expected[1])


@pytest.mark.parametrize("masks", ["per-input", "shared"])
@pytest.mark.parametrize("way", list(WAYS))
def test_the_batch_repeated_gives_what_single_passes_give(way, masks, monkeypatch):
    model = model_with(way).eval()
    expected = sample(model, X, 5, seed=7, masks=masks, batch_passes=False)
    monkeypatch.setattr(Passes, "by_vmap", impossible)
    monkeypatch.setattr(Passes, "alone", impossible)
    assert close(sample(model, X, 5, seed=7, masks=masks, batch_passes=True), expected)


class SequenceFirst(nn.Module):
    """The batch is the second axis of what is dropped."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 3, num_layers=2, dropout=0.5)

    def forward(self, x):
        return self.lstm(x[None].expand(4, -1, -1))[0][-1]


class Interleaved(nn.Module):
    """The batch runs faster than what stands beside it in the axis that is dropped."""

    def forward(self, x):
        return F.dropout(x.T.reshape(-1, 1), 0.5, self.training).reshape(8, -1).T


class WeightsDropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 8))

    def forward(self, x):
        return x @ F.dropout(self.weight, 0.5, self.training).T


class OneMoreDraw(nn.Module):
    """Draws once more for many inputs than for few."""

    def forward(self, x):
        x = F.dropout(x, 0.5, self.training)
        return F.dropout(x, 0.5, self.training) if len(x) > ROWS else x


class RatesByRow(nn.Module):
    """Draws by several keys at once already."""

    def forward(self, x):
        return droplab.ops.dropout(x, torch.full((len(x),), 0.5), self.training)


@pytest.mark.parametrize("layout", [SequenceFirst, Interleaved, WeightsDropped, RatesByRow])
@pytest.mark.parametrize("masks", ["per-input", "shared"])
def test_a_batch_is_repeated_only_where_that_changes_nothing(layout, masks, monkeypatch):
    torch.manual_seed(0)
    model = layout().eval()
    expected = sample(model, X, 5, seed=7, masks=masks, batch_passes=False)
    monkeypatch.setattr(Passes, "by_vmap", impossible)
    assert close(sample(model, X, 5, seed=7, masks=masks, batch_passes=True), expected)


def test_a_batch_is_not_repeated_where_that_draws_more(monkeypatch):
    expected = sample(OneMoreDraw(), X, 5, seed=7, batch_passes=False)
    monkeypatch.setattr(Passes, "by_vmap", impossible)
    assert close(sample(OneMoreDraw(), X, 5, seed=7), expected)


def impossible(self, keys, block):
    raise RuntimeError("not in this way")


def test_a_trial_costs_little_beside_the_work():
    """The batch is repeated on trial once there is work enough that could be done faster.

    Not before vmap has had a block after its first, in which it is slow.
    """
    for number, left, due in [(2, 1000, False), (2, 1200, True), (1, 9000, False)]:
        together = Together(Passes(nn.Identity(), None, 0, shared=False), 50, timed=True)
        together.seconds, together.trials["vmap"] = {"alone": 1.0, "vmap": 0.1}, 0
        assert together._next(number, 50, left) == (("repeated", True) if due else ("vmap", False))
    together.seconds.clear()
    assert together._next(0, 50, 29) == ("alone", False)
    assert together._next(0, 50, 30) == ("repeated", True)


def test_a_way_that_was_slow_at_first_is_timed_again():
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5)).eval()
    woken = Applied(model, (), ["1"])
    woken.seed(dict.fromkeys(woken.streams, 0))
    together = Together(Passes(model, woken, 0, shared=False), 5, timed=False)
    together.seconds, together.trials["vmap"] = {"vmap": 100.0}, 0
    together.passes(X[:ROWS], 1, 5, 5)
    assert together.seconds["vmap"] < 100
