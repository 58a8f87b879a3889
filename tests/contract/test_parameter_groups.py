"""Parameter groups of a recipe, in every executor and beside plain torch."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab import placement
from droplab.data import Split
from droplab.errors import ArgumentError
from droplab.ops import mask_key
from droplab.recipe import GroupSpec, OptimizerSpec
from droplab.studies._experiment import BuildOptimizer
from droplab.train import (
    Batched,
    ExecutionPlan,
    Population,
    Scheduler,
    Single,
    batch_order,
    fit,
    initial_model,
)
from droplab.train.compiled import compiler
from droplab.train.optimizers import check_optimizer
from droplab.train.parameter_groups import find_groups

SEEDS, RATES = (0, 5), (0.0, 0.4)
EPOCHS, SIZE = 3, 12


class RMSNorm2d(nn.Module):
    """A norm of one's own, whose scale has several dimensions."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 8))

    def forward(self, x):
        return (x.view(-1, 2, 8) * self.scale).flatten(1)


def net():
    return nn.Sequential(
        nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), RMSNorm2d(), nn.Linear(16, 3)
    )


def plain():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    return Split(torch.randn(count, 6, generator=generator) + 0.7 * targets[:, None], targets)


TRAIN, VALIDATION = split(53, 1), split(30, 2)
SPECS = {
    "no decay": OptimizerSpec(
        "AdamW",
        {"lr": 1e-2, "weight_decay": 0.3, "eps": 1e-3},
        (GroupSpec("norms and biases", {"weight_decay": 0.0}),),
    ),
    "a faster head": OptimizerSpec(
        "SGD",
        {"lr": 0.02, "momentum": 0.9},
        (GroupSpec("4.weight", {"lr": 0.2, "momentum": 0.5}), GroupSpec("*.bias", {"lr": 0.05})),
    ),
    "without a fused form": OptimizerSpec(
        "RMSprop", {"lr": 1e-2, "eps": 1e-2}, (GroupSpec(("0.*", "1.*"), {"lr": 1e-3}),)
    ),
}
BY_HAND = {
    "no decay": lambda m: torch.optim.AdamW(
        [
            {"params": [m[0].weight, m[4].weight], "weight_decay": 0.3},
            {"params": [m[0].bias, *m[1].parameters(), m[3].scale, m[4].bias], "weight_decay": 0.0},
        ],
        lr=1e-2,
        eps=1e-3,
    ),
    "a faster head": lambda m: torch.optim.SGD(
        [
            {"params": [m[0].weight, m[1].weight, m[3].scale]},
            {"params": [m[4].weight], "lr": 0.2, "momentum": 0.5},
            {"params": [m[0].bias, m[1].bias, m[4].bias], "lr": 0.05},
        ],
        lr=0.02,
        momentum=0.9,
    ),
    "without a fused form": lambda m: torch.optim.RMSprop(
        [
            {"params": [m[3].scale, *m[4].parameters()]},
            {"params": [*m[0].parameters(), *m[1].parameters()], "lr": 1e-3},
        ],
        lr=1e-2,
        eps=1e-2,
    ),
}
PEAKS = {
    "no decay": [0.05, 0.05],
    "a faster head": [0.05, 0.5, 0.125],
    "without a fused form": [0.05, 0.005],
}
"""What `max_lr = 0.05` is for each group: as its learning rate is to that of the optimizer."""
SCHEDULERS = {
    "": None,
    "StepLR": Scheduler("StepLR", {"step_size": 1, "gamma": 0.5}),
    "OneCycleLR": Scheduler(
        "OneCycleLR", {"max_lr": 0.05, "cycle_momentum": False}, "step", keep_ratio=True
    ),
}


def single(name, seed, rate, *, captured, factory=net, compiled=False):
    model = initial_model(factory, seed)
    last = str(len(model) - 1)
    applied = placement.plan(model, {last: rate}).apply()
    applied.seed({last: mask_key(seed, last)})
    optimizer = BuildOptimizer.of(SPECS[name], model)(model.parameters())
    plan = ExecutionPlan(1, captured=captured, compiled=compiled)
    return Single(model, optimizer, applied, plan)


def together(name, *, captured):
    models = [initial_model(net, seed) for seed in SEEDS]
    applied = placement.plan(models[0], {"4": 0.5}).apply()
    keys = torch.tensor([[mask_key(seed, "4")] for seed in SEEDS])
    applied.seed({"4": int(keys[0, 0])})
    rates = torch.tensor([[rate] for rate in RATES], dtype=torch.float64)
    make = pickle.loads(pickle.dumps(BuildOptimizer.of(SPECS[name], models[0])))
    return Batched(Population(models, applied, rates, keys, make), captured=captured)


def trained(executor, seeds, scheduler, *, captured):
    plan = ExecutionPlan(1, captured=captured)
    options = {"epochs": EPOCHS, "batch_size": SIZE, "plan": plan, "scheduler": scheduler}
    return list(fit(executor, TRAIN, VALIDATION, seeds=seeds, **options))


@pytest.mark.parametrize("schedule", SCHEDULERS)
@pytest.mark.parametrize("name", SPECS)
def test_every_executor_has_the_numbers_of_plain_torch(name, schedule):
    model = initial_model(net, 0)
    own = BY_HAND[name](model)
    steps = EPOCHS * -(-len(TRAIN) // SIZE)
    clock = None
    if schedule == "StepLR":
        clock = torch.optim.lr_scheduler.StepLR(own, 1, 0.5)
    elif schedule:
        clock = torch.optim.lr_scheduler.OneCycleLR(
            own, PEAKS[name], total_steps=steps, cycle_momentum=False
        )
    number = 0
    for epoch in range(1, EPOCHS + 1):
        for index in batch_order(0, epoch, len(TRAIN)).split(SIZE):
            own.zero_grad()
            F.cross_entropy(model(TRAIN.inputs[index]), TRAIN.targets[index]).backward()
            own.step()
            number += 1
            if schedule == "OneCycleLR" and clock is not None and number < steps:
                clock.step()
        if schedule == "StepLR" and clock is not None:
            clock.step()
    expected = dict(model.named_parameters())
    for captured in (False, True):
        executor = single(name, 0, 0.0, captured=captured)
        trained(executor, (0,), SCHEDULERS[schedule], captured=captured)
        for key, value in expected.items():
            found = executor.tensors()[key][0]
            torch.testing.assert_close(found, value.detach(), rtol=1e-4, atol=1e-6, msg=key)
        several = together(name, captured=captured)
        trained(several, SEEDS, SCHEDULERS[schedule], captured=captured)
        for key, value in expected.items():
            found = several.tensors()[key][0]
            torch.testing.assert_close(found, value.detach(), rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", SPECS)
def test_a_recorded_run_has_the_bits_of_an_eager_one(name):
    pair = [single(name, 5, 0.4, captured=each) for each in (False, True)]
    for captured, each in zip((False, True), pair, strict=True):
        trained(each, (5,), SCHEDULERS["OneCycleLR"], captured=captured)
    for key, value in pair[0].tensors().items():
        assert torch.equal(value, pair[1].tensors()[key]), key


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_a_compiled_step_knows_groups_too():
    """Each with its own learning rate and decay, as the recorded one has them."""
    found = []
    for compiled in (False, True):
        executor = single("no decay", 5, 0.4, captured=True, factory=plain, compiled=compiled)
        plan = ExecutionPlan(1, captured=True, compiled=compiled)
        list(fit(executor, TRAIN, VALIDATION, seeds=(5,), epochs=2, batch_size=SIZE, plan=plan))
        found.append(executor.tensors())
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-4, atol=1e-6, msg=key)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)
        self.head.weight = self.embed.weight


def named(model, group):
    names = [name for name, _ in model.named_parameters()]
    return [names[at] for at in group.numbers]


def test_norms_and_biases_are_found_whatever_their_names_are():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
            self.ln = nn.LayerNorm((4, 4))
            self.lstm, self.embed = nn.LSTM(4, 4), nn.Embedding(3, 4)
            self.attention = nn.MultiheadAttention(4, 2)
            self.temperature = nn.Parameter(torch.tensor(1.0))
            self.position = nn.Parameter(torch.zeros(1, 3, 4))

    model = Net()
    (group,) = find_groups(model, [GroupSpec("norms and biases", {"weight_decay": 0.0})])
    rest = {name for name, _ in model.named_parameters()} - set(named(model, group))
    assert rest == {
        *("conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "embed.weight", "position"),
        *("attention.in_proj_weight", "attention.out_proj.weight"),
    }


def test_a_tied_parameter_goes_by_either_name():
    for pattern in ("embed.*", "head.weight"):
        (group,) = find_groups(Tied(), [GroupSpec(pattern, {"lr": 0.1})])
        assert named(Tied(), group) == ["embed.weight"]


def test_groups_that_have_all_parameters_leave_no_empty_one():
    spec = OptimizerSpec("Adam", {}, (GroupSpec("*", {"lr": 0.1}),))
    optimizer = BuildOptimizer.of(spec, net())(net().parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([GroupSpec("head.*", {"lr": 1.0})], r"groups\[0\].match: .* got 'head.\*'; valid names"),
        ([GroupSpec("0.wieght", {"lr": 1.0})], "got '0.wieght'; did you mean '0.weight'"),
        (
            [GroupSpec("0.*", {"lr": 1.0}), GroupSpec("*.bias", {"lr": 2.0})],
            r"each parameter in one group at most, got '0.bias' in '0.\*' and in '\*.bias'",
        ),
        ([GroupSpec("0.*", {"wd": 1.0})], r"groups\[0\].wd: torch.optim.AdamW has no such"),
        ([GroupSpec("0.*", {"fused": True})], r"groups\[0\].fused: expected it beside the"),
        ([GroupSpec("0.*", {"lr": -1.0})], r"groups\[0\]: .* refused {'lr': -1.0}: Invalid learn"),
        ([GroupSpec("0.*", {"lr": "fast"})], r"groups\[0\]: torch.optim.AdamW refused"),
    ],
)
def test_bad_groups(groups, message):
    with pytest.raises(ArgumentError, match=message):
        check_optimizer(BuildOptimizer.of(OptimizerSpec("AdamW", {}, tuple(groups)), net()), net())
