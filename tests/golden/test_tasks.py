"""Every task and loss in every executor, and beside the same training in plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab import placement
from droplab.data import Split
from droplab.errors import DroplabError
from droplab.ops import mask_key
from droplab.train import (
    Batched,
    ExecutionPlan,
    Population,
    Single,
    UnsupportedError,
    batch_order,
    evaluate,
    fit,
    initial_model,
)
from droplab.train.capture import CapturedStep
from droplab.train.compiled import compiler
from droplab.train.optimizers import build_optimizer
from droplab.train.tasks import KINDS, CrossEntropy, Loss

SEEDS, RATES = (0, 5), (0.0, 0.3)
COMMON = {"epochs": 3, "batch_size": 16}
WEIGHT = torch.tensor([0.5, 1.0, 4.0])


class PerToken(nn.Module):
    """Three classes at each of five places."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 16), nn.Linear(16, 15)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x))).view(-1, 5, 3)


def net(outputs):
    return lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, outputs))


def huber(outputs, targets):
    return F.huber_loss(outputs, targets, delta=0.5, reduction="none")


def mean_of_tokens(outputs, targets, **options):
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), **options)


CASES = {
    # task, loss, factory, site, targets, and what a batch's loss is in plain torch
    "binary": (
        "binary",
        None,
        net(1),
        "sign",
        lambda o, y: F.binary_cross_entropy_with_logits(o.squeeze(1), y.float()),
    ),
    "multilabel": ("multilabel", None, net(3), "labels", F.binary_cross_entropy_with_logits),
    "one number": ("regression", None, net(1), "one", lambda o, y: F.mse_loss(o.squeeze(1), y)),
    "three numbers": ("regression", None, net(3), "three", F.mse_loss),
    "huber": (
        "regression",
        Loss(huber),
        net(1),
        "one",
        lambda o, y: F.huber_loss(o.squeeze(1), y, delta=0.5),
    ),
    "tokens": ("tokens", None, PerToken, "tokens", mean_of_tokens),
    "smoothing": (
        "classification",
        CrossEntropy(0.1),
        net(3),
        "class",
        lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1),
    ),
    "weights": (
        "classification",
        CrossEntropy(weight=WEIGHT),
        net(3),
        "class",
        lambda o, y: F.cross_entropy(o, y, WEIGHT),
    ),
    "weighted tokens": (
        "tokens",
        CrossEntropy(0.1, WEIGHT, -100),
        PerToken,
        "tokens",
        lambda o, y: mean_of_tokens(o, y, weight=WEIGHT, label_smoothing=0.1),
    ),
    "ignored class": (
        "classification",
        CrossEntropy(ignore_index=1),
        net(3),
        "class",
        lambda o, y: F.cross_entropy(o, y, ignore_index=1),
    ),
}


def split(kind, count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    noisy = x[:, :3] + 0.3 * torch.randn(count, 3, generator=generator)
    places = torch.stack([noisy.roll(i, 1).argmax(1) for i in range(5)], 1)
    places[torch.rand(count, 5, generator=generator) < 0.2] = -100
    targets = {
        "class": noisy.argmax(1),
        "sign": (noisy[:, 0] > 0).long(),
        "labels": (noisy > 0).float(),
        "one": noisy.sum(1),
        "three": noisy,
        "tokens": places,
    }[kind]
    return Split(x, targets)


def site(factory):
    return "head" if factory is PerToken else "2"


def optimizer(parameters):
    return build_optimizer("Adam", {"lr": 3e-3, "eps": 1e-3}, parameters)


def task_of(name):
    task, loss, *_ = CASES[name]
    return KINDS[task](loss)


def single(name, seed, rate, *, captured):
    factory = CASES[name][2]
    model = initial_model(factory, seed)
    applied = placement.plan(model, {site(factory): rate}).apply()
    applied.seed({each: mask_key(seed, each) for each in applied.names})
    plan = ExecutionPlan(1, captured=captured)
    return Single(model, optimizer(model.parameters()), applied, plan, task=task_of(name))


def together(name, *, captured):
    factory = CASES[name][2]
    models = [initial_model(factory, seed) for seed in SEEDS]
    applied = placement.plan(models[0], {site(factory): 0.5}).apply()
    keys = torch.tensor([[mask_key(seed, each) for each in applied.names] for seed in SEEDS])
    applied.seed(dict(zip(applied.names, keys[0].tolist(), strict=True)))
    rates = torch.tensor([[rate] for rate in RATES], dtype=torch.float64)
    population = Population(models, applied, rates, keys, optimizer)
    return Batched(population, captured=captured, task=task_of(name))


def trained(executor, name, seeds):
    kind = CASES[name][3]
    data = split(kind, 50, 2), split(kind, 30, 3)
    plan = ExecutionPlan(1)
    return list(fit(executor, *data, seeds=seeds, plan=plan, **COMMON))


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_step_has_the_bits_of_the_eager_one(name):
    eager, captured = (single(name, 5, 0.3, captured=each) for each in (False, True))
    rows = [[e.results[0] for e in trained(each, name, (5,))] for each in (eager, captured)]
    for one, two in zip(*rows, strict=True):
        assert (one.running, one.train, one.validation) == (two.running, two.train, two.validation)
    for key, value in eager.tensors().items():
        assert torch.equal(value, captured.tensors()[key]), key


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_population_trains_as_its_members_do(name, captured):
    executor = together(name, captured=captured)
    epochs = trained(executor, name, SEEDS)
    for member in range(executor.members):
        seed, rate = SEEDS[member // len(RATES)], RATES[member % len(RATES)]
        alone = single(name, seed, rate, captured=False)
        for expected, epoch in zip(trained(alone, name, (seed,)), epochs, strict=True):
            one, two = epoch.results[member], expected.results[0]
            for part in ("running", "train", "validation"):
                got, want = getattr(one, part), getattr(two, part)
                assert list(got) == list(want)
                assert got == pytest.approx(want, rel=1e-4, abs=1e-5), (member, part)
        for key, value in alone.tensors().items():
            torch.testing.assert_close(
                executor.tensors()[key][member], value[0], rtol=1e-4, atol=1e-5, msg=key
            )


@pytest.mark.parametrize("name", CASES)
def test_the_same_training_in_plain_torch(name):
    """A loop as a tutorial has it, with torch's own losses."""
    _, _, factory, kind, loss_of = CASES[name]
    train, validation = split(kind, 50, 2), split(kind, 30, 3)
    model = initial_model(factory, 0)
    own = torch.optim.Adam(model.parameters(), lr=3e-3, eps=1e-3)
    for epoch in range(1, COMMON["epochs"] + 1):
        for index in batch_order(0, epoch, len(train)).split(COMMON["batch_size"]):
            own.zero_grad()
            loss_of(model(train.inputs[index]), train.targets[index]).backward()
            own.step()
    executor = single(name, 0, 0.0, captured=True)
    last = trained(executor, name, (0,))[-1].results[0]
    for key, value in model.named_parameters():
        torch.testing.assert_close(executor.tensors()[key][0], value.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        expected = loss_of(model(validation.inputs), validation.targets).item()
    assert last.validation["loss"] == pytest.approx(expected, rel=1e-4)
    assert evaluate(executor.model, validation, task=task_of(name)) == pytest.approx(
        dict(last.validation), rel=1e-5
    )


@pytest.mark.parametrize("name", CASES)
def test_no_task_but_plain_classification_is_compiled(name):
    model = initial_model(CASES[name][2], 0)
    with pytest.raises(UnsupportedError, match="no C is known for the loss of"):
        CapturedStep(model, optimizer(model.parameters()), None, task_of(name), compiled=True)
    assert issubclass(UnsupportedError, DroplabError)
    if compiler() is not None:
        CapturedStep(model, optimizer(model.parameters()), compiled=True)
