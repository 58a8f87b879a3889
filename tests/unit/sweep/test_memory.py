"""The memory that groups are planned with, against what processes were seen to take."""

from __future__ import annotations

import subprocess
import sys

import pytest

from droplab.recipe import load, override
from droplab.sweep import _planning, resolve

SCRIPT = """
import dataclasses, resource, sys
import torch
from droplab.recipe import Arm, load, override
from droplab.sweep import resolve, run
from droplab.sweep._planning import _first_batch
from droplab.train import ExecutionPlan, evaluation_bytes, member_bytes

torch.set_num_threads(1)
members, hidden, batch = int(sys.argv[1]), [int(sys.argv[2])] * 2, int(sys.argv[3])

def recipe(seeds, arms):
    changes = {"epochs": 2, "seeds": list(range(seeds)), "model.hidden": hidden}
    base = override(load("digits"), {**changes, "batch_size": batch, "data.validation": 500})
    rates = [Arm(str(i), {"fc2": i / 10, "fc3": i / 10}) for i in range(1, arms)]
    return dataclasses.replace(base, arms=(Arm("none"), *rates))

def peak():
    try:
        with open("/proc/self/status") as status:
            # ru_maxrss begins with what the parent had
            return next(int(line.split()[1]) * 1024 for line in status if "VmHWM" in line)
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

def train(recipe, where, size):
    run(recipe, where, plan=ExecutionPlan(1, captured=True, group=size))

train(recipe(1, 2), "warm", 2)
chosen = recipe(members // 8, 8)
experiment = resolve(chosen)
replica = experiment.replica(chosen.baseline, 0)
example = (replica.model, *_first_batch(experiment))
estimate = members * member_bytes(*example) + evaluation_bytes(*example)
before = peak()
train(chosen, "run", members)
print(peak() - before, estimate)
"""


@pytest.mark.parametrize(
    ("members", "width", "batch"), [(8, 512, 20), (64, 512, 20), (64, 64, 200)]
)
def test_the_estimate_is_within_a_factor_of_two_of_the_peak(members, width, batch):
    """With weights that dominate, and with activations that do; a whole run, as it is stored."""
    command = [sys.executable, "-c", SCRIPT, str(members), str(width), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, estimated = map(int, done.stdout.split())
    assert estimated / 2 <= seen <= 1.1 * estimated, (seen, estimated)


def test_groups_are_as_large_as_the_memory_allows(monkeypatch):
    experiment = resolve(override(load("digits"), {"seeds": list(range(8))}))
    replica = experiment.replica(experiment.recipe.baseline, 0)
    example = (replica.model, *_planning._first_batch(experiment))
    each, common = _planning.member_bytes(*example), _planning.evaluation_bytes(*example)
    for room, sizes in ((5, [5]), (1, []), (0, []), (1000, [32, 16, 8])):
        free = common + room * each + each // 2
        monkeypatch.setattr(_planning, "available_bytes", lambda device, free=free: free)
        assert _planning._sizes(experiment, 32) == sizes
    monkeypatch.setattr(_planning, "available_bytes", lambda device: 0)
    assert _planning._sizes(experiment, 32) == []
