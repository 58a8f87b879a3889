"""The forward pre-hook that drops a site's input, and the bank of rates and keys it reads."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from droplab import ops
from droplab.errors import PlacementError
from droplab.placement._later import in_backward, later_key, recomputed
from droplab.placement._layers import Kind

CALLS_A_STEP = 1 << 16
"""Call indices that one step has: step `s` owns `s << 16` and the 65 535 that follow."""

_places = itertools.count(1)


class Bank:
    """Rates and keys of all sites of one `apply`, shared by its hooks.

    It knows no model, so that a deep copy or a pickle of a model carries its own bank along.
    """

    def __init__(self, names: tuple[str, ...], p: Tensor, own: int = 0) -> None:
        self.names = names
        self.p = p
        self.keys = torch.zeros((len(names) + own, 2), dtype=torch.int64)
        """A row for each site, then one for each module whose own draws have keys."""
        self.seeded = False


class SiteHook:
    """Drops the first input of one layer while that layer is in training mode."""

    def __init__(
        self, bank: Bank, index: int, kind: Kind, *, time: int = 0, spatial: int = 0
    ) -> None:
        self.bank = bank
        self.index = index
        self.name = bank.names[index]
        self.kind = kind
        self.time = time
        """Where the time axis of a batched sequence is."""
        self.spatial = spatial
        """How many spatial axes the layer has."""
        self.place = torch.tensor(-next(_places), dtype=torch.int64, device="cpu")
        """What tells this site's frozen mask from those of others; layers count upwards."""
        self.count = 0
        """Calls since the last `set_step`."""
        self.earlier = 0
        """Calls before that."""
        self.bind()

    def bind(self) -> None:
        """Point at this site's own element of the bank."""
        self.p = self.bank.p[self.index]
        self.key = self.bank.keys[self.index]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        del state["p"], state["key"]  # views: bound again to the bank that travels along
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.bind()

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the layer's arguments with the first one dropped; None in eval mode."""
        if not module.training:
            return None
        if args:
            return (self.drop(args[0]), *args[1:]), kwargs
        name = "input" if "input" in kwargs else next(iter(kwargs), None)
        if name is None:
            raise PlacementError(
                f"{self.name}: expected the layer to be called with its input, got no argument"
            )
        return args, {**kwargs, name: self.drop(kwargs[name])}

    def drop(self, x: Any) -> Any:
        """Return `x` with this site's dropout."""
        key = self._next_key() if self.bank.seeded else self._drawn_key()
        kind = self.kind
        if isinstance(x, PackedSequence):
            return _drop_packed(x, self.p, key, locked=kind == "locked")
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise PlacementError(
                f"{self.name}: expected a floating-point tensor at the site, got {what}; "
                "place dropout at a later layer"
            )
        if kind == "element":
            return ops.dropout(x, self.p, True, key=key)
        if kind == "alpha":
            channels = bool(self.spatial)
            return _alpha_dropout(
                x, self.p, key, channels=channels, batched=x.dim() > self.spatial + 1
            )
        return ops.dropout(x, self.p, True, key=key, noise_shape=self.noise_shape(x))

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the mask's shape, with 1 where elements share it."""
        shape = list(x.shape)
        if self.kind == "channel":
            if self.spatial:  # (B, C, ...) or (C, ...)
                last = len(shape) - self.spatial
                return (*shape[:last], *(1 for _ in shape[last:]))
            return (*shape[:1], *(1 for _ in shape[1:-1]), *shape[1:][-1:])  # (B, ..., C)
        if len(shape) == 2:  # one sequence without a batch axis: (T, F)
            shape[0] = 1
        else:
            shape[self.time] = 1
        return tuple(shape)

    def _drawn_key(self) -> Tensor:
        # Under a compiler the count would be a guard that fails at every call.
        self.count = 1 if torch.compiler.is_compiling() else self.count + 1
        return ops.draw_layer_key(self.place, self.p)

    def _next_key(self) -> Tensor:
        count = self.count
        if not torch.compiler.is_compiling():
            if ops.masks_are_frozen():
                self.count = count or 1
                return self.key
            if in_backward():
                if count == 1:  # activation checkpointing: the same mask once more
                    return self.key
                raise PlacementError(recomputed(self.name, count))
        if count == CALLS_A_STEP:
            raise PlacementError(
                f"{self.name}: expected at most {CALLS_A_STEP} calls between two set_step, got one "
                "more; call applied.set_step(step) before every step"
            )
        self.count = count + 1
        return self.key if count == 0 else later_key(self.key, count, self.name)


def _alpha_dropout(
    x: Tensor, p: Tensor, key: Tensor | None, *, channels: bool, batched: bool
) -> Tensor:
    """Return `x` after alpha dropout; at p = 0 the identity bit for bit.

    Args:
        x: Output of a SELU.
        p: Drop probability, a 0-d tensor.
        key: The mask's key, None to draw one.
        channels: Whether whole channels are dropped.
        batched: With channels, whether the first axis counts samples.
    """
    if channels:
        out = ops.feature_alpha_dropout(x, p, True, batched=batched, key=key)
    else:
        out = ops.alpha_dropout(x, p, True, key=key)
    return torch.where(p.to(x.device) == 0, x, out)  # adding +0 would turn -0 into 0


def _drop_packed(
    packed: PackedSequence, p: Tensor, key: Tensor | None, *, locked: bool
) -> PackedSequence:
    """Return `packed` with its data dropped.

    Locked masks equal those of the padded batch under the same key: one row for each sequence, in
    the order of the batch before it was sorted.

    Args:
        packed: What `pack_padded_sequence` returned.
        p: Drop probability.
        key: The mask's key, None to draw one.
        locked: Whether all time steps of a sequence share one mask.
    """
    data = packed.data
    if locked:
        sizes = packed.batch_sizes
        batch = int(sizes[0])
        rows = torch.cat([torch.arange(int(n)) for n in sizes]).to(data.device)
        if packed.sorted_indices is not None:
            rows = packed.sorted_indices[rows]
        masks = ops.dropout(data.new_ones((batch, *data.shape[1:])), p, True, key=key)
        data = data * masks[rows]
    else:
        data = ops.dropout(data, p, True, key=key)
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
