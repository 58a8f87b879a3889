"""The forward pre-hook that drops a site's input, and the bank of rates and keys it reads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from droplab import ops
from droplab.errors import PlacementError
from droplab.placement._carried import Hook, carried
from droplab.placement._kept import Kept
from droplab.placement._later import in_backward, later_key, recomputed
from droplab.placement._layers import Kind

CALLS_A_STEP = 1 << 16
"""Call indices that one step has: step `s` owns `s << 16` and the 65 535 that follow."""

_places = itertools.count(1)


class Calls(Protocol):
    """What gives masks to the calls into a model, in place of `set_step`: a `Guard`."""

    depth: int
    """How many calls into the model are running, one within the other."""

    def stray(self) -> None:
        """Give a site that fires outside every call that is guarded masks of its own."""
        ...

    def repeated(self, row: int, name: str) -> Tensor:
        """Return the key of a site whose forward pass is computed again in a backward pass."""
        ...


@carried
class Bank:
    """Rates and keys of all sites of one `apply`, shared by its hooks.

    It knows no model, so that a deep copy or a pickle of a model carries its own bank along.
    """

    calls: Calls | None = None
    """What gives masks to calls in place of `set_step`; it binds a copy of the bank itself."""

    def __init__(self, names: tuple[str, ...], p: Tensor, own: int = 0) -> None:
        self.names = names
        self.p = p
        self.keys = torch.zeros((len(names) + own, 2), dtype=torch.int64)
        """A row for each site, then one for each module whose own draws have keys."""
        self.seeded = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "calls"}


def is_quantised(module: nn.Module) -> bool:
    """Whether a layer is one that torch has quantised."""
    return "quantized" in type(module).__module__


class SiteHook(Hook):
    """Drops the input of one layer while that layer is in training mode.

    Of kind "path", it is a hook after the layer and drops what that returns.
    """

    def __init__(
        self,
        bank: Bank,
        index: int,
        kind: Kind,
        *,
        time: int = 0,
        spatial: int = 0,
        inputs: int = 1,
        quantised: bool = False,
    ) -> None:
        self.bank = bank
        self.index = index
        self.name = bank.names[index]
        self.kind = kind
        self.time = time
        """Where the time axis of a batched sequence is."""
        self.spatial = spatial
        """How many spatial axes the layer has."""
        self.inputs = inputs
        """How many of its first arguments are inputs: each gets a mask of its own."""
        self.quantised = quantised
        """Whether the layer was a quantised one when the dropout was placed."""
        self.place = torch.tensor(-next(_places), dtype=torch.int64, device="cpu")
        """What tells this site's frozen mask from those of others; layers count upwards."""
        self.count = 0
        """Calls since the last `set_step`."""
        self.earlier = 0
        """Calls before that."""
        self.kept = Kept()
        """How much was kept, where calls are guarded."""
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
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the layer's arguments with its inputs dropped; None in eval mode.

        After a layer `kwargs` is its output, and it is the output that is returned. A layer that
        took over the hooks of another, as a fused one does, gives none.
        """
        # what was quantised since is for inference, and torch makes it in training mode
        if not module.training or (not self.quantised and is_quantised(module)):
            return None
        if torch._C._get_tracing_state() is not None:
            raise PlacementError(
                f"{self.name}: a model with placed dropout cannot be traced in training mode, as a "
                "trace would keep one mask; call model.eval() first, or use torch.export"
            )
        if self.kind == "path":
            return self._drop_output(kwargs)
        if args and self.inputs == 1:  # as nearly all are: what follows is slower
            dropped = (self.drop(args[0]), *args[1:])
            return dropped if kwargs is None else (dropped, kwargs)
        dropped = (*(self.drop(x) for x in args[: self.inputs]), *args[self.inputs :])
        if kwargs is None:
            return dropped or None
        names = ["input"] if "input" in kwargs else list(kwargs)
        names = names[: max(0, self.inputs - len(args))]
        if not args and not names:
            raise PlacementError(
                f"{self.name}: expected the layer to be called with its input, got no argument"
            )
        return dropped, {**kwargs, **{name: self.drop(kwargs[name]) for name in names}}

    def _drop_output(self, output: Any) -> Any:
        if isinstance(output, tuple | list):  # as attention has it, with its weights beside
            dropped = [self.drop(output[0]), *output[1:]]
            named = hasattr(output, "_fields")
            return type(output)(*dropped) if named else type(output)(dropped)
        return self.drop(output)

    def drop(self, x: Any) -> Any:
        """Return `x` with this site's dropout."""
        key = self._next_key() if self.bank.seeded else self._drawn_key()
        kind = self.kind
        if isinstance(x, PackedSequence):
            packed = _drop_packed(x, self.p, key, locked=kind == "locked")
            if kind != "locked":
                self._look(x.data, packed.data)
            return packed
        if not isinstance(x, Tensor) or not x.is_floating_point():
            what = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise PlacementError(
                f"{self.name}: expected a floating-point tensor at the site, got {what}; "
                "place dropout at a later layer"
            )
        if kind == "element":
            out = ops.dropout(x, self.p, True, key=key)
            self._look(x, out)
            return out
        if kind == "alpha":
            channels = bool(self.spatial)
            return _alpha_dropout(
                x, self.p, key, channels=channels, batched=x.dim() > self.spatial + 1
            )
        shape = self.noise_shape(x)
        out = ops.dropout(x, self.p, True, key=key, noise_shape=shape)
        self._look(x, out, [axis for axis, size in enumerate(shape) if size != x.shape[axis]])
        return out

    def _look(self, x: Tensor, out: Tensor, shared: Sequence[int] = ()) -> None:
        # under a compiler the counts would be guards that fail at every call
        if not torch.compiler.is_compiling() and self.bank.calls is not None:
            number = self.earlier + self.count - 1
            if not number & (number - 1):  # most calls are not looked at, and end here
                self.kept.look(number, x, out, shared)

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """Return the mask's shape, with 1 where elements share it."""
        shape = list(x.shape)
        if self.kind == "path":
            return (*shape[:1], *(1 for _ in shape[1:]))
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
            calls = self.bank.calls
            if in_backward():
                if calls is not None:
                    return calls.repeated(self.index, self.name)
                if count == 1:  # activation checkpointing: the same mask once more
                    return self.key
                raise PlacementError(recomputed(self.name, count))
            if calls is not None and not calls.depth:
                calls.stray()
                count = 0
        if count == CALLS_A_STEP:
            raise PlacementError(
                f"{self.name}: expected at most {CALLS_A_STEP} calls between two set_step, got one "
                "more; call applied.set_step(step) before every step"
            )
        self.count = count + 1
        return self.key if count == 0 else later_key(self.key, count, self.name)


def site_hooks(module: nn.Module) -> list[SiteHook]:
    """Return the hooks of sites at one layer, before it and after it."""
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return [hook for hook in hooks if isinstance(hook, SiteHook)]


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
