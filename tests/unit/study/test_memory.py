"""The memory that groups are planned with, against what processes were seen to take."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from droplab.recipe import load, override
from droplab.study import _planner, _trial, resolve

SCRIPT = """
import dataclasses, sys
import torch
from droplab.recipe import Arm, load, override
from droplab.study import resolve, run
from droplab.study._trial import first_batch
from droplab.train import ExecutionPlan
from droplab.train.memory import evaluation_bytes, member_bytes

torch.set_num_threads(1)
members, hidden, batch = int(sys.argv[1]), [int(sys.argv[2])] * 2, int(sys.argv[3])

def recipe(seeds, arms):
    changes = {"epochs": 2, "seeds": list(range(seeds)), "model.hidden": hidden}
    base = override(load("digits"), {**changes, "batch_size": batch, "data.validation": 500})
    rates = [Arm(str(i), {"fc2": i / 10, "fc3": i / 10}) for i in range(1, arms)]
    return dataclasses.replace(base, arms=(Arm("none"), *rates))

def train(recipe, where, size):
    run(recipe, where, plan=ExecutionPlan(1, captured=True, group=size))

train(recipe(1, 2), "warm", 2)
chosen = recipe(members // 8, 8)
experiment = resolve(chosen)
replica = experiment.replica(chosen.baseline, 0)
example = (replica.model, *first_batch(experiment))
estimate = members * member_bytes(*example) + evaluation_bytes(*example)
print("warm", flush=True)
sys.stdin.readline()
train(chosen, "run", members)
print(estimate)
"""


def own_bytes(process):
    """Memory that is the process's alone, swapped out or not; 0 once it has ended.

    The peak that the system keeps is that of resident memory, and a system that takes idle pages
    back while the process runs makes what is added look less.
    """
    try:
        found = process.memory_full_info()
    except psutil.Error:
        return 0
    return found.uss + getattr(found, "swap", 0)


@pytest.mark.parametrize(
    ("members", "width", "batch"), [(8, 512, 20), (64, 512, 20), (64, 64, 200)]
)
def test_the_estimate_is_within_a_factor_of_two_of_the_peak(members, width, batch):
    """With weights that dominate, and with activations that do; a whole run, as it is stored."""
    command = [sys.executable, "-c", SCRIPT, str(members), str(width), str(batch)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as child:
        assert child.stdout.readline() == "warm\n"
        process = psutil.Process(child.pid)
        before = peak = own_bytes(process)
        child.stdin.write("go\n")
        child.stdin.flush()
        while child.poll() is None:
            peak = max(peak, own_bytes(process))
            time.sleep(0.002)  # each look stops the child for a moment
        seen, estimated = peak - before, int(child.stdout.read())
    assert estimated / 2 <= seen <= 1.1 * estimated, (seen, estimated)


def test_groups_are_as_large_as_the_memory_allows(monkeypatch):
    experiment = resolve(override(load("digits"), {"seeds": list(range(8))}))
    replica = experiment.replica(experiment.recipe.baseline, 0)
    example = (replica.model, *_trial.first_batch(experiment))
    each, common = _planner.member_bytes(*example), _planner.evaluation_bytes(*example)
    for room, sizes in ((5, [5]), (1, []), (0, []), (1000, [32, 16, 8])):
        free = common + room * each + each // 2
        monkeypatch.setattr(_planner, "available_bytes", lambda device, free=free: free)
        assert _planner.group_sizes(experiment, 32) == sizes
    monkeypatch.setattr(_planner, "available_bytes", lambda device: 0)
    assert _planner.group_sizes(experiment, 32) == []
