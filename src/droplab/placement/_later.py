"""Keys of the second and later calls of a site within one step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from droplab.errors import PlacementError
from droplab.ops import masks_are_frozen


def in_backward() -> bool:
    """Say whether autograd is computing gradients in this thread."""
    return torch._C._current_graph_task_id() != -1


def later_key(key: Tensor, count: int, name: str) -> Tensor:
    """Return `key` with its call index raised by `count`.

    Compiled code cannot ask whether it runs inside a backward pass, where activation
    checkpointing would get a wrong mask; an operation that it does not look into can.
    """
    if torch.compiler.is_compiling():
        return _compiled_later_key(key, count, name)
    return _raised(key, count)


def later_key_in_graphs() -> dict[Any, Any]:
    """Return what stands for the operator in a graph that runs without droplab."""
    return {_compiled_later_key._opoverload: lambda key, count, name: _raised(key, count)}


def _raised(key: Tensor, count: int) -> Tensor:
    return torch.stack((key[..., 0], key[..., 1] + count), dim=-1)


@torch.library.custom_op("droplab::later_key", mutates_args=())
def _compiled_later_key(key: Tensor, count: int, name: str) -> Tensor:
    if masks_are_frozen():
        return key.clone()
    if in_backward():
        raise PlacementError(recomputed(name, count))
    return _raised(key, count)


@_compiled_later_key.register_fake
def _(key: Tensor, count: int, name: str) -> Tensor:
    return torch.empty_like(key)


@_compiled_later_key.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], key: Tensor, count: int, name: str
) -> tuple[Tensor, int]:
    return _compiled_later_key(key.movedim(in_dims[0] or 0, 0), count, name), 0


def recomputed(name: str, count: int) -> str:
    """Return why a seeded site cannot be computed again in a backward pass."""
    if count == 0:
        return (
            f"{name}: activation checkpointing computes this seeded site again, and set_step was "
            "called between its forward and backward passes; call set_step after backward"
        )
    times = "once" if count == 1 else f"{count} times"
    return (
        f"{name}: activation checkpointing computes this seeded site again, and it fired {times} "
        "since the last set_step, so which mask to repeat is not known; call set_step before every "
        "step, let the layer run once a step in code that is not compiled, or leave the site "
        "unseeded"
    )
