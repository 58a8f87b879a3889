"""Steps of several mini-batches, and of a forward in bfloat16: in every executor, and by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab import placement
from droplab.data import Split
from droplab.errors import DroplabError
from droplab.ops import mask_key
from droplab.train import (
    Accumulation,
    Batched,
    ExecutionPlan,
    Population,
    Scheduler,
    Single,
    batch_order,
    evaluate,
    fit,
    initial_model,
)
from droplab.train.agreement import OneByOne, comparison_batches, why_not_stacked
from droplab.train.optimizers import build_optimizer
from droplab.train.precision import compute_in_bfloat16
from droplab.train.tasks import KINDS, CrossEntropy

SEEDS, RATES = (0, 5), (0.0, 0.4)
SIZE, COUNT = 8, 3
"""Examples of a mini-batch, and mini-batches a step: 53 examples end in a step of 8 and 5."""
WEIGHT = torch.tensor([0.5, 1.0, 6.0])
PLANS = {name: ExecutionPlan(1, captured=name == "captured") for name in ("eager", "captured")}


def net():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(8, 3)
    )


def normed():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def recurrent():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.read, self.head = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.read(x.view(-1, 3, 2))[0][:, -1])

    return Net()


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    return Split(torch.randn(count, 6, generator=generator) + 0.7 * targets[:, None], targets)


TRAIN, VALIDATION = split(53, 1), split(30, 2)
TRAIN.targets[batch_order(0, 1, len(TRAIN))[:SIZE]] = 1  # of a class that a loss may ignore
LOSSES = {
    "plain": (KINDS["classification"](), F.cross_entropy),
    "class weights": (
        KINDS["classification"](CrossEntropy(weight=WEIGHT)),
        lambda outputs, targets: F.cross_entropy(outputs, targets, WEIGHT),
    ),
    "an ignored class": (
        KINDS["classification"](CrossEntropy(ignore_index=1)),
        lambda outputs, targets: F.cross_entropy(outputs, targets, ignore_index=1),
    ),
}
make = partial(build_optimizer, "AdamW", {"lr": 1e-2, "eps": 1e-3})


def prepared(factory, seed, bfloat16):
    model = initial_model(factory, seed)
    if bfloat16:
        compute_in_bfloat16(model)
    return model


def site(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]


def single(seed, rate, plan, *, factory=net, loss="plain", parts=None, clip=None, bfloat16=False):
    model = prepared(factory, seed, bfloat16)
    applied = placement.plan(model, {site(model): rate}).apply()
    applied.seed({each: mask_key(seed, each) for each in applied.names})
    task = LOSSES[loss][0]
    optimizer = make(model.parameters())
    return Single(model, optimizer, applied, PLANS[plan], clip, task, parts)


def together(plan, *, factory=net, loss="plain", parts=None, clip=None, bfloat16=False):
    models = [prepared(factory, seed, bfloat16) for seed in SEEDS]
    name = site(models[0])
    applied = placement.plan(models[0], {name: 0.5}).apply()
    keys = torch.tensor([[mask_key(seed, name)] for seed in SEEDS])
    applied.seed({name: int(keys[0, 0])})
    rates = torch.tensor([[rate] for rate in RATES], dtype=torch.float64)
    population = Population(models, applied, rates, keys, make)
    captured = plan == "captured"
    task = LOSSES[loss][0]
    return Batched(population, captured=captured, clip=clip, task=task, accumulation=parts)


def trained(executor, seeds, plan, *, size=SIZE * COUNT, **options):
    common = {"epochs": 3, "batch_size": size, "plan": PLANS[plan], **options}
    return list(fit(executor, TRAIN, VALIDATION, seeds=seeds, **common))


PARTS = {"parts": Accumulation(COUNT, SIZE)}
STEPS = {
    "plain": PARTS,
    "class weights": {**PARTS, "loss": "class weights"},
    "an ignored class": {**PARTS, "loss": "an ignored class"},
    "clipped": {**PARTS, "clip": 0.05},
    "a running mean": {**PARTS, "factory": normed},
    "bfloat16": {"bfloat16": True},
    "bfloat16 in parts": {**PARTS, "bfloat16": True},
    "bfloat16 convolutions": {"bfloat16": True, "factory": convolutional},
}


@pytest.mark.parametrize("name", STEPS)
def test_recorded_steps_have_the_bits_of_eager_ones(name):
    pair = [single(5, 0.4, plan, **STEPS[name]) for plan in PLANS]
    rows = [trained(each, (5,), plan) for each, plan in zip(pair, PLANS, strict=True)]
    for one, two in zip(*rows, strict=True):
        assert one.results[0].validation == two.results[0].validation
        assert one.results[0].running == two.results[0].running
    for key, value in pair[0].tensors().items():
        assert torch.equal(value, pair[1].tensors()[key]), key


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", STEPS)
def test_members_train_as_they_do_alone(name, plan):
    executor = together(plan, **STEPS[name])
    epochs = trained(executor, SEEDS, plan)
    # one product in bfloat16 may round to its other neighbour, 0.4 % away
    near = {"rtol": 0.05, "atol": 5e-3} if "bfloat16" in name else {"rtol": 1e-4, "atol": 1e-5}
    for member in range(4):
        seed = SEEDS[member // 2]
        alone = single(seed, RATES[member % 2], "eager", **STEPS[name])
        rows = trained(alone, (seed,), "eager")
        one, two = (each[-1].results[at] for each, at in ((epochs, member), (rows, 0)))
        assert one.running == pytest.approx(two.running, rel=near["rtol"], abs=0.02)
        for key, value in alone.tensors().items():
            torch.testing.assert_close(executor.tensors()[key][member], value[0], **near, msg=key)


def why_not_in_bfloat16(spoil):
    """What the comparison before a run says of replicas that are stacked, once spoilt."""
    alone = [single(s, rate, "eager", bfloat16=True) for s in SEEDS for rate in RATES]
    members = [(each.model, each.optimizer, each.applied) for each in alone]
    population = together("eager", bfloat16=True)._population
    spoil(population)
    batches = comparison_batches(TRAIN, SEEDS, 12)
    return why_not_stacked(OneByOne(members, len(RATES)), population, batches, None)


def test_replicas_in_bfloat16_are_compared_within_its_rounding():
    assert why_not_in_bfloat16(lambda population: None) == ""


def _other_masks(population):
    population.keys[:, :, 0] += 1


def _faster(population):
    population.optimizer.param_groups[0]["lr"] *= 1.3


def _other_rates(population):
    population.p += 0.3


@pytest.mark.parametrize("spoil", [_other_masks, _faster, _other_rates])
def test_and_what_is_wrong_with_them_is_seen_none_the_less(spoil):
    assert "differ" in why_not_in_bfloat16(spoil)


def steps_of(order):
    return order.split(SIZE * COUNT)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_gradient_is_that_of_the_joined_batch(loss, clip):
    """Plain torch on batches of 24: without layers that look at their batch it is the same."""
    loss_of, model = LOSSES[loss][1], initial_model(net, 0)
    own = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(own, 2, 0.5)
    for epoch in range(1, 4):
        for index in steps_of(batch_order(0, epoch, len(TRAIN))):
            own.zero_grad()
            loss_of(model(TRAIN.inputs[index]), TRAIN.targets[index]).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            own.step()
            schedule.step()
    scheduler = Scheduler("StepLR", {"step_size": 2, "gamma": 0.5}, "step")
    for plan in PLANS:
        executor = single(0, 0.0, plan, loss=loss, clip=clip, **PARTS)
        trained(executor, (0,), plan, scheduler=scheduler)
        for key, value in model.named_parameters():
            torch.testing.assert_close(executor.tensors()[key][0], value.detach())


def test_the_same_accumulation_in_plain_torch():
    """A careful loop: BatchNorm sees mini-batches, and a smaller one counts by its examples."""
    model = initial_model(normed, 0)
    own = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)
    for epoch in range(1, 4):
        for index in steps_of(batch_order(0, epoch, len(TRAIN))):
            own.zero_grad()
            for part in index.split(SIZE):
                loss = F.cross_entropy(model(TRAIN.inputs[part]), TRAIN.targets[part])
                (loss * len(part) / len(index)).backward()
            own.step()
    executor = single(0, 0.0, "captured", factory=normed, **PARTS)
    trained(executor, (0,), "captured")
    state = executor.state_dict(0)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-5)


def test_no_two_mini_batches_share_a_mask():
    model, seen = initial_model(net, 0), []
    applied = placement.plan(model, {"2": 0.5}).apply()
    applied.seed({"2": mask_key(0, "2")})
    model[2].register_forward_hook(lambda _, args, __: seen.append(args[0] != 0))
    with torch.no_grad():
        model[0].bias.fill_(50.0)  # so that nothing but dropout is 0
    plan = PLANS["eager"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    executor = Single(model, optimizer, applied, plan, accumulation=Accumulation(2, 4))
    executor.model.train()
    for step in range(3):
        executor.set_step(step)
        executor.step(TRAIN.inputs[:8], TRAIN.targets[:8])
    assert len(seen) == 6
    assert len({tuple(mask.flatten().tolist()) for mask in seen}) == 6


def test_several_mini_batches_are_not_compiled():
    plan = ExecutionPlan(1, captured=True, compiled=True)
    model = net()
    applied = placement.plan(model, {"2": 0.0}).apply()
    with pytest.raises(DroplabError, match="no C is known for steps of several"):
        Single(model, make(model.parameters()), applied, plan, accumulation=Accumulation(2, 4))


@pytest.mark.parametrize("factory", [net, convolutional, normed, recurrent])
def test_the_same_autocast_in_plain_torch(factory):
    model = initial_model(factory, 0)
    own = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3, fused=True)

    def loss_of(split, index):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(model(split.inputs[index]), split.targets[index])

    for epoch in range(1, 4):
        for index in steps_of(batch_order(0, epoch, len(TRAIN))):
            own.zero_grad()
            loss_of(TRAIN, index).backward()
            own.step()
    executor = single(0, 0.0, "eager", factory=factory, bfloat16=True)
    last = trained(executor, (0,), "eager")[-1].results[0]
    for key, value in model.named_parameters():
        assert value.dtype == torch.float32
        torch.testing.assert_close(executor.tensors()[key][0], value.detach(), msg=key)
    model.eval()
    with torch.no_grad():
        expected = loss_of(VALIDATION, torch.arange(len(VALIDATION))).item()
    assert last.validation["loss"] == pytest.approx(expected, rel=1e-5)
    exact = initial_model(factory, 0)
    exact.load_state_dict(executor.state_dict(0))
    score = evaluate(exact, VALIDATION)["loss"]
    assert score != pytest.approx(expected, rel=1e-7)  # it was not float32 after all
    assert score == pytest.approx(expected, rel=2e-2)
