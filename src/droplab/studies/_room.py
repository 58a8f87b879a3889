"""How many replicas memory has room for, and so how large groups may be."""

from __future__ import annotations

import torch

from droplab.studies._experiment import Experiment
from droplab.studies._timed import first_batch
from droplab.train.memory import available_bytes, evaluation_bytes, member_bytes

_LARGEST = 128
"""Replicas in a group at most: beyond, weights that fall out of the caches cost what is saved."""


def room(experiment: Experiment, *, beside: int = 1, device: str = "cpu") -> int:
    """How many replicas memory has room for in a group; `beside` groups at a time."""
    model = experiment.replica(experiment.recipe.baseline, experiment.recipe.seeds[0]).model
    inputs, targets = first_batch(experiment)
    replica = max(1, member_bytes(model, inputs, targets, experiment.task))
    common = evaluation_bytes(model, inputs, targets, experiment.task)
    return max(0, available_bytes(torch.device(device)) // beside - common) // replica


def group_sizes(
    experiment: Experiment, count: int, *, beside: int = 1, device: str = "cpu"
) -> list[int]:
    """Group sizes to measure, the largest that memory allows first; `beside` groups at a time."""
    fits = room(experiment, beside=beside, device=device)
    largest = max(1, min(count, _LARGEST, fits))
    sizes = [largest, largest // 2, largest // 4] if largest >= 16 else [largest]
    return [size for size in sizes if size > 1]
