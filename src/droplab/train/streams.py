"""The named streams of a training run, as torch, numpy and Python see them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from droplab.rng import stream_key


@contextlib.contextmanager
def global_generators(seed: int, purpose: str, index: int = 0) -> Iterator[None]:
    """Seed the global generators from a named stream, and give their old state back after.

    Code that is not ours draws from them: initialisers, a model's own `nn.Dropout`, random image
    transforms. Masks and batch order never do, so an arm cannot shift what they draw.

    Args:
        seed: The experiment's seed.
        purpose: Name of the stream.
        index: For example the epoch.
    """
    key = stream_key(seed, purpose, index)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 # other people's transforms use it
    with torch.random.fork_rng():
        seed_torch(key)
        random.seed(key)
        np.random.seed(key % 2**32)  # noqa: NPY002 # as above
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002 # as above


def seed_torch(key: int) -> None:
    """Seed torch's default generators, those of an accelerator where there is one.

    Where there is none, `torch.manual_seed` notes the seed for later, with the whole stack: a
    millisecond, and a tenth of a small run.

    Example:
        >>> seed_torch(3); one = torch.rand(2)
        >>> _ = torch.manual_seed(3); torch.equal(torch.rand(2), one)
        True
    """
    if torch.accelerator.is_available():
        torch.manual_seed(key)
    else:
        torch.default_generator.manual_seed(key)


def initial_model(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return `build()` with the initial weights of `seed`.

    Randomness:
        Stream (seed, "init"): all global generators, for the time of the call.

    Example:
        >>> one = initial_model(lambda: nn.Linear(3, 2), seed=0)
        >>> two = initial_model(lambda: nn.Linear(3, 2), seed=0)
        >>> torch.equal(one.weight, two.weight)
        True
    """
    with global_generators(seed, "init"):
        return build()


def batch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which epoch `epoch` visits `count` training examples.

    It is a function of the arguments alone: no arm, no model and no data loader can change it.

    Randomness:
        Stream (seed, "order", epoch): one permutation.

    Example:
        >>> sorted(batch_order(0, 1, 4).tolist())
        [0, 1, 2, 3]
    """
    generator = torch.Generator().manual_seed(stream_key(seed, "order", epoch))
    return torch.randperm(count, generator=generator)


def scored_examples(count: int, limit: int) -> Tensor:
    """Return which of `count` training examples are scored while training goes on, in order.

    A random choice rather than every so many-th example: labels often come in a fixed rhythm.
    It is the same for all arms, seeds and epochs, so that neither curves nor differences carry
    the luck of the draw.

    Args:
        count: How many training examples there are.
        limit: How many to score at most; 0 for all.

    Returns:
        Ascending int64 numbers.

    Randomness:
        Stream (0, "scored", count): one permutation, whatever the limit, so that a larger choice
        contains the smaller ones.

    Example:
        >>> scored_examples(4, 0).tolist(), len(scored_examples(60000, 10000))
        ([0, 1, 2, 3], 10000)
    """
    if not 0 < limit < count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(stream_key(0, "scored", count))
    return torch.randperm(count, generator=generator)[:limit].sort().values
