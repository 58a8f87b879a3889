"""Taking droplab's dropout out of a model without its plan."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from droplab.placement._carried import unhook
from droplab.placement._hook import SiteHook, site_hooks
from droplab.placement._walk import inner, reset_compiler


def clear(model: nn.Module) -> tuple[str, ...]:
    """Take out all that droplab hung into a model, and return the names of its sites.

    For a model that a study has trained, which is plain torch then, and for copies:
    `copy.deepcopy` and `torch.load` give a model with its dropout, but the plan that could revert
    it belongs to the original. Rates that `set_rate` gave to functions go back to those in the
    code; rates of modules and attributes stay as they are.

    Args:
        model: Any module.

    Raises:
        PlacementError: If `model` is no module that can have hooks.

    Example:
        >>> import copy
        >>> from torch import nn
        >>> from droplab.placement import plan
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with plan(model, 0.3).applied():
        ...     twin = copy.deepcopy(model)
        >>> clear(twin)
        ('2',)
    """
    found = [hook.name for module in inner(model).modules() for hook in site_hooks(module)]
    for module in model.modules():  # the wrapper of a compiled one, too
        unhook(module)
    reset_compiler()
    return tuple(found)


def take_out(model: nn.Module, sites: Collection[SiteHook]) -> None:
    """Take the hooks of some sites out of all modules of a model."""
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for number, hook in list(hooks.items()):
                if isinstance(hook, SiteHook) and hook in sites:
                    del hooks[number]
                    module._forward_pre_hooks_with_kwargs.pop(number, None)
