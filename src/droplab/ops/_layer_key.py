"""Keys for layers, which have state: a call index, and a place of their own in frozen masks."""

from __future__ import annotations

import os
import threading

import torch
import torch.utils.data
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops._frozen import masks_are_frozen
from droplab.ops._keys import draw_key, make_key
from droplab.ops.layout import CALL_BITS
from droplab.ops.rank import rank
from droplab.ops.transforms import draw_number, is_compiling, is_plain, under_vmap

# What differs between two layers is a tensor here, never a number or a string: the compiler makes
# one program for all blocks of a model only if they are equal in everything but tensors.
torch.library.define("droplab::next_key", "(Tensor(a!) stream) -> Tensor")
torch.library.define(
    # The number keeps two draws of one program two draws, see draw_number.
    "droplab::draw_layer_key",
    "(Tensor site, int number, Tensor? rate) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)


_counting = threading.Lock()
"""Held while a call is counted: many threads may call one layer, and each call has its index."""


def _count_afresh() -> None:
    global _counting
    _counting = threading.Lock()


if hasattr(os, "register_at_fork"):  # a child cannot wait for a thread that it does not have
    os.register_at_fork(after_in_child=_count_afresh)


def next_key(stream: Tensor) -> Tensor:
    """Return the key of a seeded layer's next call, and count the call.

    Inside `frozen_masks` the index is taken as 0 and nothing is counted.

    Args:
        stream: int64 tensor (2,), changed in place: stream key and index of the next call.

    Returns:
        A key as `make_key` gives it, on the device of `stream`.

    Raises:
        ArgumentError: In a worker of a `DataLoader`, which has a copy of the layer that counts for
            itself. If a backward pass is running: what calls then is a recomputation
            (activation checkpointing), and the next index would give it another mask than the
            forward pass had.

    Example:
        >>> stream = make_key(seed=7)
        >>> bool((next_key(stream) == make_key(seed=7, call=0)).all()), int(stream[1])
        (True, 1)
    """
    return _next_key(stream) if is_plain() else torch.ops.droplab.next_key(stream)


def draw_layer_key(site: Tensor, rate: Tensor | None = None) -> Tensor:
    """Return a key from torch's default generator; inside `frozen_masks`, the one of this site.

    Args:
        site: int64 tensor () on the CPU, another number for every layer.
        rate: What the key is for. Where it is 0 no element depends on the key, and none is drawn,
            as torch draws none; so what is drawn afterwards does not shift. It is looked at on the
            CPU alone, since on a device that would mean to wait for it, and not under vmap.

    Returns:
        A key as `make_key` gives it, on the CPU.
    """
    if is_plain():
        if rate is not None and _is_zero(rate):
            return torch.zeros(2, dtype=torch.int64, device="cpu")
        return draw_key(_name(site) if masks_are_frozen() else "")
    if is_compiling():
        if under_vmap():  # whose randomness flag an operator does not see
            return make_key()
        return torch.ops.droplab.draw_layer_key(site, draw_number(), rate)
    return make_key(site=_name(site)) if masks_are_frozen() else make_key()


def _next_key(stream: Tensor) -> Tensor:
    with _counting:
        return _count(stream)


def _count(stream: Tensor) -> Tensor:
    key = stream.clone()
    call = stream.select(-1, 1)
    if masks_are_frozen():
        key.select(-1, 1).zero_()
    else:
        if torch.utils.data.get_worker_info() is not None:
            raise ArgumentError(
                "seed: expected a layer with a seed to be called outside of a DataLoader's "
                "workers, got a call inside one; each worker has a copy of the layer, and all "
                "would drop the same elements: leave the seed out (each worker draws from its own "
                "generator), or call dropout with key=make_key(seed, index of the item)"
            )
        if torch._C._current_graph_task_id() != -1:
            raise ArgumentError(
                "seed: expected a layer with a seed to be called in the forward pass alone, got a "
                "call from within a backward pass, as activation checkpointing makes; its masks "
                "would not be those of the forward pass: leave the seed out (checkpointing repeats "
                "masks drawn from torch's generator), or leave this layer out of the checkpoint"
            )
        call.add_(1)
    number = rank()
    if number:
        key.select(-1, 1).add_(number << CALL_BITS)
    return key


def _next_key_vmap(info, in_dims, stream):
    return _next_key(stream.movedim(in_dims[0], 0)), 0


def _is_zero(rate: Tensor) -> bool:
    return rate.device.type == "cpu" and rate.dim() == 0 and rate.item() == 0.0


def _draw_layer_key(site: Tensor, number: int, rate: Tensor | None) -> Tensor:
    if rate is not None and _is_zero(rate):
        return torch.zeros(2, dtype=torch.int64, device="cpu")
    return draw_key(_name(site) if masks_are_frozen() else "")


def _name(site: Tensor) -> str:
    return f"layer/{int(site)}"


torch.library.impl("droplab::next_key", "default", _next_key)
torch.library.impl("droplab::draw_layer_key", "default", _draw_layer_key)
torch.library.register_fake("droplab::next_key", torch.empty_like)
torch.library.register_fake(
    "droplab::draw_layer_key",
    lambda site, number, rate: torch.empty(2, dtype=torch.int64, device="cpu"),
)
torch.library.register_vmap("droplab::next_key", _next_key_vmap)
