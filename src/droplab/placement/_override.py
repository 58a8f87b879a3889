"""Other rates for the dropping functions that a module's own `forward` calls."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from droplab.errors import PlacementError
from droplab.placement._calls import call_name, is_dropout_call, with_rate
from droplab.placement._carried import Hook, carried
from droplab.placement._drawn import Drawn, calling_line, drawing_name
from droplab.placement._walk import reset_compiler, unique

Key = tuple[str, int]
"""A function and how many calls of it came before in the same `forward`."""


class Told:
    """What modules draw while nothing of them should drop."""

    def __init__(self) -> None:
        self.running: list[_Rates] = []
        self.drawn: Counter[Drawn] = Counter()


class _Rates(TorchFunctionMode):
    """Replaces rates while one `forward` runs, and tells what it draws where that is asked for."""

    def __init__(
        self, rates: dict[Key, float] | None, told: Told | None = None, path: str = ""
    ) -> None:
        super().__init__()
        self.rates = rates
        self.told = told
        self.path = path
        self.seen: dict[str, int] = {}
        self.paused = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.told is not None and not torch.compiler.is_compiling():
            name = drawing_name(func, kwargs)
            if name and self.told.running[-1] is self:
                self.told.drawn[Drawn(self.path, name, calling_line(sys._getframe(1)))] += 1
        if not self.paused and is_dropout_call(func):
            if self.rates is None:
                args, kwargs = with_rate(func, args, kwargs, 0.0)
            else:
                name = call_name(func)
                index = self.seen.get(name, 0)
                self.seen[name] = index + 1
                p = self.rates.get((name, index))
                if p is not None:
                    args, kwargs = with_rate(func, args, kwargs, p)
        return func(*args, **kwargs)


class _Enter(Hook):
    """Pre-hook on the owner: starts replacing."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides

    def __call__(self, module: nn.Module, args: Any) -> None:
        told = self.overrides.told
        mode = _Rates(self.overrides.rates, told, self.overrides.path)
        mode.__enter__()
        self.overrides.running.append(mode)
        if told is not None and not torch.compiler.is_compiling():
            told.running.append(mode)


class _Leave(Hook):
    """Hook on the owner, also called when `forward` raises: ends replacing."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        mode = self.overrides.running.pop()
        mode.__exit__(None, None, None)
        if mode.told is not None and mode in mode.told.running:
            mode.told.running.remove(mode)


class _Pause(Hook):
    """Hook around the modules inside the owner, whose calls are not its own."""

    def __init__(self, overrides: Overrides, step: int) -> None:
        self.overrides = overrides
        self.step = step

    def __call__(self, *args: Any) -> None:
        if self.overrides.running:
            self.overrides.running[-1].paused += self.step


@carried
class Overrides:
    """The replaced rates of one module.

    Args:
        rates: Rates by function and index; None for 0 at every call inside, also those of modules
            within the module.
        told: Where its random draws are noted; None for nowhere.
        path: Its path in the model, for that.
    """

    def __init__(
        self,
        rates: dict[Key, float] | None = None,
        told: Told | None = None,
        path: str = "",
    ) -> None:
        self.rates = rates
        self.told = told
        self.path = path
        self.running: list[_Rates] = []
        self._handles: list[RemovableHandle] = []

    def install(self, module: nn.Module) -> None:
        """Put the hooks in place."""
        self._handles = [
            module.register_forward_pre_hook(_Enter(self)),
            module.register_forward_hook(_Leave(self), always_call=True),
        ]
        for inside in module.modules() if self.rates is not None else ():
            if inside is not module and not isinstance(inside, torch.jit.ScriptModule):
                self._handles += [
                    inside.register_forward_pre_hook(_Pause(self, 1), prepend=True),
                    inside.register_forward_hook(_Pause(self, -1), always_call=True),
                ]
        reset_compiler()

    def remove(self) -> None:
        """Take the hooks out."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        reset_compiler()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "running": []}


@contextmanager
def functions_silenced(model: nn.Module, told: Told | None = None) -> Iterator[None]:
    """Let no function drop inside that a module of the model calls."""
    silence: list[Overrides] = []
    try:
        for module, names in unique(model).items():
            if not isinstance(module, torch.jit.ScriptModule):
                silence.append(Overrides(None, told, names[0]))
                silence[-1].install(module)
        yield
    finally:
        for overrides in silence:
            overrides.remove()


def overridden(module: nn.Module, key: Key, own: float) -> float:
    """Return the rate of a call inside `module`, `own` if nothing replaces it."""
    for found in _all(module):
        if found.rates is None:
            return 0.0
        if key in found.rates:
            return found.rates[key]
    return own


def override(module: nn.Module, key: Key, p: float, own: float) -> None:
    """Replace the rate of a call inside `module`; its `own` rate takes the hooks out again."""
    found = _find(module)
    if found is None:
        if p == own:
            return
        found = Overrides({})
        found.install(module)
    if found.rates is None:
        raise PlacementError("set_rate: cannot change a function's rate inside disabled(model)")
    found.rates[key] = p
    if p == own:
        del found.rates[key]
    if not found.rates:
        found.remove()


@contextmanager
def suspended(model: nn.Module) -> Iterator[None]:
    """Let the code's own rates through inside, in the whole model."""
    held = [(o, o.rates) for m in model.modules() if (o := _find(m)) is not None]
    try:
        for overrides, _ in held:
            overrides.rates = {}
        yield
    finally:
        for overrides, rates in held:
            overrides.rates = rates


def _all(module: nn.Module) -> list[Overrides]:
    hooks = module._forward_pre_hooks.values()
    return [hook.overrides for hook in reversed(hooks) if isinstance(hook, _Enter)]


def _find(module: nn.Module) -> Overrides | None:
    return next(iter(_all(module)), None)
