"""How the passes over a block of inputs go through the model: together, or one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from droplab.errors import ArgumentError
from droplab.uncertainty._passes import Passes
from droplab.uncertainty.outputs import close

Way = Literal["alone", "vmap", "repeated"]

_FEW = 8
"""Passes that are tried with the batch repeated, and used."""

_ALONE = 3
"""Passes alone that passes together are timed against; the quickest of them counts."""

_SHARE = 0.1
"""How much of the work that is left a trial may cost."""


class Together:
    """Chooses how passes go through the model, by trying on the first blocks.

    Several passes together have to give what they give alone. `vmap` computes once what comes
    before dropout; the repeated batch needs nothing of the model but that its inputs are
    independent.

    Args:
        forward: Makes the passes.
        size: How many passes go together at most.
        timed: Whether passes together have to be faster than one by one.
    """

    def __init__(self, forward: Passes, size: int, timed: bool) -> None:
        self.forward, self.size, self.timed = forward, size, timed
        self.seconds: dict[Way, float] = {}
        """Of one pass over a block, by the ways that were tried and may be taken."""
        self.trials: dict[Way, int] = {"vmap": 2, "repeated": 2} if size > 1 else {}
        """How often each way may still show that it is faster; at first it is slow."""
        self.ways: dict[Way, Callable[[Tensor, Any], Any]] = {
            "alone": forward.alone,
            "vmap": forward.by_vmap,
            "repeated": forward.repeated,
        }

    def passes(self, block: Any, number: int, count: int, left: int) -> Any:
        """Return the outputs of all passes over one block of inputs, stacked.

        Args:
            block: The inputs.
            number: The number of the block.
            count: How many passes.
            left: How many passes there are still to do, over this block and all that follow.
        """
        found: list[Any] = []
        done = 0
        while done < count:
            way, tried = self._next(number, count - done, left - done)
            size = 1 if way == "alone" else min(self.size, _FEW if tried else self.size)
            keys = self.forward.keys(number, done, min(count - done, size))
            out = self._tried(way, keys, block) if tried else self._plain(way, keys, block)
            if out is not None:
                found.append(out)
                done += len(keys)
        return tree_map(lambda *parts: torch.cat(parts), *found)

    def _next(self, number: int, here: int, left: int) -> tuple[Way, bool]:
        """Return the way for the next passes, and whether it is on trial."""
        if here > 1:
            for way, trials in self.trials.items():
                if trials and (way == "vmap" or self._is_due(number, left)):
                    return way, True
        known: list[Way] = [way for way in self.seconds if way != "alone" or self.timed]
        best: Way = min(known, key=lambda way: self.seconds[way]) if known else "alone"
        return best, False

    def _is_due(self, number: int, left: int) -> bool:
        """Return whether to repeat the batch on trial, at little cost beside the work that is left.

        What vmap takes is known from the second block on: in the first one it is slow.
        """
        alone, vmap = self.seconds.get("alone"), self.seconds.get("vmap")
        if vmap is not None and number < 2:
            return False
        if alone is None or vmap is None or alone < vmap:  # the passes on trial are no loss
            return not self.timed or _SHARE * left >= 3
        return (_FEW + 3) * alone <= _SHARE * left * vmap

    def _tried(self, way: Way, keys: Tensor, block: Any) -> Any:
        """Return passes made in some way if they are those made alone; else None, and leave it."""
        self.trials[way] -= 1
        most = min(len(keys), _ALONE if self.timed else 1)
        try:
            if way == "repeated":
                self.forward.note(keys[0], block)
            seconds, many = _timed(lambda: self.ways[way](keys, block))
            places = (0, -1) if way == "repeated" else range(-most, 0)
            alone = [self._alone(many, at, keys, block) for at in places]
        except _CANNOT:
            return self._leave(way)
        self._learn(way, seconds / len(keys))
        self._learn("alone", min(alone))
        if not self.timed or self.seconds[way] < self.seconds["alone"]:
            self.trials[way] = 0
        return many

    def _plain(self, way: Way, keys: Tensor, block: Any) -> Any:
        """Return passes made in some way; None if it cannot, though it could on other inputs.

        In a batch that is repeated inputs may still depend on each other where they did not before.
        """
        try:
            seconds, many = _timed(lambda: self.ways[way](keys, block))
            if way == "repeated":
                self._alone(many, -1, keys, block)
        except _CANNOT:
            if way == "alone":
                raise
            return self._leave(way)
        if len(keys) > 1:
            self._learn(way, seconds / len(keys))
        return many

    def _learn(self, way: Way, seconds: float) -> None:
        """Note what a pass took; the quickest one counts."""
        self.seconds[way] = min(seconds, self.seconds.get(way, seconds))

    def _alone(self, many: Any, at: int, keys: Tensor, block: Any) -> float:
        """Make sure that one of several passes is what it is alone; return the seconds it takes."""
        took, one = _timed(lambda: self.forward.one(keys[at], block))
        pairs = zip(tree_leaves(many), tree_leaves(one), strict=True)
        if not all(close(together[at], own) for together, own in pairs):
            raise RuntimeError("passes together are not those alone")
        return took

    def _leave(self, way: Way) -> None:
        """Take a way no more."""
        self.trials[way] = 0
        self.seconds.pop(way, None)


_CANNOT = (RuntimeError, NotImplementedError, ArgumentError, IndexError)
"""What is raised where passes cannot go together; one by one they may."""


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    out = work()
    leaf = next(iter(tree_leaves(out)))
    if leaf.is_cuda:
        torch.cuda.synchronize(leaf.device)
    return time.perf_counter() - began, out
