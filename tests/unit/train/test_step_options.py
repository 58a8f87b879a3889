"""Clipping, learning rates and dropout rates that change: single runs, populations, recordings."""

from __future__ import annotations

from functools import cache, partial
from unittest.mock import Mock

import pytest
import torch

from droplab import placement
from droplab.data import Split
from droplab.errors import ArgumentError
from droplab.models import MLP
from droplab.nn.schedules import early, late
from droplab.ops import mask_key
from droplab.train import (
    Batched,
    EagerStep,
    ExecutionPlan,
    Population,
    Scheduler,
    Single,
    _population_step,
    capture,
    fit,
    initial_model,
)
from droplab.train._population_step import PopulationStep
from droplab.train.capture import CapturedStep
from droplab.train.checkpoint import load_checkpoint, save_checkpoint
from droplab.train.optimizers import build_optimizer

SEEDS = (0, 5)
SITES = ("fc1", "fc2", "fc3")
RATES = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.3, 0.5]], dtype=torch.float64)
OPTIMIZERS = {
    "Adam": {"lr": 1e-2, "eps": 1e-3},
    "SGD": {"lr": 0.5, "momentum": 0.9, "weight_decay": 1e-2},
    "Adagrad": {"lr": 0.1},
    "RMSprop": {"lr": 1e-2, "eps": 1e-2},  # without a fused form
}
SCHEDULERS = {
    "StepLR": Scheduler("StepLR", {"step_size": 1, "gamma": 0.3}),
    "CosineAnnealingLR": Scheduler("CosineAnnealingLR", {"T_max": 4, "eta_min": 1e-4}),
    # moves the momentum as well
    "OneCycleLR by epoch": Scheduler("OneCycleLR", {"max_lr": 0.2}, "epoch"),
    "OneCycleLR": Scheduler("OneCycleLR", {"max_lr": 0.2}, "step"),
    # moves the learning rate alone, which a recorded step reads
    "OneCycleLR, lr": Scheduler("OneCycleLR", {"max_lr": 0.2, "cycle_momentum": False}, "step"),
    "StepLR by step": Scheduler("StepLR", {"step_size": 3, "gamma": 0.7}, "step"),
}
BY_STEP = ["OneCycleLR", "OneCycleLR, lr", "StepLR by step"]
PLANS = {name: ExecutionPlan(1, captured=name == "captured") for name in ("eager", "captured")}
CLIP = 0.5


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    inputs = torch.randn(count, 12, generator=generator)
    return Split(inputs + 0.5 * targets[:, None], targets)


TRAIN, VALIDATION = split(70, 2), split(30, 3)
EVEN = {"train": split(64, 2), "validation": split(64, 3)}
"""Data of one batch shape to train on and one to score, where there is less to record."""
net = partial(MLP, 12, hidden=(16, 8), classes=3)


def single(member, name="Adam"):
    rates, seed = RATES[member % 2].tolist(), SEEDS[member // 2]
    model = initial_model(net, seed)
    applied = placement.plan(model, dict(zip(SITES, rates, strict=True))).apply()
    applied.seed({site: mask_key(seed, site) for site in SITES})
    return model, build_optimizer(name, OPTIMIZERS[name], model.parameters()), applied


def population(name="Adam"):
    models = [initial_model(net, seed) for seed in SEEDS]
    applied = placement.plan(models[0], dict.fromkeys(SITES, 0.5)).apply()
    applied.seed({site: mask_key(SEEDS[0], site) for site in SITES})
    keys = torch.tensor([[mask_key(seed, site) for site in SITES] for seed in SEEDS])
    make = partial(build_optimizer, name, OPTIMIZERS[name])
    return Population(models, applied, RATES, keys, make)


def alone(member, name="Adam", *, plan="captured", epochs=4, given=None, **options):
    model, optimizer, applied = given or single(member, name)
    results = fit(
        Single(model, optimizer, applied, PLANS[plan], options.pop("clip", None)),
        options.pop("train", TRAIN),
        options.pop("validation", VALIDATION),
        seeds=(SEEDS[member // 2],),
        epochs=epochs,
        batch_size=16,
        plan=PLANS[plan],
        **options,
    )
    return [epoch.results[0] for epoch in results], model


def together(name="Adam", *, plan="captured", epochs=4, members=None, **options):
    members = members or population(name)
    results = fit(
        Batched(members, captured=plan == "captured", clip=options.pop("clip", None)),
        options.pop("train", TRAIN),
        options.pop("validation", VALIDATION),
        seeds=SEEDS,
        epochs=epochs,
        batch_size=16,
        plan=PLANS[plan],
        **options,
    )
    return list(results), members


def assert_members_are_single_runs(name, plan, single_run=None, **options):
    """The single runs are eager: that a recorded one has their bits is another test's."""
    single_run = single_run or partial(alone, plan="eager", **options)
    epochs, members = together(name, plan=plan, **options)
    for member in range(4):
        results, model = single_run(member, name)
        for one, epoch in zip(results, epochs, strict=True):
            two = epoch.results[member]
            assert one.running["loss"] == pytest.approx(two.running["loss"], abs=2e-5)
            assert one.validation["loss"] == pytest.approx(two.validation["loss"], abs=2e-5)
        for key, value in members.state_dict(member).items():
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-3, atol=2e-5)
    return epochs


@cache
def clipped_alone(member, name):
    """A single run, for all plans of the members."""
    return alone(member, name, plan="eager", clip=CLIP, epochs=3)


@cache
def free_epochs(name):
    """What members do that nothing clips, which does not depend on the plan either."""
    return together(name, plan="eager", epochs=3)[0]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_a_clipped_member_is_its_clipped_single_run(name, plan):
    clipped = assert_members_are_single_runs(name, plan, clipped_alone, clip=CLIP, epochs=3)
    for member in range(4):  # and the limit is one that every member meets
        one, free = (each[-1].results[member] for each in (clipped, free_epochs(name)))
        assert one.train["loss"] != free.train["loss"]


def plain_steps(captured, clip, count=3):
    """How far plain SGD with lr 1 moves each member: by the norm of its gradient, (steps, K)."""
    members = population("SGD")
    members.optimizer.param_groups[0].update(lr=1.0, momentum=0.0, weight_decay=0.0)
    with torch.no_grad():  # one member with far larger gradients than the others
        members.parameters["fc3.weight"][2] *= 50
    step = PopulationStep(members, captured=captured, clip=clip)
    inputs, targets = TRAIN.inputs[:16].expand(2, -1, -1), TRAIN.targets[:16].expand(2, -1)
    norms = []
    for number in range(count):
        before = [t.detach().clone() for t in members.parameters.values()]
        members.set_step(number)
        step(inputs, targets)
        pairs = zip(members.parameters.values(), before, strict=True)
        moved = [(now.detach() - then).flatten(1) for now, then in pairs]
        norms.append(torch.cat(moved, dim=1).norm(dim=1))
    return torch.stack(norms)


@pytest.mark.parametrize("captured", [False, True])
def test_each_member_is_clipped_by_its_own_norm(captured):
    free = plain_steps(captured, None)[0]
    others = free[[0, 1, 3]]
    assert free[2] > 4 * others.max()
    limit = 2 * others.max().item()
    clipped = plain_steps(captured, limit)
    torch.testing.assert_close(clipped[0, [0, 1, 3]], others)
    assert bool((clipped[:, 2] - limit).abs().max() < 1e-3 * limit)
    assert bool((clipped <= 1.001 * limit).all())


def test_a_clipped_step_replays_the_bits_of_the_eager_one():
    pairs = [single(1, "SGD") for _ in range(2)]
    steps = [EagerStep(*pairs[0][:2], CLIP), CapturedStep(*pairs[1][:2], CLIP)]
    for number in range(5):
        batch = TRAIN.inputs[number : number + 9], TRAIN.targets[number : number + 9]
        outputs = []
        for (_, _, applied), step in zip(pairs, steps, strict=True):
            applied.set_step(number)
            outputs.append(step(*batch))
        assert torch.equal(*outputs), number


@pytest.mark.parametrize(
    ("name", "kind", "plan"),
    [
        ("Adam", "StepLR", "captured"),
        ("Adam", "CosineAnnealingLR", "eager"),
        ("SGD", "OneCycleLR", "captured"),
        ("RMSprop", "CosineAnnealingLR", "captured"),
    ],
)
def test_a_scheduled_member_is_its_scheduled_single_run(name, kind, plan):
    scheduler = SCHEDULERS[kind]
    assert_members_are_single_runs(name, plan, scheduler=scheduler, clip=2.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Adam", "StepLR"),
        ("Adagrad", "StepLR"),
        ("SGD", "CosineAnnealingLR"),
        ("SGD", "OneCycleLR by epoch"),
        ("Adam", "OneCycleLR"),
        *((name, kind) for name in ("Adam", "SGD", "RMSprop") for kind in BY_STEP[1:]),
    ],
)
def test_a_recorded_run_has_the_bits_of_an_eager_one_at_every_learning_rate(name, kind):
    """A learning rate that the recording had frozen would show from the second epoch on."""
    options = {"scheduler": SCHEDULERS[kind], "epochs": 3, **EVEN}
    one, two = (alone(1, name, plan=plan, **options)[1] for plan in PLANS)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
    one, two = (together(name, plan=plan, **options)[1] for plan in PLANS)
    for key, value in one.parameters.items():
        assert torch.equal(value, two.parameters[key]), key


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_in_a_plain_loop_sets_the_same_learning_rates(kind, plan):
    """The truth: torch's scheduler on the real optimizer, stepped after each epoch or step."""
    from droplab.train import batch_order

    model, optimizer, applied = single(1)
    name, every = SCHEDULERS[kind].name, SCHEDULERS[kind].every
    arguments = dict(SCHEDULERS[kind].arguments)
    if name == "OneCycleLR":
        arguments["total_steps"] = 20 if every == "step" else 4
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)
    step, number = EagerStep(model, optimizer), 0
    for epoch in range(1, 5):
        for batch in TRAIN.batches(batch_order(SEEDS[0], epoch, len(TRAIN)), 16):
            applied.set_step(number)
            step(*batch)
            number += 1
            if every == "step" and number < 20:
                schedule.step()
        if every == "epoch" and epoch < 4:
            schedule.step()
    _, found = alone(1, plan=plan, scheduler=SCHEDULERS[kind])
    for key, value in model.state_dict().items():
        assert torch.equal(value, found.state_dict()[key]), key


def test_a_learning_rate_of_zero_stands_still_from_its_epoch_on():
    """The recorded steps of epochs 3 and 4 run at lr 0: weights stay, though gradients do not."""
    scheduler = Scheduler("MultiStepLR", {"milestones": [2], "gamma": 0.0})
    two, four = (alone(1, "SGD", epochs=n, scheduler=scheduler)[1] for n in (2, 4))
    assert all(
        torch.equal(value, four.state_dict()[key]) for key, value in two.state_dict().items()
    )
    two, four = (together("SGD", epochs=n, scheduler=scheduler)[1] for n in (2, 4))
    assert all(torch.equal(value, four.parameters[key]) for key, value in two.parameters.items())


def test_a_number_that_the_caller_changes_is_not_frozen_either():
    """Weight decay set between two epochs: the record is made anew."""
    runs = []
    for plan in PLANS:
        model, optimizer, applied = single(1, "SGD")
        epochs = fit(
            *(Single(model, optimizer, applied, PLANS[plan]), TRAIN, VALIDATION),
            seeds=(0,),
            epochs=3,
            batch_size=16,
            plan=PLANS[plan],
        )
        for _ in epochs:
            optimizer.param_groups[0]["weight_decay"] *= 5
        runs.append(model.state_dict())
    assert all(torch.equal(value, runs[1][key]) for key, value in runs[0].items())


@pytest.mark.parametrize("kind", ["StepLR", "CosineAnnealingLR", *BY_STEP])
def test_a_resumed_replica_goes_on_at_the_learning_rate_of_its_epoch(kind, tmp_path):
    options = {"scheduler": SCHEDULERS[kind], "clip": CLIP, **EVEN}
    whole, model = alone(1, **options)
    path = tmp_path / "c.safetensors"
    given = single(1)
    plan, clip = PLANS["captured"], options["clip"]
    half = Single(*given, plan, clip)
    how = {"seeds": (0,), "epochs": 4, "batch_size": 16, "plan": plan}
    results = fit(half, **EVEN, **how, scheduler=options["scheduler"])
    next(results), next(results)
    save_checkpoint(half, [("some", 0)], path, epoch=2)
    results.close()
    again = single(1)
    start = load_checkpoint(Single(*again, plan, clip), [("some", 0)], path)
    rest, resumed = alone(1, given=again, start=start, **options)
    assert [r.validation for r in rest] == [r.validation for r in whole[2:]]
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("kind", ["StepLR", "CosineAnnealingLR", *BY_STEP])
def test_a_resumed_population_goes_on_at_the_learning_rate_of_its_epoch(kind, tmp_path):
    options = {"scheduler": SCHEDULERS[kind], "clip": CLIP, **EVEN}
    options["rates"] = lambda step, p: late(step, p=p, start=7)
    whole, members = together(**options)
    names = [(arm, seed) for seed in SEEDS for arm in ("none", "some")]
    path, half = tmp_path / "p.safetensors", Batched(population(), captured=True, clip=CLIP)
    results = fit(
        half,
        **EVEN,
        seeds=SEEDS,
        epochs=4,
        batch_size=16,
        plan=PLANS["captured"],
        scheduler=options["scheduler"],
        rates=options["rates"],
    )
    next(results), next(results)
    save_checkpoint(half, names, path, epoch=2)
    results.close()
    again = population()
    start = load_checkpoint(Batched(again, captured=True), names, path)
    rest, resumed = together(members=again, start=start, **options)
    for one, two in zip(whole[2:], rest, strict=True):
        assert [r.validation for r in one.results] == [r.validation for r in two.results]
    for key, value in members.parameters.items():
        assert torch.equal(value, resumed.parameters[key]), key


def test_optimizers_keep_the_learning_rate_that_they_were_made_with():
    """Training again with the same optimizer begins at the first epoch's rate, not the last's."""
    given = single(0)
    scheduler = Scheduler("ExponentialLR", {"gamma": 0.1})
    alone(0, given=given, scheduler=scheduler)
    assert float(given[1].param_groups[0]["lr"]) == pytest.approx(1e-5)
    table = scheduler.table(given[1], 2)
    assert [row[0]["lr"] for row in table] == pytest.approx([1e-2, 1e-3])


@pytest.mark.parametrize("plan", PLANS)
def test_a_member_follows_a_schedule_of_dropout_rates_as_its_single_run(plan):
    def rates(step, p):
        return early(step, p=p, steps=9)

    scheduled = assert_members_are_single_runs("Adam", plan, rates=rates, epochs=3)
    constant, _ = together(plan=plan, epochs=3)
    losses = [
        [e.results[m].running["loss"] for e in epochs]
        for epochs in (scheduled, constant)
        for m in (0, 1)
    ]
    assert losses[0] == losses[2]  # the baseline drops nothing at any time
    assert losses[1][0] == losses[3][0]  # early is the planned rate, and then none
    assert losses[1][2] != losses[3][2]


def test_planned_rates_are_given_back_and_checked():
    given = single(1)
    alone(1, given=given, rates=lambda step, p: 0.0)
    assert given[2].p.tolist() == RATES[1].tolist()
    members = population()
    together(members=members, rates=lambda step, p: p / 2)
    assert torch.equal(members.p, RATES)
    for run in (partial(alone, 1), together):
        with pytest.raises(ArgumentError, match=r"rates at step 0: .*percentage"):
            run(rates=lambda step, p: 100 * p)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_of_the_learning_rate_alone_records_nothing_anew(monkeypatch, kind):
    """One record for each batch shape, of training and of scoring, whatever the epochs set.

    What moves the momentum with every step is not recorded at all, rather than anew each time.
    """
    record = Mock(wraps=capture.record)
    for module in (capture, _population_step):
        monkeypatch.setattr(module, "record", record)
    alone(1, scheduler=SCHEDULERS[kind])
    together(scheduler=SCHEDULERS[kind])
    counts = [call.args[2].shape for call in record.call_args_list]
    shapes = {(16, 12), (6, 12), (2, 16, 12), (2, 6, 12)}
    if kind == "OneCycleLR":
        assert not shapes & set(counts)
        return
    assert shapes <= set(counts)
    if kind != "OneCycleLR by epoch":
        assert len(counts) == len(set(counts))
