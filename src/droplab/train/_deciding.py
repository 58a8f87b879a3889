"""The metric that decides, told of parts of the validation examples, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from droplab.train.tasks import Meter


@dataclasses.dataclass(frozen=True)
class Deciding:
    """The metric that decides, and the parts that it is wanted of.

    Attributes:
        metric: Its name in a score.
        blocks: int64 (N,), the block of each validation example, from 0 on.
    """

    metric: str
    blocks: Tensor


@dataclasses.dataclass(frozen=True)
class Parts:
    """The metric of one member on parts of the validation examples.

    Attributes:
        blocks: On each block.
        block_weights: What the blocks weigh; where the metric is a mean over examples, its weighted
            mean over the blocks is that over all examples.
        examples: float32 (N,), of each example, if the metric is a mean over examples.
        example_weights: float32 (N,), what the examples weigh.
    """

    blocks: tuple[float, ...]
    block_weights: tuple[float, ...]
    examples: np.ndarray | None = None
    example_weights: np.ndarray | None = None


def parts_of(meter: Meter, deciding: Deciding | None, *, last: bool) -> Iterator[Parts | None]:
    """Yield the parts of every member, None if nobody asks for them.

    Args:
        meter: It has seen all validation examples.
        deciding: What is wanted; None: nothing.
        last: Whether the values of each example are wanted, which are those of the last epoch.
    """
    if deciding is None or meter.parts is None:
        yield from [None] * meter.members
        return
    blocks = meter.of_blocks(deciding.blocks)
    examples = meter.parts.of_examples() if last else None
    for member in range(meter.members):
        values, weights = (tuple(each[member].tolist()) for each in blocks)
        if examples is None:
            yield Parts(values, weights)
        else:
            yield Parts(values, weights, *(each[member].float().numpy() for each in examples))
