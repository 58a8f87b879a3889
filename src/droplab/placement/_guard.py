"""Generators and mask keys of its own for every outermost call into a model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _current_graph_task_id as _graph_task
from torch._compile import _disable_dynamo
from torch.utils.hooks import RemovableHandle

from droplab.errors import PlacementError
from droplab.ops.layout import CALL_BITS
from droplab.ops.rank import rank
from droplab.ops.transforms import is_compiling, is_exporting
from droplab.placement._carried import Hook, carried
from droplab.placement._draws import Draws
from droplab.placement._hook import Bank, SiteHook
from droplab.placement._kept import Kept
from droplab.placement._walk import ROOT, inner
from droplab.rng import stream_key

WATCHED = 50
"""Outermost calls after which only those modules are watched that were entered from outside."""

KEPT = 4096
"""Calls in training mode, at the least, whose masks activation checkpointing can make again."""

_NONE: frozenset[int] = frozenset()

_AT_ONCE = 128
"""Calls whose keys are made together."""

_Seen = Callable[[Any, Any], None]

_Keys = tuple[int, tuple[Tensor, ...], tuple[Tensor, ...]]
"""Of one call: its key, the keys of the sites, and those of what draws by itself."""


@carried
class _Calls:
    """The calls into one module in one mode: how many there were, and what the next ones use.

    Attributes:
        what: The module and the mode.
        training: Whether the mode is training mode.
        number: Calls so far.
        rank: Rank of the process that `ready` is for.
        ready: Keys of calls to come, the next one last.
    """

    __slots__ = ("number", "rank", "ready", "training", "what")

    def __init__(self, what: str, training: bool = False, number: int = 0) -> None:
        self.what, self.training, self.number, self.rank = what, training, number, -1
        self.ready: list[_Keys] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return _Calls, (self.what, self.training, self.number)


@carried
class Guard:
    """Runs every outermost call into a model on generators that are seeded for this call alone.

    The k-th call into a module, in training mode or in eval mode, has the same random numbers in
    every arm, whatever happens outside, and gives the generators back as it found them: so nothing
    that drops inside can move the order of batches, or an augmentation, outside. The masks of the
    sites belong to the call, too: they need no `set_step`.

    A model that is copied carries a guard of its own along, which counts for itself.

    Args:
        model: The model; which of its modules are entered from outside, the first calls show.
        bank: Rates and keys of its sites.
        hooks: Its sites.
        draws: What it draws by itself.
        seed: Seed of the trial.
        name: Distinguishes the models of one trial.
        seen: Called with the arguments of each call into the model in training mode, before it; not
            of calls into its copies.
    """

    def __init__(
        self,
        model: nn.Module,
        bank: Bank,
        hooks: Sequence[SiteHook],
        draws: Draws,
        seed: int,
        name: str = "",
        seen: _Seen | None = None,
    ) -> None:
        self.bank, self.hooks, self.draws = bank, tuple(hooks), draws
        self.seed, self.name = seed, name
        self.streams = bank.keys * torch.tensor([1, 0])
        self.all_calls = {"stray": _Calls("stray")}
        self.repeatable: dict[int, frozenset[int]] = {}
        """Key of a call in training mode -> rows of the bank that it used more than one mask of.
        The oldest go when keys are made."""
        self.depth = 0
        self.calls = 0
        self.entered: set[str] = set()
        self.handles: dict[str, tuple[RemovableHandle, RemovableHandle]] = {}
        self.saved: list[tuple[torch.Generator, Tensor]] = []
        self.key = 0
        top = inner(model)
        for name, module in model.named_modules():  # the wrapper of a compiled one, too
            if isinstance(module, torch.jit.ScriptModule):
                continue
            path = name or ROOT
            whats = (path + "/eval", path + "/train")
            modes = _Calls(whats[0]), _Calls(whats[1], training=True)
            self.all_calls |= zip(whats, modes, strict=True)
            enter, leave = _Enter(self, path, modes), _Leave(self, path)
            if module is top:
                enter.seen = seen
            self.handles[path] = (
                module.register_forward_pre_hook(enter, prepend=True, with_kwargs=module is top),
                module.register_forward_hook(leave, always_call=True),
            )
        bank.calls = self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "depth": 0, "saved": [], "handles": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.bank.calls = self

    def enter(self, path: str, calls: _Calls) -> None:
        """Begin with a call into a module; only the outermost one changes anything."""
        # A step passes here once, with cold caches, where each function more takes a microsecond.
        if self.depth:
            self.depth += 1
            return
        if _graph_task() != -1:  # as `in_backward` has it
            if torch.default_generator.initial_seed() in self.repeatable:
                self.depth = 1  # a part of a call that is computed again, on its generators
                return
            raise PlacementError(
                f"{_called(path)}: activation checkpointing computes a whole call of the placed "
                "model again, and which one is not known; put the checkpoint inside its forward"
            )
        if self.calls <= WATCHED:
            if self.calls == WATCHED and self.handles:
                self._watch_less()
            self.entered.add(path)
        self.calls += 1
        self.depth = 1
        key = self._begin(calls)
        saved = self.saved
        for generator in _generators() if _HAS_CUDA else _OF_CPU:
            saved.append((generator, generator.get_state()))
            generator.manual_seed(key)
        if calls.training:
            self.repeatable[key] = _NONE

    def _begin(self, calls: _Calls) -> int:
        """Count one more call, and give the sites their keys for it."""
        ready = calls.ready
        if not ready or calls.rank != rank():
            # what vmap or inference mode makes inside itself is of no use after it
            with torch._C._DisableFuncTorch(), torch.inference_mode(False):
                ready = self._make_ready(calls)
        calls.number += 1
        self.key, rows, self.draws.keys = ready.pop()
        for hook, row in zip(self.hooks, rows, strict=True):
            hook.key = row
        return self.key

    def _make_ready(self, calls: _Calls) -> list[_Keys]:
        """Make keys of the calls to come; for each alone, the work would be seen in a step.

        New tensors for every call, since the backward pass of an earlier one may still need its
        own.
        """
        here, rows, sites = rank(), len(self.streams), len(self.hooks)
        block, done = divmod(calls.number, _AT_ONCE)
        purpose = f"call/{self.name}/{calls.what}" + (f"/{here}" if here else "")
        drawn = torch.Generator("cpu").manual_seed(stream_key(self.seed, purpose, block))
        keys = torch.randint(2**63 - 1, (_AT_ONCE,), generator=drawn, device="cpu")[done:]
        words = torch.stack((keys, torch.full_like(keys, here << CALL_BITS)), dim=1)
        made = (self.streams ^ words[:, None]).flatten(0, 1)
        with torch._C._AutoDispatchBelowADInplaceOrView():  # nobody asks what they are views of
            found = made.unbind(0)
        firsts = range(0, len(found), rows) if rows else [0] * len(keys)
        ready = [
            (key, found[first : first + sites], found[first + sites : first + rows])
            for key, first in zip(keys.tolist(), firsts, strict=True)
        ]
        for key in list(itertools.islice(self.repeatable, max(0, len(self.repeatable) - KEPT))):
            del self.repeatable[key]
        ready.reverse()
        calls.rank, calls.ready = here, ready
        return ready

    def leave(self) -> None:
        """End with a call; the outermost one gives the generators back as they were."""
        if not self.depth:
            return  # it was entered before the guard was there
        self.depth -= 1
        if self.depth:
            return
        for generator, state in self.saved:
            generator.set_state(state)
        self.saved.clear()
        several = self._count()
        if several and self.key in self.repeatable:
            self.repeatable[self.key] = frozenset(several)

    def _count(self) -> list[int]:
        """Count afresh; return the rows of the bank of which several masks were used.

        No checkpoint can tell which one of them to repeat.
        """
        several: list[int] = []
        for hook in self.hooks:
            count = hook.count
            if count:
                hook.earlier += count
                hook.count = 0
                if count > 1:
                    several.append(hook.index)
        if self.draws.paths:
            sites = len(self.hooks)
            several += [sites + row for row, count in enumerate(self.draws.counts) if count > 1]
            self.draws.begin_step()
        return several

    def stray(self) -> None:
        """Give a site that fires outside every call that is guarded masks of its own."""
        self._count()
        self._begin(self.all_calls["stray"])

    def repeated(self, row: int, name: str) -> Tensor:
        """Return the key of a site whose forward pass is computed again in a backward pass.

        Activation checkpointing puts the generator back into the state that it had then, and this
        state tells the call.
        """
        key = torch.default_generator.initial_seed()
        several = self.repeatable.get(key)
        if several is None:
            raise PlacementError(
                f"{name}: activation checkpointing computes this site again, and which call it "
                "belonged to is not known; leave preserve_rng_state as it is, True"
            )
        if row in several:
            raise PlacementError(
                f"{name}: activation checkpointing computes this site again, and it fired several "
                "times in that call, so which mask to repeat is not known; leave the layer out of "
                "the checkpoint, or the site out of the arms"
            )
        return self.streams[row] ^ torch.tensor([key, rank() << CALL_BITS], device="cpu")

    def state(self) -> dict[str, Any]:
        """Return how far everything is counted, for `restore`."""
        self._count()
        return {
            "numbers": {what: each.number for what, each in self.all_calls.items() if each.number},
            "calls": self.calls,
            "entered": sorted(self.entered),
            "fired": [hook.earlier for hook in self.hooks],
            "drawn": list(self.draws.earlier),
            "kept": [vars(kept) for kept in self._all_kept()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, of a guard of the same arm and architecture."""
        self._count()
        for what, each in self.all_calls.items():
            each.number, each.ready = state["numbers"].get(what, 0), []
        self.calls = state["calls"]
        self.entered = set(state["entered"])
        for hook, count in zip(self.hooks, state["fired"], strict=True):
            hook.earlier = count
        self.draws.earlier = list(state["drawn"])
        for kept, counts in zip(self._all_kept(), state["kept"], strict=True):
            vars(kept).update(counts)
        if self.calls > WATCHED:
            self._watch_less()

    def _all_kept(self) -> list[Kept]:
        return [*(hook.kept for hook in self.hooks), *self.draws.kept]

    def _watch_less(self) -> None:
        for path in [path for path in self.handles if path not in self.entered]:
            for handle in self.handles.pop(path):
                handle.remove()

    def remove(self) -> None:
        """Take all hooks out of the model."""
        for pair in self.handles.values():
            for handle in pair:
                handle.remove()
        self.handles = {}
        self.bank.calls = None


def _generators() -> tuple[torch.Generator, ...]:
    """Return what a model draws from unless it is told otherwise."""
    if torch.cuda.is_initialized():
        return (*_OF_CPU, *torch.cuda.default_generators)
    return _OF_CPU


_OF_CPU = (torch.default_generator,)
_HAS_CUDA = torch.backends.cuda.is_built()


def _called(path: str) -> str:
    return "the model" if path == ROOT else path


class _Enter(Hook):
    """Pre-hook of a module of a guarded model."""

    def __init__(self, guard: Guard, path: str, modes: tuple[_Calls, _Calls]) -> None:
        self.guard, self.path = guard, path
        self.modes = modes
        """Calls in eval mode, and in training mode."""
        self.seen: _Seen | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "seen": None}

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = None) -> None:
        if is_compiling():
            if self.path == ROOT and not is_exporting():
                _enter_outside(self, module.training)
            return
        if "_is_replica" in module.__dict__:
            raise PlacementError(
                f"{_called(self.path)}: DataParallel lets copies of a model share what is counted "
                "in it; use DistributedDataParallel, or one device"
            )
        training = module.training
        if training and self.seen is not None:
            self.seen(args, kwargs)
        self.guard.enter(self.path, self.modes[training])


class _Leave(Hook):
    """Hook of a module of a guarded model, also called when its `forward` raises."""

    def __init__(self, guard: Guard, path: str) -> None:
        self.guard, self.path = guard, path

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if is_compiling():
            if self.path == ROOT and not is_exporting():
                _leave_outside(self.guard)
            return
        self.guard.leave()


def guards(models: Iterable[nn.Module]) -> list[Guard]:
    """Return the guards of models, those of copies too, each once, in order."""
    found = {
        id(hook.guard): hook.guard
        for model in models
        for module in model.modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, _Enter)
    }
    return list(found.values())


# Compiled code cannot hold a generator: it is left for these, and entered again after them.


@_disable_dynamo
def _enter_outside(hook: _Enter, training: bool) -> None:
    hook.guard.enter(hook.path, hook.modes[training])


@_disable_dynamo
def _leave_outside(guard: Guard) -> None:
    guard.leave()
