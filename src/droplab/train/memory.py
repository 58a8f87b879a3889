"""How much memory replicas take, and how much there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from droplab.data import Inputs
from droplab.train._executor import EVAL_EXAMPLES
from droplab.train.calling import call
from droplab.train.tasks import CLASSIFICATION, Task

_STATE_COPIES = 10
"""Copies of its weights that a replica needs: itself, gradients, two moments, the best weights so
far, the same once more while a step is recorded or a checkpoint is written."""

_ACTIVATION_COPIES = 5
"""What a batch keeps for the backward pass, with gradients and what lives in between."""

_EVAL_COPIES = 3
"""Layers whose outputs lie side by side in an evaluation, at most."""

_SHARE = 0.6
"""The part of the available memory that a population may plan with."""

_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def member_bytes(
    model: nn.Module, inputs: Inputs, targets: Tensor, task: Task = CLASSIFICATION
) -> int:
    """Return an estimate, on the high side, of what one replica takes while it is trained.

    With `evaluation_bytes`, a test holds it to within a factor of 2 of what processes took.

    Args:
        model: A replica.
        inputs: A whole batch.
        targets: Its targets.
        task: What is learned.
    """
    state = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return _STATE_COPIES * state + _ACTIVATION_COPIES * sum(_kept(model, inputs, targets, task))


def evaluation_bytes(
    model: nn.Module, inputs: Inputs, targets: Tensor, task: Task = CLASSIFICATION
) -> int:
    """Return an estimate of what a population's evaluation takes: the same for any size of it."""
    largest = max(_kept(model, inputs, targets, task), default=0) / len(targets)
    return int(_EVAL_COPIES * largest * EVAL_EXAMPLES)


def _kept(model: nn.Module, inputs: Inputs, targets: Tensor, task: Task) -> list[int]:
    """The bytes of every tensor that a batch keeps for the backward pass, weights aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def unpack(tensor: Any) -> Any:
        return tensor

    with torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        task.mean(call(model, inputs), targets)
    return [size for place, size in kept.items() if place not in own]


def available_bytes(device: torch.device) -> int:
    """Return how many bytes a population on `device` may plan with."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _SHARE)
    free = psutil.virtual_memory().available
    for limit, used in _LIMITS:  # a container may have less than its machine
        try:
            most, now = (int(Path(p).read_text(encoding="ascii")) for p in (limit, used))
            free = min(free, most - now)
        except (OSError, ValueError):
            continue
    return max(0, int(free * _SHARE))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "out of memory" in text or "std::bad_alloc" in text
    )
