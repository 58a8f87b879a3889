"""The memory that groups are planned with, against what processes were seen to take."""

from __future__ import annotations

import select
import subprocess
import sys

import psutil

from droplab.recipe import load, override
from droplab.studies import _room, _timed, resolve

SCRIPT = """
import ctypes, dataclasses, gc, sys
from pathlib import Path

import torch
from droplab.recipe import Arm, load, override
from droplab.studies import resolve, run
from droplab.studies._timed import first_batch
from droplab.train import ExecutionPlan
from droplab.train.memory import evaluation_bytes, member_bytes

torch.set_num_threads(1)

def recipe(seeds, arms, width, batch):
    changes = {"epochs": 1, "seeds": list(range(seeds)), "model.hidden": [width] * 2}
    changes |= {"batch_size": batch, "data.train": 2 * batch, "data.validation": 500}
    base = override(load("digits"), changes)
    rates = [Arm(str(i), {"fc2": i / 10, "fc3": i / 10}) for i in range(1, arms)]
    return dataclasses.replace(base, arms=(Arm("none"), *rates))

def train(recipe, where, size):
    run(recipe, where, plan=ExecutionPlan(1, captured=True, group=size))

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

for number, case in enumerate(sys.argv[1:]):
    members, *shape = map(int, case.split(","))
    train(recipe(1, 2, *shape), f"warm{number}", 2)
    chosen = recipe(members // 8, 8, *shape)
    experiment = resolve(chosen)
    replica = experiment.replica(chosen.baseline, 0)
    example = (replica.model, *first_batch(experiment))
    estimate = members * member_bytes(*example) + evaluation_bytes(*example)
    del replica, example

    gc.collect()
    if sys.platform == "linux":
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # what is freed and kept would be taken again unseen
        Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    print("warm", flush=True)
    sys.stdin.readline()
    before = resident("VmRSS:") if sys.platform == "linux" else 0
    train(chosen, f"run{number}", members)
    print(estimate, resident("VmHWM:") - before if sys.platform == "linux" else 0, flush=True)
"""


def own_bytes(process):
    """Memory that is the process's alone, swapped out or not; 0 once it has ended.

    Looking from outside misses what lasts for less than a look, and the highest resident memory
    that the system keeps misses what it took back meanwhile; each sees at most what was there.
    """
    try:
        found = process.memory_full_info()
    except psutil.Error:
        return 0
    return found.uss + getattr(found, "swap", 0)


def test_the_estimate_is_enough_and_not_far_from_the_peak():
    """With weights that dominate, and with activations that do; whole runs, as they are stored.

    What a process takes depends on what its allocator had kept: 0.37 to 0.83 of the estimate seen.
    """
    cases = ["8,512,20", "64,64,200", "32,512,20"]  # replicas, width, batch; the largest is last
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SCRIPT, *cases], **pipes) as child:
        process = psutil.Process(child.pid)
        for case in cases:
            assert child.stdout.readline() == "warm\n"
            before = peak = own_bytes(process)
            child.stdin.write("go\n")
            child.stdin.flush()
            while not select.select([child.stdout], [], [], 0.05)[0]:
                peak = max(peak, own_bytes(process))  # each look takes time, and stops the child
            estimated, kept = map(int, child.stdout.readline().split())
            seen = max(peak - before, kept)
            assert estimated / 4 <= seen <= 1.1 * estimated, (case, seen, estimated)


def test_groups_are_as_large_as_the_memory_allows(monkeypatch):
    experiment = resolve(override(load("digits"), {"seeds": list(range(8))}))
    replica = experiment.replica(experiment.recipe.baseline, 0)
    example = (replica.model, *_timed.first_batch(experiment))
    each, common = _room.member_bytes(*example), _room.evaluation_bytes(*example)
    for room, sizes in ((5, [5]), (1, []), (0, []), (1000, [32, 16, 8])):
        free = common + room * each + each // 2
        monkeypatch.setattr(_room, "available_bytes", lambda device, free=free: free)
        assert _room.group_sizes(experiment, 32) == sizes
    monkeypatch.setattr(_room, "available_bytes", lambda device: 0)
    assert _room.group_sizes(experiment, 32) == []
