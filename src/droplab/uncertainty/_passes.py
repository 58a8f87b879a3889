"""One pass of a model that is awake, and several of them together."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from droplab.errors import ArgumentError
from droplab.ops import StackedDraws
from droplab.placement import CALLS_A_STEP, Applied, as_call
from droplab.rng import stream_key
from droplab.uncertainty._blocks import cut, rows_of
from droplab.uncertainty.outputs import Take, close, outputs


class Passes:
    """The passes over one block of inputs.

    Args:
        core: The model, awake.
        applied: What gives keys to whatever draws in it.
        seed: The seed.
        shared: Whether all inputs have the same masks.
        take: Takes what is wanted out of what the model returns.
    """

    def __init__(
        self,
        core: nn.Module,
        applied: Applied,
        seed: int,
        shared: bool,
        take: Take | None = None,
    ) -> None:
        self.core, self.applied, self.seed, self.shared = core, applied, seed, shared
        self.take = take
        self.rows_together = True
        self.draws = StackedDraws()

    def keys(self, block: int, start: int, count: int) -> Tensor:
        """Return the keys of some passes, (passes, streams, 2)."""
        number = 0 if self.shared else block
        names = [f"uncertainty/{name}" for name in self.applied.streams]
        streams = torch.tensor([stream_key(self.seed, name, number) for name in names])
        keys = torch.stack((streams, torch.zeros_like(streams)), dim=-1).repeat(count, 1, 1)
        keys[:, :, 1] = torch.arange(start, start + count)[:, None] * CALLS_A_STEP
        return keys

    def call(self, keys: Tensor, block: Any) -> Any:
        """Return the output of one pass."""
        self.applied.begin_pass()
        args, kwargs = as_call(block)
        with self.applied.substituted(self.applied.p, keys):
            return outputs(self.core(*args, **kwargs), self.take)

    def one(self, keys: Tensor, block: Any) -> Any:
        """Return the output of one pass, with masks as they are asked for."""
        if not self.shared:
            return self.call(keys, block)
        alone = tree_map(lambda x: x.unsqueeze(1) if isinstance(x, Tensor) else x, block)
        if self.rows_together:
            try:
                dims = tree_map(lambda x: 0 if isinstance(x, Tensor) else None, block)
                out = vmapped(lambda row: self.call(keys, row), (dims,))(alone)
                return tree_map(lambda x: x.flatten(0, 1), out)
            except RuntimeError:  # an operation that torch cannot batch
                self.rows_together = False
        each = [self.call(keys, cut(block, i, i + 1)) for i in range(rows_of(block))]
        return tree_map(lambda *rows: torch.cat(rows), *each)

    def alone(self, keys: Tensor, block: Any) -> Any:
        """Return the outputs of some passes, stacked, made one after the other."""
        each = [self.one(key, block) for key in keys.unbind(0)]
        return tree_map(lambda *passes: torch.stack(passes), *each)

    def by_vmap(self, keys: Tensor, block: Any) -> Any:
        """Return the outputs of some passes, stacked; what comes before dropout is made once."""
        return vmapped(self.one, (0, None))(keys, block)

    def note(self, keys: Tensor, block: Any) -> None:
        """See what a pass draws, which `repeated` has to know."""
        self.draws = StackedDraws()
        with self.draws:
            self.call(keys, cut(block, 0, 1) if self.shared else block)

    def repeated(self, keys: Tensor, block: Any) -> Any:
        """Return the outputs of some passes, stacked, made of the block so many times over."""
        count, rows = len(keys), rows_of(block)
        many = tree_map(
            lambda x: x.repeat(count, *[1] * (x.dim() - 1)) if isinstance(x, Tensor) else x, block
        )
        calls = keys[:, 0, 1] - keys[0, 0, 1]
        with self.draws.stack(calls.repeat_interleave(rows) if self.shared else calls):
            out = self.call(keys[0], many)
        self.draws.check()
        return tree_map(lambda x: x.unflatten(0, (count, rows)), out)

    def check(self, block: Any) -> int:
        """Make sure that a pass follows from its keys; return the bytes of its largest output."""
        before = {name: buffer.clone() for name, buffer in self.core.named_buffers()}
        weights = _versions(self.core)
        sizes = [0]

        def see(module: nn.Module, args: Any, out: Any) -> None:
            sizes.extend(x.nbytes for x in tree_leaves(out) if isinstance(x, Tensor))

        hooks = [module.register_forward_hook(see) for module in self.core.modules()]
        keys = self.keys(0, 0, 1)[0]
        try:
            once = self.one(keys, block)
        finally:
            for hook in hooks:
                hook.remove()
        changed = [
            *(n for n, x in self.core.named_buffers() if n in before and not x.equal(before[n])),
            *(n for n, version in _versions(self.core).items() if version != weights.get(n)),
        ]
        if changed:
            raise ArgumentError(
                f"sample: expected a model whose forward pass leaves its state alone, got one that "
                f"changes '{changed[0]}', so that its passes depend on each other"
            )
        pairs = zip(tree_leaves(once), tree_leaves(self.one(keys, block)), strict=True)
        if not all(close(again, one) for one, again in pairs):
            raise ArgumentError(
                "sample: expected a model that gives the same output for the same input and masks, "
                "got one that does not: it keeps something from pass to pass, or draws by random, "
                "numpy, a generator of its own, or torch.randperm or torch.multinomial, which "
                "follow from no seed here; draw by torch.rand, or droplab.ops"
            )
        return max(sizes)


def vmapped(function: Callable[..., Any], dims: Any) -> Callable[..., Any]:
    mapped = torch.func.vmap(function, in_dims=dims, randomness="error")

    def call(*args: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            return mapped(*args)

    return call


def _versions(core: nn.Module) -> dict[str, int]:
    """Return how often each parameter was changed in place; not of those that do not count it."""
    return {n: p._version for n, p in core.named_parameters() if not p.is_inference()}
