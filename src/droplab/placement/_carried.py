"""What a model carries along when it is saved whole."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch.utils.hooks import RemovableHandle

T = TypeVar("T", bound=type)

# the calls that a guard can repeat, and what takes hooks out again
torch.serialization.add_safe_globals([frozenset, RemovableHandle])


def carried(cls: T) -> T:
    """Mark a class whose instances are in the hooks of models.

    A script that saves its model with `torch.save(model)` and names its own classes to
    `torch.load(weights_only=True)` knows nothing of these. They run no code of the file.
    """
    torch.serialization.add_safe_globals([cls])
    return cls
