"""Arms that change dropout which the model has: every executor agrees, or is refused with a reason.

Networks are put together at random from layers that drop in their own ways, in float64. Every
replica of every arm is trained directly, recorded, and in the groups of its plan. Six steps will
do: the first is taken as it is, the second is recorded, and each later one would show a wrong mask.
"""

from __future__ import annotations

import dataclasses
import random
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab.data import Split, Splits
from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe, ScheduleSpec
from droplab.studies._experiment import BuildOptimizer
from droplab.studies._grouping import make_groups
from droplab.studies._planning import why_alone
from droplab.studies._recording import why_eager
from droplab.studies._resolve import assemble
from droplab.train import ExecutionPlan, fit

WIDTH, TIME, CLASSES, COUNT = 6, 4, 3, 18
SEEDS = (0, 3)
CASES = 10


class Literal(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.25, self.training)


class Attribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = 0.25

    def forward(self, x):
        return F.dropout(x, p=self.dropout, training=self.training)


class Path(nn.Module):
    """Stochastic depth, as timm has it."""

    def __init__(self):
        super().__init__()
        self.body, self.drop_path = nn.Linear(WIDTH, WIDTH), DropPath(0.25)

    def forward(self, x):
        return x + self.drop_path(self.body(x))


class DropPath(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.drop_prob = p

    def forward(self, x):
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        return x * x.new_empty((len(x), 1, 1)).bernoulli_(keep).div_(keep)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, 2, dropout=0.25, batch_first=True)

    def forward(self, x):
        return x + self.inner(x, x, x, need_weights=False)[0]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(WIDTH, WIDTH, num_layers=2, dropout=0.25, batch_first=True)

    def forward(self, x):
        return self.inner(x)[0]


def encoder():
    return nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.25, batch_first=True)


LAYERS = {
    "Dropout": partial(nn.Dropout, 0.25),
    "in place": lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.25, inplace=True)),
    "Dropout1d": partial(nn.Dropout1d, 0.25),
    "AlphaDropout": partial(nn.AlphaDropout, 0.25),
    "literal": Literal,
    "attribute": Attribute,
    "path": Path,
    "attention": Attention,
    "encoder": encoder,
    "LSTM": Recurrent,
}

REFUSED = {"LSTM", "in place"}
"""What vmap does not batch: all others can be trained together."""


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


@dataclasses.dataclass(frozen=True)
class Build:
    kinds: tuple[str, ...]

    def __call__(self):
        inner = [nn.Sequential(LAYERS[kind](), nn.Linear(WIDTH, WIDTH)) for kind in self.kinds]
        layers = [layer for pair in inner for layer in (pair, nn.Tanh())]
        return nn.Sequential(*layers, Mean(), nn.Linear(WIDTH, CLASSES)).double()


def examples(seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (COUNT,), generator=generator)
    inputs = torch.randn(COUNT, TIME, WIDTH, generator=generator, dtype=torch.float64)
    return Split(inputs + targets[:, None, None], targets)


def experiment(kinds, arms, batch_size=7):
    build, last = Build(kinds), str(2 * len(kinds) + 1)
    recipe = Recipe(
        name="own",
        data=DataSpec(function="tests:data"),
        model=ModelSpec("tests:Net"),
        optimizer=OptimizerSpec("Adam", {"lr": 0.01}),
        epochs=2,
        batch_size=batch_size,
        seeds=SEEDS,
        arms=tuple(arm(last) for arm in arms),
    )
    about = {"name": "random", "source": "here", "checksum": ""}
    splits = Splits(examples(1), examples(2), None)
    return assemble(recipe, splits, about, ("a", "b", "c"), build, BuildOptimizer(recipe.optimizer))


ARMS = (
    lambda last: Arm("none"),
    lambda last: Arm("added", {last: 0.3}),
    lambda last: Arm("off", existing={"*": 0.0}),
    lambda last: Arm("more", existing={"*": 0.5}),
    lambda last: Arm("first", {last: 0.2}, existing={"0.*": 0.0}),
    lambda last: Arm("both", {last: 0.4}, existing={"0.*": 0.0}),
    lambda last: Arm(
        "early", {last: 0.4}, schedule=ScheduleSpec("early", {"steps": 4}), existing={"*": 0.5}
    ),
)


def train(found, arms, seeds, plan):
    executor = found.executor(arms, seeds, plan)
    recipe, splits = found.recipe, found.splits
    epochs = fit(
        executor,
        splits.train,
        splits.validation,
        seeds=seeds,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        plan=plan,
        rates=found.rates_of_step(arms),
    )
    results = list(epochs)[-1].results
    names = [(arm.name, seed) for seed in seeds for arm in arms]
    return {
        name: (executor.state_dict(member), results[member]) for member, name in enumerate(names)
    }


def trained_alone(found, seeds=SEEDS, **how):
    plan = ExecutionPlan(1, **how)
    return {
        name: outcome
        for seed in seeds
        for arm in found.recipe.arms
        for name, outcome in train(found, [arm], (seed,), plan).items()
    }


def check_equal(one, two, *, exactly):
    assert one.keys() == two.keys()
    options = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-6, "atol": 1e-8}
    for name, (state, result) in one.items():
        for key, value in state.items():
            torch.testing.assert_close(two[name][0][key], value, **options, msg=f"{name}: {key}")
        assert two[name][1].running["loss"] == pytest.approx(result.running["loss"], rel=1e-5)


def kinds_of(case):
    choose = random.Random(case)
    # every layer is in one of the cases, beside one or two others
    return (
        list(LAYERS)[case % len(LAYERS)],
        *choose.choices(list(LAYERS), k=choose.choice((1, 2))),
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", range(CASES))
def test_every_executor_agrees_or_is_refused(case):
    kinds = kinds_of(case)
    # now and then, the last batch of an epoch is smaller: a record of its own
    found = experiment(kinds, ARMS, batch_size=7 if case % 3 == 0 else 6)
    arms = found.recipe.arms
    alone = trained_alone(found)
    states = [alone[arm.name, 0][0] for arm in arms]
    last = f"{2 * len(kinds) + 1}.weight"
    assert len({state[last].sum().item() for state in states}) == len(arms), "an arm does nothing"
    reason = why_eager(found, arms, together=False)
    assert reason == ""
    recorded = trained_alone(found, SEEDS[:1], captured=True)
    check_equal(recorded, {name: alone[name] for name in recorded}, exactly=True)
    reason = why_alone(found, arms)
    if reason:
        assert "torch.func.vmap refuses the model" in reason
        assert REFUSED & set(kinds)
        return
    plan = ExecutionPlan(1, group=8, captured=bool(case % 3))
    together = {}
    for group in make_groups(arms, SEEDS, plan.group):
        own = [arm for arm in arms if arm.name in group.arms]
        together |= train(found, own, group.seeds, plan)
    check_equal(alone, together, exactly=False)


def test_an_arm_trains_to_the_same_bits_whatever_the_other_arms_are():
    kinds = ("Dropout", "path", "attention")
    one = trained_alone(experiment(kinds, ARMS[:2]))
    two = trained_alone(experiment(kinds, ARMS))
    check_equal(one, {name: two[name] for name in one}, exactly=True)


def test_arms_that_change_different_rates_are_in_different_groups():
    arms = [arm("9") for arm in ARMS]
    groups = make_groups(arms, (0,), 8)
    assert [group.arms for group in groups] == [
        ("none", "added"),
        ("off",),
        ("more", "early"),
        ("first", "both"),
    ]
