"""What a model carries along when it is saved whole."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from droplab.errors import PlacementError

T = TypeVar("T", bound=type)

# the calls that a guard can repeat, and what takes hooks out again
torch.serialization.add_safe_globals([frozenset, RemovableHandle])


def carried(cls: T) -> T:
    """Mark a class whose instances hang in models.

    A script that saves its model with `torch.save(model)` and names its own classes to
    `torch.load(weights_only=True)` knows nothing of these. They run no code of the file.
    """
    torch.serialization.add_safe_globals([cls])
    return cls


class Hook:
    """What is called before or after a module's `forward`."""

    def __init_subclass__(cls) -> None:
        carried(cls)

    @property
    def __name__(self) -> str:
        """Refuse to be scripted: torch.jit.script asks every hook for its name first."""
        raise _Unscriptable(
            "a model with placed dropout cannot be scripted; revert the plan or call "
            "droplab.placement.clear(model) first, trace it, or use droplab export"
        )


class _Unscriptable(PlacementError, AttributeError):
    """Whoever only asks whether a hook has a name is told that it has none."""


def unhook(module: nn.Module) -> None:
    """Take out of one module what was hung into it."""
    before, after = module._forward_pre_hooks, module._forward_hooks
    for hooks in (before, after):
        for number in [number for number, hook in hooks.items() if isinstance(hook, Hook)]:
            del hooks[number]
    for kept, hooks in (
        (module._forward_pre_hooks_with_kwargs, before),
        (module._forward_hooks_with_kwargs, after),
        (module._forward_hooks_always_called, after),
    ):
        for number in [number for number in kept if number not in hooks]:
            del kept[number]
