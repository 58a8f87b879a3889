"""Every executor gives the numbers of the eager step, or is refused with a reason.

Networks and optimizers are made at random (`executor_cases`), in float64, where rounding stays far
below every other difference over ten steps. `DROPLAB_EXECUTOR_CASES` says how many are tried, and
`DROPLAB_EXECUTOR_FIRST` the number of the first.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial

import pytest
import torch

from droplab import placement
from droplab.data import Split
from droplab.train import (
    CapturedStep,
    EagerStep,
    ExecutionPlan,
    OneByOne,
    Population,
    comparison_batches,
    disagreement,
    fit,
    fit_population,
    initial_model,
    mask_key,
    why_not_elementwise,
    why_not_stacked,
)
from tests.contract.executor_cases import (
    CLASSES,
    SIGN_LIKE,
    TOKENS,
    WIDTH,
    make_case,
)

CASES = int(os.environ.get("DROPLAB_EXECUTOR_CASES", "300"))
FIRST = int(os.environ.get("DROPLAB_EXECUTOR_FIRST", "0"))
SEEDS = (0, 3)
RATES = (0.0, 0.3)
SHAPES = {"features": (WIDTH,), "images": (1, 6, 6), "sequences": (4, WIDTH)}
EXPECTED = {
    "torch.func.vmap refuses the model": 0.35,  # recurrent layers, and layers that draw
    "looks at whole tensors": 0.15,
    "a number in Python that changes": 0.05,
}
"""Parts of a reason, and the largest share of the cases that may have it."""


def examples(kind, count, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (count,), generator=generator)
    if kind == "tokens":
        return Split(torch.randint(0, TOKENS, (count, 5), generator=generator), targets)
    inputs = torch.randn(count, *SHAPES[kind], generator=generator, dtype=dtype)
    return Split(inputs + targets.view(-1, *[1] * len(SHAPES[kind])), targets)


def replica(case, seed, rate):
    model = initial_model(case.build, seed)
    applied = placement.plan(model, {site(model): rate}).apply()
    applied.seed({name: mask_key(seed, name) for name in applied.names})
    return model, case.make_optimizer(model.parameters()), applied


def site(model):
    return str(len(model) - 1)


def population(case):
    models = [initial_model(case.build, seed) for seed in SEEDS]
    name = site(models[0])
    applied = placement.plan(models[0], {name: RATES[1]}).apply()
    applied.seed({name: mask_key(SEEDS[0], name)})
    rates = torch.tensor([[rate] for rate in RATES], dtype=torch.float64)
    keys = torch.tensor([[mask_key(seed, name)] for seed in SEEDS])
    return Population(models, applied, rates, keys, case.make_optimizer)


def replicas(case):
    return [replica(case, seed, rate) for seed in SEEDS for rate in RATES]


def train(case, member, captured):
    model, optimizer, applied = replica(case, SEEDS[member // 2], RATES[member % 2])
    splits = examples(case.kind, 29, 1), examples(case.kind, 8, 2)
    plan = ExecutionPlan(1, captured=captured)
    common = {"epochs": 2, "batch_size": 6, "plan": plan}
    common |= {"clip": case.clip, "scheduler": case.scheduler}
    results = fit(model, optimizer, applied, *splits, seed=SEEDS[member // 2], **common)
    return list(results), model


def train_together(case, captured):
    members = population(case)
    splits = examples(case.kind, 29, 1), examples(case.kind, 8, 2)
    common = {"epochs": 2, "batch_size": 6, "plan": ExecutionPlan(1, captured=captured)}
    common |= {"clip": case.clip, "scheduler": case.scheduler}
    results = list(fit_population(members, *splits, seeds=SEEDS, **common))
    return results, members


def check_state(case, state, model, what):
    """Ten steps on, all that was learned is the same; but see `SIGN_LIKE`."""
    expected = model.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        if case.optimizer in SIGN_LIKE and name.endswith("bias"):
            continue  # before a norm or a softmax, it may have a gradient of rounding alone
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(
            state[name], value, rtol=1e-6, atol=1e-7, msg=f"{case}: {what}: '{name}'"
        )


def check_scores(case, one, two, what):
    assert one.running_loss == pytest.approx(two.running_loss, abs=1e-5), f"{case}: {what}"
    for part in ("train", "validation"):
        got, expected = getattr(one, part), getattr(two, part)
        assert got.loss == pytest.approx(expected.loss, abs=1e-5), f"{case}: {what}: {part}"


def small_batches(case):
    return comparison_batches(examples(case.kind, 29, 1), SEEDS, 5)


def why_not_recorded(case):
    eager = partial(EagerStep, clip=case.clip)
    direct = OneByOne(replicas(case)[1:2], build=eager)
    other = OneByOne(replicas(case)[1:2], build=partial(CapturedStep, clip=case.clip))
    return disagreement(direct, other, small_batches(case))


def why_not_together(case):
    reason = why_not_elementwise(case.make_optimizer, initial_model(case.build, 0))
    if reason:
        return reason
    direct = OneByOne(replicas(case), 2, partial(EagerStep, clip=case.clip))
    return why_not_stacked(direct, population(case), small_batches(case), case.clip)


def check_case(case, refused):
    alone = [train(case, member, captured=False) for member in range(4)]
    reason = why_not_recorded(case)
    refused["recorded", reason] += 1
    if not reason:
        results, model = train(case, 1, captured=True)
        check_state(case, model.state_dict(), alone[1][1], "recorded")
        check_scores(case, results[-1], alone[1][0][-1], "recorded")
    reason = why_not_together(case)
    refused["together", reason] += 1
    if reason:
        return
    for captured in (False, True):
        if captured and refused["recorded", reason] and case.number % 2:
            continue
        results, members = train_together(case, captured)
        for member, (expected, model) in enumerate(alone):
            what = f"member {member}, {'recorded' if captured else 'batched'}"
            check_state(case, members.state_dict(member), model, what)
            check_scores(case, results[-1].results[member], expected[-1], what)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
def test_every_executor_agrees_with_the_eager_step_or_is_refused():
    refused: Counter[tuple[str, str]] = Counter()
    for number in range(FIRST, FIRST + CASES):
        check_case(make_case(number), refused)
    for (way, reason), count in sorted(refused.items()):
        print(f"{way}: {count} {reason or 'agree'}")
