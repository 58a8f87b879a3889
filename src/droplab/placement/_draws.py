"""Keys for what a model draws by itself: its own dropout, stochastic depth, noise."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from droplab.errors import PlacementError
from droplab.ops import given_keys, masks_are_frozen
from droplab.placement._carried import Hook, carried
from droplab.placement._hook import CALLS_A_STEP, Bank
from droplab.placement._kept import Kept
from droplab.placement._later import in_backward, later_key, recomputed
from droplab.placement._random import is_random, keyed


@carried
class Draws:
    """Gives a model's own random draws keys from a bank, as long as that is seeded.

    Each of some modules has a stream of its own, for what its `forward` draws outside the others of
    them. So the draws of one module do not depend on the rates, or the presence, of another.

    Args:
        bank: Rates and keys of the sites, with a row for each of these modules after those.
        modules: Path -> module.
    """

    def __init__(self, bank: Bank, modules: Mapping[str, nn.Module]) -> None:
        self.bank = bank
        self.paths = tuple(modules)
        self.counts = [0] * len(self.paths)
        """Draws of each module since the last `set_step`."""
        self.earlier = [0] * len(self.paths)
        """Those before that."""
        self.kept = [Kept() for _ in self.paths]
        """How much each has kept that is a `Dropout`, where calls are guarded."""
        self.running: list[tuple[int, nn.Module]] = []
        """The modules whose `forward` runs, with their numbers, the innermost last."""
        self.mode: _Keyed | None = None
        self.traced = False
        """Whether keys are given in code that is being traced as well."""
        self.keys: tuple[Tensor, ...] = ()
        self.substituted = False
        """Whether `keys` are not those of the bank, but those of a `vmap` for example."""
        self.bind()
        self.handles: list[RemovableHandle] = []
        for index, module in enumerate(modules.values()):
            # before hooks that replace rates, which must have had their turn when a key is taken
            enter, leave = _Enter(self, index), _Leave(self, index)
            self.handles.append(module.register_forward_pre_hook(enter, prepend=True))
            self.handles.append(module.register_forward_hook(leave, always_call=True))

    def bind(self) -> None:
        """Point at the rows of the bank."""
        self.keys = self.bank.keys[len(self.bank.names) :].unbind(0)
        self.substituted = False

    def substitute(self, keys: tuple[Tensor, ...]) -> None:
        """Take other keys, until `bind`; layers and sites under a `vmap` then have them, too."""
        self.keys = keys
        self.substituted = True

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "running": [], "mode": None, "handles": []}
        del state["keys"]  # views: bound again to the bank that travels along
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.bind()

    def begin_step(self) -> None:
        """Count afresh."""
        if any(self.counts):
            self.earlier = [a + b for a, b in zip(self.earlier, self.counts, strict=True)]
        self.counts = [0] * len(self.paths)

    def enter(self, index: int, module: nn.Module) -> None:
        """Begin with the `forward` of a module."""
        if not self.running:
            self.mode = _Keyed(self)
            self.mode.__enter__()
            if self.substituted:
                given_keys.append(self.next_key)
        self.running.append((index, module))

    def leave(self, index: int) -> None:
        """End with the `forward` of a module, if it was entered."""
        if self.running and self.running[-1][0] == index:
            self.running.pop()
            if not self.running and self.mode is not None:
                self.mode.__exit__(None, None, None)
                if self.substituted:
                    given_keys.pop()

    def look(self, index: int, module: nn.Module, args: Any, output: Any) -> None:
        """Look at how much a `Dropout` has kept that was entered in a guarded model."""
        if type(module) is not nn.Dropout or module.inplace or self.bank.calls is None:
            return
        if args and self.counts[index] and self.running and self.running[-1][0] == index:
            number = self.earlier[index] + self.counts[index] - 1
            self.kept[index].look(number, args[0], output)

    def next_key(self) -> Tensor:
        """Return the key of the running module's next draw."""
        index, _ = self.running[-1]
        key, count, path = self.keys[index], self.counts[index], self.paths[index]
        if masks_are_frozen():
            self.counts[index] = count or 1
            return key
        calls = self.bank.calls
        if in_backward():
            if calls is not None:
                return calls.repeated(len(self.bank.names) + index, path)
            if count == 1:  # activation checkpointing: the same numbers once more
                return key
            raise PlacementError(recomputed(path, count))
        if calls is not None and not calls.depth:
            calls.stray()
            count = 0
        if count == CALLS_A_STEP:
            raise PlacementError(
                f"{path}: expected at most {CALLS_A_STEP} draws between two set_step, got one more"
            )
        self.counts[index] = count + 1
        return key if count == 0 else later_key(key, count, path)


class _Keyed(TorchFunctionMode):
    """Replaces random functions by keyed ones while a module runs."""

    def __init__(self, draws: Draws) -> None:
        super().__init__()
        self.draws = draws

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_random(func, kwargs) or _is_checkpointed(self.draws.running[-1][1]):
            return func(*args, **kwargs)
        return keyed(func, args, kwargs, self.draws.next_key)


def _is_checkpointed(module: nn.Module) -> bool:
    """Whether activation checkpointing stands between a module's `forward` and what it draws here.

    It computes that part again without the module, so it must draw as it does without us: from
    torch's generator, whose state it puts back.
    """
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code is _CALL and frame.f_locals.get("self") is module:
            return False
        if frame.f_globals.get("__name__") == "torch.utils.checkpoint":
            return True
        frame = frame.f_back
    return False


_CALL = nn.Module._call_impl.__code__
"""What calls the `forward` of any module, and its hooks."""


class _Enter(Hook):
    """Pre-hook of a module that draws."""

    def __init__(self, draws: Draws, index: int) -> None:
        self.draws, self.index = draws, index

    def __call__(self, module: nn.Module, args: Any) -> None:
        given = self.draws.traced or not torch.compiler.is_compiling()
        if module.training and self.draws.bank.seeded and given:
            self.draws.enter(self.index, module)


class _Leave(Hook):
    """Hook of a module that draws, also called when its `forward` raises."""

    def __init__(self, draws: Draws, index: int) -> None:
        self.draws, self.index = draws, index

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not torch.compiler.is_compiling():
            self.draws.look(self.index, module, args, output)
        self.draws.leave(self.index)
