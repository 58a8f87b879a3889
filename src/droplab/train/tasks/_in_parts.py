"""One metric on parts of a split: on blocks of its examples, and on every example."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Values(NamedTuple):
    """A metric of each of K members on N parts of a split, and what each part weighs.

    Args:
        values: float64 (K, N); NaN where it cannot be had.
        weights: float64 (K, N); where the metric is a mean over examples, the weighted mean over
            the parts is the metric on all of them.
    """

    values: Tensor
    weights: Tensor


class InParts:
    """What a meter keeps of its batches, to tell one metric on parts of them.

    Of a mean over examples that is its terms, a number an example; of any other metric, outputs
    and targets.

    Args:
        metric: Its name in a score.
        members: How many members there are, K.
    """

    def __init__(self, metric: str, members: int) -> None:
        self.metric = metric
        self._members = members
        self._terms: list[tuple[Tensor, Tensor | None]] = []
        self._whole: list[tuple[Tensor, Tensor]] = []

    def keep_terms(self, values: Tensor, weights: Tensor | None = None) -> None:
        """Keep what the metric is the mean of, each example's times its weight.

        Args:
            values: (K, B) or (K * B,).
            weights: Alike; None: all weigh the same.
        """
        own = (self._members, -1)
        kept = None if weights is None else weights.reshape(own).cpu()
        self._terms.append((values.reshape(own).cpu(), kept))

    def keep_outputs(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep outputs (K, B, ...) and targets (B, ...), from which `of_blocks` measures anew."""
        self._whole.append((outputs, targets))

    def of_examples(self) -> Values | None:
        """Return the metric of each example; None if it is no mean over examples.

        An example that weighs nothing has the value 0.
        """
        if not self._terms:
            return None
        values = torch.cat([each for each, _ in self._terms], dim=1).double()
        weights = [each for _, each in self._terms if each is not None]
        if not weights:
            return Values(values, torch.ones_like(values))
        whole = torch.cat(weights, dim=1).double()
        return Values(torch.where(whole == 0, 0.0, values / whole), whole)

    def of_blocks(self, blocks: Tensor, measure: Callable[[Tensor, Tensor], list[float]]) -> Values:
        """Return the metric on each block of the examples.

        Args:
            blocks: int64 (N,), the block of each example, from 0 on.
            measure: Returns the metric of each member for some of the outputs and targets that
                were kept; called for each block where it is no mean over examples.
        """
        count = int(blocks.max()) + 1
        found = self.of_examples()
        if found is not None:
            sums = torch.zeros(2, self._members, count, dtype=torch.float64)
            sums[0].index_add_(1, blocks, found.values * found.weights)
            sums[1].index_add_(1, blocks, found.weights)
            return Values(sums[0] / sums[1], sums[1])
        sizes = blocks.bincount(minlength=count)
        outputs = torch.cat([each for each, _ in self._whole], dim=1)
        targets = torch.cat([each for _, each in self._whole])
        order = blocks.argsort(stable=True).to(targets.device)
        parts = zip(
            outputs.index_select(1, order).split(sizes.tolist(), dim=1),
            targets.index_select(0, order).split(sizes.tolist()),
            strict=True,
        )
        values = torch.tensor([measure(*part) for part in parts], dtype=torch.float64).T
        return Values(values, sizes.double().expand(self._members, -1))
