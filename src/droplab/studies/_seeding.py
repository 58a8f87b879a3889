"""The generators of Python, numpy and torch, seeded for one trial and given back after it."""

from __future__ import annotations

import random

import numpy as np
import torch

from droplab.rng import stream_key


def seed_generators(seed: int, purpose: str, index: int = 0) -> None:
    """Seed all that a training loop draws from, from a named stream."""
    key = stream_key(seed, purpose, index)
    torch.manual_seed(key)
    random.seed(key)
    np.random.seed(key % 2**32)  # noqa: NPY002 # other people's augmentations draw from it


class Generators:
    """The states of these generators, to be restored."""

    def __init__(self) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 # as above
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore(self) -> None:
        """Put the generators back into these states."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002 # as above
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
