"""One metric on blocks and on examples, against the same metric on those examples alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.recipe import FURTHER, TASKS, MetricSpec
from droplab.train.tasks import KINDS, CrossEntropy
from droplab.train.tasks._further import further
from droplab.train.tasks._in_parts import InParts
from droplab.train.tasks._tokens import IGNORED

MEMBERS, EXAMPLES, BLOCKS = 3, 40, 8
MEASURES = [(task, each.name) for task in TASKS for each in (*TASKS[task], *FURTHER[task])]
# the likelihood of quantities needs the training residuals, which no split has by itself
MEASURES.remove(("regression", "nll"))
MEANS = {
    ("classification", "loss"), ("classification", "accuracy"),
    ("classification", "brier"), ("classification", "nll"),
    ("binary", "loss"), ("binary", "accuracy"), ("binary", "brier"), ("binary", "nll"),
    ("multilabel", "loss"), ("multilabel", "accuracy"),
    ("multilabel", "brier"), ("multilabel", "nll"),
    ("regression", "loss"), ("regression", "mae"),
    ("tokens", "loss"), ("tokens", "accuracy"), ("tokens", "nll"),
}  # fmt: skip


def made(name, generator):
    """Outputs (K, N, ...) and targets (N, ...) of a task."""

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    if name == "classification":
        labels = torch.randint(0, 4, (EXAMPLES,), generator=generator)
        return random(MEMBERS, EXAMPLES, 4), labels
    if name == "binary":
        return random(MEMBERS, EXAMPLES, 1), (random(EXAMPLES) > 0).long()
    if name == "multilabel":
        return random(MEMBERS, EXAMPLES, 3), (random(EXAMPLES, 3) > 0).float()
    if name == "regression":
        return random(MEMBERS, EXAMPLES, 2), random(EXAMPLES, 2)
    tokens = torch.randint(0, 4, (EXAMPLES, 5), generator=generator)
    tokens[random(EXAMPLES, 5) > 1] = IGNORED
    tokens[3] = IGNORED  # an example in which nothing counts
    return random(MEMBERS, EXAMPLES, 5, 4), tokens


def metered(task, outputs, targets, size, metric=None):
    meter = task.meter(MEMBERS)
    meter.parts = None if metric is None else InParts(metric, MEMBERS)
    for first in range(0, len(targets), size):
        part = slice(first, first + size)
        meter.take(outputs[:, part], targets[part], keep=True)
    return meter


def close(one, other):
    return one == pytest.approx(other, rel=1e-5, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("name", TASKS)
@given(st.integers(0, 2**31), st.integers(1, EXAMPLES), st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_block_has_what_its_examples_alone_have(name, seed, size, weighted):
    """Of every metric of a task, on the same outputs."""
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = made(name, generator)
    more = further([MetricSpec(each.name) for each in FURTHER[name]], name)
    shape = None
    if weighted and name != "tokens":  # each example has a weight, packed with its target
        shape = tuple(targets.shape[1:])
        weights = torch.rand(EXAMPLES, generator=generator).round(decimals=1)
        flat = targets.float().reshape(EXAMPLES, -1)
        targets = torch.cat((flat, weights[:, None]), dim=1)
    task = KINDS[name](None, {each.name: each for each in more}, shape)
    blocks = torch.randperm(EXAMPLES, generator=generator) % BLOCKS
    plain = metered(task, outputs, targets, size).scores()
    parts = [blocks == block for block in range(BLOCKS)]
    alone = [metered(task, outputs[:, part], targets[part], size).scores() for part in parts]
    ones = {i: metered(task, outputs[:, i : i + 1], targets[i : i + 1], 1).scores() for i in (0, 3)}
    for metric in [metric for task_name, metric in MEASURES if task_name == name]:
        meter = metered(task, outputs, targets, size, metric)
        assert repr(meter.scores()) == repr(plain), metric  # to the last bit: nobody is disturbed
        check_parts(meter, metric, blocks, alone, ones, is_mean=(name, metric) in MEANS)


def check_parts(meter, metric, blocks, alone, ones, *, is_mean):
    found = meter.of_blocks(blocks)
    for block, scores in enumerate(alone):
        for member, score in enumerate(scores):
            assert close(found.values[member, block].item(), score[metric]), metric
    examples = meter.parts.of_examples()
    assert (examples is not None) == is_mean, metric
    for each in [] if examples is None else [found, examples]:
        for member, score in enumerate(meter.scores()):
            counts = each.weights[member] > 0
            values, weights = each.values[member][counts], each.weights[member][counts]
            mean = (values * weights).sum().item() / weights.sum().item()
            assert close(mean, score[metric]), metric
    if examples is None:
        assert found.weights.tolist() == [[EXAMPLES / BLOCKS] * BLOCKS] * MEMBERS, metric
        return
    for number, scores in ones.items():
        for member, score in enumerate(scores):
            value = examples.values[member, number].item()
            nothing = examples.weights[member, number] == 0
            assert value == 0 if nothing else close(value, score[metric]), metric


def test_class_weights_are_what_the_blocks_weigh():
    outputs = torch.zeros(1, 4, 2)
    task = KINDS["classification"](CrossEntropy(weight=torch.tensor([1.0, 3.0])))
    meter = task.meter()
    meter.parts = InParts("loss", 1)
    meter.take(outputs, torch.tensor([0, 1, 1, 0]))
    found = meter.of_blocks(torch.tensor([0, 0, 1, 2]))
    assert found.weights.tolist() == [[4.0, 3.0, 1.0]]
    assert found.values[0].tolist() == pytest.approx([math.log(2)] * 3)


def test_a_metric_of_ones_own_that_refuses_a_part_is_no_number_there():
    def one_of_each(outputs, targets):
        if len(targets.unique()) < 2:
            raise ValueError("only one class")
        return outputs.mean()

    specs = [MetricSpec("mine", "a.b:c", "higher")]
    task = KINDS["classification"](
        None, {each.name: each for each in further(specs, "classification", {"mine": one_of_each})}
    )
    meter = metered(task, torch.ones(MEMBERS, 4, 2), torch.tensor([0, 1, 1, 1]), 4, "mine")
    found = meter.of_blocks(torch.tensor([0, 0, 1, 1]))
    assert found.values[:, 0].tolist() == [1.0] * MEMBERS
    assert found.values[:, 1].isnan().all()
    assert found.weights[0].tolist() == [2.0, 2.0]
