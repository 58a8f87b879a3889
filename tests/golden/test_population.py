"""Member i of a population is the single run of the same seed and arm, within float rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from droplab import placement
from droplab.data import Split
from droplab.models import MLP
from droplab.ops import mask_key
from droplab.train import (
    Batched,
    EagerStep,
    ExecutionPlan,
    Population,
    Single,
    batch_order,
    fit,
    initial_model,
)
from droplab.train._population_step import PopulationStep
from droplab.train.optimizers import build_optimizer

SEEDS = (0, 5)


class Cnn(nn.Sequential):
    """Without a bias before the BatchNorm: its gradient is zero but for rounding."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24, 3),
        )


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(self.embedding(x.squeeze(1))).mean(1))


MODELS = {
    "mlp": (lambda: MLP(64, (16, 8), 3), ("fc1", "fc2", "fc3")),
    "cnn": (Cnn, ("4", "7")),
    "transformer": (Transformer, ("layer.linear1", "layer.linear2", "head")),
}
OPTIMIZERS = {
    "Adam": {"lr": 1e-3, "eps": 1e-3},  # a large eps: tiny gradients are not blown up to steps
    "AdamW": {"lr": 1e-3, "eps": 1e-3, "weight_decay": 0.1},
    "SGD": {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-3},
    "RMSprop": {"lr": 1e-3, "eps": 1e-2},
    "Adagrad": {"lr": 1e-2, "eps": 1e-2},
}


def rates_of(sites):
    """Three arms: none, the same everywhere, one of its own."""
    table = [[0.0] * len(sites), [0.3] * len(sites), [0.5] + [0.2] * (len(sites) - 1)]
    return torch.tensor(table, dtype=torch.float64)


def population(case, name):
    make, sites = MODELS[case]
    models = [initial_model(make, seed) for seed in SEEDS]
    applied = placement.plan(models[0], dict.fromkeys(sites, 0.5)).apply()
    applied.seed({site: mask_key(SEEDS[0], site) for site in applied.names})
    keys = torch.tensor([[mask_key(seed, site) for site in applied.names] for seed in SEEDS])
    return Population(
        models,
        applied,
        rates_of(sites),
        keys,
        lambda parameters: build_optimizer(name, OPTIMIZERS[name], parameters),
    )


def single(case, name, member):
    make, sites = MODELS[case]
    rates, seed = rates_of(sites)[member % 3].tolist(), SEEDS[member // 3]
    model = initial_model(make, seed)
    applied = placement.plan(model, dict(zip(sites, rates, strict=True))).apply()
    applied.seed({site: mask_key(seed, site) for site in applied.names})
    return model, build_optimizer(name, OPTIMIZERS[name], model.parameters()), applied


def batches(count, size=9):
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        rows = size - 4 * (index == 3)  # a smaller batch in between, as at the end of an epoch
        shape = (len(SEEDS), rows)
        yield (
            torch.rand(*shape, 1, 8, 8, generator=generator),
            torch.randint(0, 3, shape, generator=generator),
        )


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize(
    ("case", "name"),
    [
        *((case, name) for case in MODELS for name in ("Adam", "SGD")),
        ("mlp", "AdamW"),
        ("mlp", "RMSprop"),
        ("mlp", "Adagrad"),
    ],
)
def test_every_member_takes_the_steps_of_its_single_run(case, name, captured):
    members = population(case, name)
    step = PopulationStep(members, captured=captured)
    alone = [single(case, name, member) for member in range(members.members)]
    executors = [EagerStep(model, optimizer) for model, optimizer, _ in alone]
    for number, (inputs, targets) in enumerate(batches(6)):
        members.set_step(number)
        logits = step(inputs, targets)
        for member, (_, _, applied) in enumerate(alone):
            applied.set_step(number)
            seed = member // 3
            expected = executors[member](inputs[seed], targets[seed])
            torch.testing.assert_close(
                logits[seed, member % 3], expected, rtol=1e-4, atol=1e-5, msg=f"step {number}"
            )
    for member, (model, _, _) in enumerate(alone):
        state = members.state_dict(member)
        assert list(state) == list(model.state_dict())
        for key, value in model.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("case", MODELS)
def test_a_replayed_population_has_the_bits_of_an_eager_one(case):
    one, two = population(case, "Adam"), population(case, "Adam")
    plain, replayed = PopulationStep(one, captured=False), PopulationStep(two, captured=True)
    for number, batch in enumerate(batches(6)):
        one.set_step(number)
        two.set_step(number)
        assert torch.equal(plain(*batch), replayed(*batch)), number
    for member in range(one.members):
        state = two.state_dict(member)
        for key, value in one.state_dict(member).items():
            assert torch.equal(value, state[key]), key


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    inputs = torch.rand(count, 1, 8, 8, generator=generator)
    inputs[:, 0, 0, :3] += one_hot(targets, 3)
    return Split(inputs, targets)


@pytest.mark.parametrize("case", ["mlp", "cnn"])
def test_two_epochs_have_the_rows_of_the_single_runs(case):
    """Batch order, masks, running and final scores of every member, over whole epochs."""
    train, validation = split(50, 2), split(30, 3)
    plan = ExecutionPlan(1, captured=True)
    members = population(case, "Adam")
    common = {"epochs": 2, "batch_size": 16, "plan": plan}
    executor = Batched(members, captured=True)
    together = list(fit(executor, train, validation, seeds=SEEDS, **common))
    assert [epoch.epoch for epoch in together] == [1, 2]
    for member in range(members.members):
        replica = Single(*single(case, "Adam", member), plan)
        seeds = (SEEDS[member // 3],)
        alone = [e.results[0] for e in fit(replica, train, validation, seeds=seeds, **common)]
        for expected, epoch in zip(alone, together, strict=True):
            result = epoch.results[member]
            assert result.running["loss"] == pytest.approx(expected.running["loss"], abs=1e-5)
            assert result.running["accuracy"] == pytest.approx(expected.running["accuracy"])
            for part in ("train", "validation"):
                one, two = getattr(result, part), getattr(expected, part)
                assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
                assert one["accuracy"] == pytest.approx(two["accuracy"])
                assert one["ece"] == pytest.approx(two["ece"], abs=1e-4)


def test_the_batches_of_a_seed_are_those_of_its_single_run():
    from droplab.train._executor import SeedBatches

    data = split(50, 2)
    orders = [batch_order(seed, 1, 50) for seed in SEEDS]
    together = list(SeedBatches(data, torch.device("cpu")).batches(orders, 16))
    assert [len(targets[0]) for _, targets in together] == [16, 16, 16, 2]
    for index, order in enumerate(orders):
        alone = data.batches(order, 16)
        for (inputs, targets), (x, y) in zip(together, alone, strict=True):
            assert torch.equal(inputs[index], x)
            assert torch.equal(targets[index], y)
