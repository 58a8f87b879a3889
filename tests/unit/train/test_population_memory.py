"""What a record of a large population was traced on is given back, without a long search."""

from __future__ import annotations

import gc
from functools import partial

import pytest
import torch

from droplab import placement
from droplab.models import MLP
from droplab.ops import mask_key
from droplab.train import Population, _population_step
from droplab.train._population_step import PopulationStep
from droplab.train.optimizers import build_optimizer


class Round(MLP):
    """Refers to itself, so that no copy goes before Python's collector has come by."""

    def __init__(self):
        super().__init__(12, hidden=(16, 8), classes=3)
        self.all = [self]


def population():
    models = [Round() for _ in range(2)]
    applied = placement.plan(models[0], {"fc2": 0.5}).apply()
    applied.seed({"fc2": mask_key(0, "fc2")})
    keys = torch.tensor([[mask_key(seed, "fc2")] for seed in (0, 1)])
    rates = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    return Population(models, applied, rates, keys, partial(build_optimizer, "Adam", {"lr": 0.01}))


def living():
    return sum(type(each) is Round for each in gc.get_objects())


@pytest.mark.parametrize("collects", [True, False])
def test_the_copy_of_a_large_population_is_gone_once_it_is_recorded(monkeypatch, collects):
    monkeypatch.setattr(_population_step, "_LARGE", -1)
    whole = []
    watch = lambda phase, info: whole.append(phase) if info["generation"] == 2 else None  # noqa: E731
    members = population()
    step = PopulationStep(members, captured=True)
    inputs, targets = torch.randn(2, 5, 12), torch.zeros(2, 5, dtype=torch.long)
    step(inputs, targets)
    gc.collect()
    before = living()
    gc.callbacks.append(watch)
    if not collects:
        gc.disable()
    try:
        step(inputs, targets)
        assert gc.isenabled() == collects
        after = living()
    finally:
        gc.enable()
        gc.callbacks.remove(watch)
    assert step._replays
    assert after == before
    assert not whole  # all that torch and others have made was not gone through
