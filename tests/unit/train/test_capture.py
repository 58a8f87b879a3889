"""The replayed step is the eager step, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab import placement
from droplab.models import MLP
from droplab.train import EagerStep
from droplab.train.capture import CapturedStep, can_capture
from droplab.train.compiled import compiler
from droplab.train.optimizers import build_optimizer, lie_together

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

OPTIMIZERS = {
    "Adam": {"lr": 1e-2},
    "AdamW": {"lr": 1e-2, "weight_decay": 0.1},
    "SGD": {"lr": 1e-2, "momentum": 0.9, "nesterov": True},
    "Adagrad": {"lr": 1e-2},
}


def replica(name="Adam", rates=None):
    torch.manual_seed(0)
    model = MLP(12, hidden=(16, 8), classes=3)
    applied = placement.plan(model, rates or {"fc1": 0.1, "fc2": 0.5, "fc3": 0.0}).apply()
    applied.seed({name: 10 + i for i, name in enumerate(applied.names)})
    return model, build_optimizer(name, OPTIMIZERS[name], model.parameters()), applied


def batches(count=6, size=9):
    generator = torch.Generator().manual_seed(1)
    for index in range(count):
        rows = size if index % 3 else size - 4  # two shapes, as with the last batch of an epoch
        yield (
            torch.randn(rows, 12, generator=generator),
            torch.randint(0, 3, (rows,), generator=generator),
        )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replay_equals_eager_bit_for_bit(name):
    eager, captured = replica(name), replica(name)
    plain, replayed = EagerStep(*eager[:2]), CapturedStep(*captured[:2])
    assert can_capture(*captured[:2])
    for step, (inputs, targets) in enumerate(batches(9)):
        eager[2].set_step(step)
        captured[2].set_step(step)
        assert torch.equal(plain(inputs, targets), replayed(inputs, targets)), step
    for one, two in zip(eager[0].parameters(), captured[0].parameters(), strict=True):
        assert torch.equal(one, two)


def test_step_counters_are_joined_once_and_count_on():
    """A second recording must not move what the first one counts."""
    model, optimizer, applied = replica()
    step = CapturedStep(model, optimizer)
    where = set()
    for number, (inputs, targets) in enumerate(batches(9)):
        applied.set_step(number)
        step(inputs, targets)
        counters = [state["step"] for state in optimizer.state.values()]
        assert [float(counter) for counter in counters] == [number + 1] * len(counters)
        if number >= 2:
            where.add(lie_together(counters).data_ptr())
    assert len(where) == 1


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
def test_replay_follows_steps_and_rates(compiled):
    """A recorded key or rate would repeat one mask for ever; the replay reads the live ones."""
    model, optimizer, applied = replica("Adam", {"fc1": 0.5, "fc2": 0.5})
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step = CapturedStep(model, optimizer, compiled=compiled)
    inputs, targets = next(batches(1))
    outputs = []
    for number in (0, 1, 2, 3, 2):
        applied.set_step(number)
        outputs.append(step(inputs, targets))
    assert not torch.equal(outputs[2], outputs[3])
    assert torch.equal(outputs[2], outputs[4])
    applied.p.zero_()
    without = [step(inputs, targets) for _ in range(2)]
    assert torch.equal(without[0], without[1])
    assert not torch.equal(without[0], outputs[4])


def test_only_layers_without_python_state_are_captured_unasked():
    class Mine(nn.Linear):
        pass

    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    mine = nn.Sequential(nn.Flatten(), Mine(4, 2))
    for model, expected in ((plain, True), (mine, False)):
        assert can_capture(model, build_optimizer("Adam", {}, model.parameters())) is expected
    slow = build_optimizer("RAdam", {}, plain.parameters())
    assert not can_capture(plain, slow)


def test_batch_norm_statistics_and_inner_dropout_are_replayed():
    """Buffers are updated in place, and a model's own dropout draws anew at each step."""

    def make():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))
        model.append(nn.Linear(16, 3))
        return model, build_optimizer("Adam", {}, model.parameters())

    results = []
    for executor in (EagerStep, CapturedStep):
        model, optimizer = make()
        step = executor(model, optimizer)
        torch.manual_seed(4)
        outputs = [step(*batch) for batch in batches(7)]
        results.append((outputs, dict(model.state_dict())))
    for one, two in zip(results[0][0], results[1][0], strict=True):
        assert torch.equal(one, two)
    for name, value in results[0][1].items():
        assert torch.equal(value, results[1][1][name]), name
