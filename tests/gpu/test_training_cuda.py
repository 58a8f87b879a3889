"""Training on a GPU: under every plan the numbers of the CPU, and the same ones again."""

from __future__ import annotations

import math

import pytest
import torch

from droplab.recipe import load, override
from droplab.results import load as load_run
from droplab.studies import choose_plan, resolve, run
from droplab.train import ExecutionPlan, fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
RECIPE = override(load("digits"), {"seeds": [0, 1], "epochs": 3})
ARMS = RECIPE.arms[:2]
PLANS = {
    "eager": {},
    "recorded": {"captured": True},
    "together": {"group": 4},
    "together, recorded": {"captured": True, "group": 4},
}


def trained(plan):
    """The losses of every epoch and member, and the weights at the end."""
    arms, seeds = (ARMS, RECIPE.seeds) if plan.group > 1 else (ARMS[-1:], RECIPE.seeds[:1])
    experiment = resolve(RECIPE)
    executor = experiment.executor(arms, seeds, plan)
    losses = [
        [(each.running["loss"], each.train["loss"], each.validation["loss"]) for each in of.results]
        for of in fit(
            executor,
            experiment.splits.train,
            experiment.splits.validation,
            seeds=seeds,
            epochs=RECIPE.epochs,
            batch_size=RECIPE.batch_size,
            plan=plan,
        )
    ]
    weights = {name: tensor.cpu().clone() for name, tensor in executor.tensors().items()}
    return torch.tensor(losses), weights


@pytest.mark.parametrize("how", PLANS.values(), ids=list(PLANS))
def test_every_plan_gives_the_numbers_of_the_cpu_and_again_its_own_bits(how):
    there = trained(ExecutionPlan(1, device=DEVICE, **how))
    again = trained(ExecutionPlan(1, device=DEVICE, **how))
    here = trained(ExecutionPlan(1, **how))
    assert torch.equal(there[0], again[0])
    assert all(torch.equal(value, again[1][name]) for name, value in there[1].items())
    torch.testing.assert_close(there[0], here[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_a_run_begins_goes_on_and_keeps_its_rows(tmp_path, precision):
    recipe = override(RECIPE, {"precision": precision} if precision else {})
    plan = choose_plan(resolve(recipe), device=DEVICE)
    assert plan.device == DEVICE
    run(override(recipe, {"epochs": 3}), tmp_path / "whole", device=DEVICE, plan=plan)
    rows = load_run(tmp_path / "whole").rows
    assert len(rows) == len(recipe.arms) * len(recipe.seeds) * recipe.epochs
    assert all(math.isfinite(value) for row in rows for value in row.values.values())
