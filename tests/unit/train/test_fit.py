"""One replica: the invariants of a controlled experiment, on real training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from droplab import placement
from droplab.data import Split
from droplab.errors import ArgumentError, PlacementError
from droplab.models import MLP
from droplab.ops import mask_key
from droplab.train import (
    Diverged,
    EagerStep,
    ExecutionPlan,
    Single,
    batch_order,
    evaluate,
    fit,
    initial_model,
)
from droplab.train.compiled import compiler
from droplab.train.optimizers import build_optimizer

PLANS = [ExecutionPlan(1, captured=False), ExecutionPlan(1, captured=True)]
if compiler():
    PLANS.append(ExecutionPlan(1, captured=True, compiled=True))


def split(count=90, features=12, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes, (count,), generator=generator)
    inputs = torch.randn(count, features, generator=generator)
    return Split(inputs + 0.5 * targets[:, None], targets)


def train(rates, *, seed=0, epochs=3, plan=PLANS[1], lr=1e-2, apply=True, model=None, **kwargs):
    model = model or initial_model(lambda: MLP(12, hidden=(16, 8), classes=3), seed)
    applied = placement.plan(model, rates).apply()
    if apply:
        applied.seed({name: mask_key(seed, name) for name in applied.names})
    else:
        applied.revert()
    optimizer = build_optimizer("Adam", {"lr": lr}, model.parameters())
    executor = Single(model, optimizer, applied if apply else _NoSites(), plan)
    results = []
    for epoch in fit(
        executor,
        kwargs.pop("data", None) or split(),
        split(40, seed=1),
        seeds=(seed,),
        epochs=epochs,
        batch_size=kwargs.pop("batch_size", 16),
        plan=plan,
        **kwargs,
    ):
        if epoch.diverged:
            raise epoch.diverged[0]
        results += epoch.results
    return model, results


class _NoSites:
    p = torch.zeros(0)

    def set_step(self, step):
        pass

    def check_fired(self):
        pass


def numbers(results):
    return [
        (r.epoch, r.running["loss"], r.running["accuracy"], r.train, r.validation) for r in results
    ]


@pytest.mark.parametrize("plan", PLANS)
def test_inserted_at_zero_is_the_baseline_bit_for_bit(plan):
    zero, with_zero = train({"fc1": 0.0, "fc2": 0.0, "fc3": 0.0}, plan=plan)
    bare, without = train({"fc2": 0.0}, plan=plan, apply=False)
    assert numbers(with_zero) == numbers(without)
    for one, two in zip(zero.parameters(), bare.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("plan", PLANS)
def test_same_arguments_same_bits(plan):
    one, two = train({"fc2": 0.5}, plan=plan), train({"fc2": 0.5}, plan=plan)
    assert numbers(one[1]) == numbers(two[1])


def test_both_executors_give_the_same_rows():
    rates = {"fc1": 0.2, "fc2": 0.5}
    assert numbers(train(rates, plan=PLANS[0])[1]) == numbers(train(rates, plan=PLANS[1])[1])


def test_rows_differ_between_rates_and_between_seeds():
    base = numbers(train({"fc2": 0.5})[1])
    assert base != numbers(train({"fc2": 0.4})[1])
    assert base != numbers(train({"fc2": 0.5}, seed=1)[1])


def test_batch_order_does_not_depend_on_the_arm_or_the_model():
    seen = []

    class Recorder(Split):
        def batches(self, order, batch_size):
            seen.append(order.clone())
            return super().batches(order, batch_size)

    data = split()
    inner = nn.Sequential(nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    for rates, model in (({"fc2": 0.0}, None), ({"fc2": 0.9}, None), ({"2": 0.5}, inner)):
        torch.manual_seed(len(seen))  # what the caller does with the global generator is no matter
        train(rates, data=Recorder(data.inputs, data.targets), model=model, plan=PLANS[0])
    orders = [order for order in seen if not torch.equal(order, torch.arange(len(order)))]
    assert len(orders) == 9
    for epoch in range(3):
        expected = batch_order(0, epoch + 1, 90)
        assert all(torch.equal(orders[arm * 3 + epoch], expected) for arm in range(3))


def test_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train({"fc2": 0.5}, epochs=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_masks_differ_between_steps_sites_and_samples():
    """A mask that is shared by samples, steps or sites would give equal zero patterns.

    With 256 units at p = 0.5, two independent patterns are equal with probability 2**-256.
    """
    patterns = []
    model = nn.Sequential(nn.Linear(4, 256), nn.Linear(256, 256), nn.Linear(256, 3))
    applied = placement.plan(model, {"1": 0.5, "2": 0.5}).apply()
    applied.seed({name: mask_key(0, name) for name in applied.names})
    for layer in (model[1], model[2]):
        layer.register_forward_pre_hook(lambda _, args: patterns.extend(args[0].detach() == 0))
    step = EagerStep(model, build_optimizer("SGD", {"lr": 0.0}, model.parameters()))
    for number in range(3):
        applied.set_step(number)
        step(torch.ones(4, 4), torch.zeros(4, dtype=torch.long))
    assert len(patterns) == 3 * 2 * 4
    assert len({tuple(pattern.tolist()) for pattern in patterns}) == len(patterns)


def test_evaluation_is_without_dropout_and_gives_the_flags_back():
    model = initial_model(lambda: MLP(12, hidden=(16, 8), classes=3), 0)
    bare = evaluate(model, split())
    placement.plan(model, {"fc1": 0.5, "fc2": 0.5}).apply()
    model.fc2.eval()
    assert evaluate(model, split()) == bare
    assert model.training
    assert model.fc1.training
    assert not model.fc2.training


def test_a_site_that_never_fires_stops_the_run():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(PlacementError, match="unused"):
        train({"used": 0.1, "unused": 0.5}, model=Skips(), plan=PLANS[0])


def test_nan_says_when_and_keeps_what_was_before():
    data = split()
    data.inputs[batch_order(0, 2, 90)[20]] = math.nan  # epoch 1 meets it too
    with pytest.raises(Diverged) as caught:
        train({"fc2": 0.5}, data=data)
    position = (batch_order(0, 1, 90) == batch_order(0, 2, 90)[20]).nonzero().item()
    assert (caught.value.epoch, caught.value.step) == (1, position // 16 + 1)
    assert "epoch 1" in str(caught.value)


def test_batch_larger_than_the_data():
    with pytest.raises(ArgumentError, match="at most the 90 training examples, got 91"):
        train({"fc2": 0.5}, batch_size=91)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 3), "cannot take a batch of shape"),
        (nn.Sequential(nn.Linear(12, 3), nn.Unflatten(1, (3, 1))), "expected logits of shape"),
    ],
)
def test_a_model_that_does_not_fit_the_data(model, message):
    with pytest.raises(ArgumentError, match=message):
        train({}, model=model)


def test_log_means_are_those_of_the_batches():
    logged = []
    _, results = train({"fc2": 0.5}, log_every=2, on_log=lambda _, *row: logged.append(row))
    assert [step for step, _ in logged] == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    data, steps = split(), 6
    sizes = [16] * 5 + [10]
    assert len(data) == sum(sizes)
    assert steps * 3 == logged[-1][0]
    _, single = train({"fc2": 0.5}, log_every=1, on_log=lambda _, *row: logged.append(row))
    losses = dict(logged[9:])
    assert logged[0][1] == pytest.approx((losses[1] + losses[2]) / 2)
    total = sum(losses[i + 1] * size for i, size in enumerate(sizes)) / 90
    assert single[0].running["loss"] == pytest.approx(total)
    assert numbers(single) == numbers(results)
