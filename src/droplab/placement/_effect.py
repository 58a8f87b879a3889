"""Which number of a module sets how often it drops: found by what the module does with it."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from droplab.placement._drawn import Extremes, drawing_name
from droplab.placement._generators import own_generators
from droplab.placement._tags import tensors
from droplab.placement._trace import as_call
from droplab.placement._untouched import untouched
from droplab.placement._walk import ROOT, inner, unique

_CONFIG = ("config", "cfg", "hparams", "args")
"""What modules call an object that holds their settings."""

_SETTING = re.compile(r"drop|mask|prob|rate|noise|skip|keep|surviv")


@dataclass(frozen=True)
class Drops:
    """How the draws of a module are silenced.

    Args:
        owner: Path of the module.
        keys: Its attributes that do it together, "config.layerdrop" for one of its settings; none
            where only its training flag does.
        keep: Whether they are probabilities of keeping.
        idle: Whether what it draws changes nothing, as it is.
    """

    owner: str
    keys: tuple[str, ...] = ()
    keep: bool = False
    idle: bool = False


def holder_of(module: nn.Module, key: str) -> tuple[Any, str]:
    """Return the object that has an attribute of a module, or of its settings, and its name."""
    settings, _, name = key.rpartition(".")
    return (getattr(module, settings, None) if settings else module), name


def effects(model: nn.Module, example: Any, owners: Sequence[str], silence: Any) -> list[Drops]:
    """Return how the draws of some modules are silenced; those that nothing silences are left out.

    A module is called by itself on what it got in the example, with draws that are all low, all
    high and usual ones. What gives the same each time, and what eval mode gives, drops nothing.

    Args:
        model: The model.
        example: The batch to run.
        owners: Paths of the modules.
        silence: Returns a context in which every rate that is known is 0.
    """
    model = inner(model)
    modules = {names[0]: module for module, names in unique(model).items()}
    found: list[Drops] = []
    known: dict[Any, Drops | None] = {}
    with untouched(model), silence(), ExitStack() as stack:
        calls = _calls(model, example, {path: modules[path] for path in owners})
        for path in sorted(calls, key=_depth, reverse=True):
            module, call = modules[path], calls[path]
            keys = _candidates(module)
            of = (type(module), keys)  # modules of one class drop in one way
            if of not in known:
                with suppress(Exception):  # foreign code, with numbers that it was not made for
                    known[of] = _tried(module, call, path, keys)
            drops = known.get(of)
            if drops is None:
                continue
            found.append(replace(drops, owner=path))
            stack.enter_context(_held(module, drops.keys))  # silent for what is tried next
            _set(module, drops)
    return found


def _depth(path: str) -> int:
    return 0 if path == ROOT else 1 + path.count(".")


def _set(module: nn.Module, drops: Drops) -> None:
    for key in drops.keys:
        holder, name = holder_of(module, key)
        setattr(holder, name, 1.0 if drops.keep else 0.0)
    if not drops.keys and not drops.idle:
        module.training = False


def _tried(
    module: nn.Module, call: tuple[Any, Any], path: str, keys: tuple[str, ...]
) -> Drops | None:
    with _reads(module, keys) as read:
        if _steady(module, call) is not None:
            return Drops(path, idle=True)
    # what is not read when it draws cannot silence it alone
    alone = [(key,) for key in keys if key in read]
    for chosen in [*alone, *([keys] if len(keys) > 1 else [])]:
        for keep in (False, True):
            if _silences(module, call, chosen, keep):
                return Drops(path, _needed(module, call, chosen, keep), keep)
    with _held(module, ()):
        module.training = False
        return Drops(path) if _steady(module, call) is not None else None


def _needed(
    module: nn.Module, call: tuple[Any, Any], keys: tuple[str, ...], keep: bool
) -> tuple[str, ...]:
    """Return those of several attributes that it takes to silence a module."""
    for key in keys:
        rest = tuple(each for each in keys if each != key)
        if rest and _silences(module, call, rest, keep):
            keys = rest
    return keys


def _silences(module: nn.Module, call: Any, keys: tuple[str, ...], keep: bool) -> bool:
    """Whether a module whose attributes are all 0, or all 1, does in training what eval does."""
    with _held(module, keys):
        _set(module, Drops("", keys, keep))
        steady = _steady(module, call)
        if steady is None or not any(bool(t.any()) for t in steady):
            return False
        module.training = False
        still = _steady(module, call)
        return still is not None and _equal(steady, still)


@contextmanager
def _held(module: nn.Module, keys: tuple[str, ...]) -> Iterator[None]:
    was = module.training
    before = [(*holder_of(module, key), getattr(*holder_of(module, key))) for key in keys]
    try:
        yield
    finally:
        module.training = was
        for holder, name, value in before:
            setattr(holder, name, value)


@contextmanager
def _reads(module: nn.Module, keys: tuple[str, ...]) -> Iterator[set[str]]:
    """Note which attributes of a module are read inside: all of them, where that cannot be seen."""
    read: set[str] = set()
    holders: dict[int, Any] = {}
    names: dict[tuple[int, str], str] = {}
    for key in keys:
        holder, name = holder_of(module, key)
        holders[id(holder)] = holder
        names[id(holder), name] = key

    def looking(usual: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        def look(owner: Any, name: str) -> Any:
            key = names.get((id(owner), name))
            if key is not None:
                read.add(key)
            elif name == "__dict__" and id(owner) in holders and not _is_torchs_own():
                read.update(keys)  # whoever has it may look up any of them
            return usual(owner, name)

        return look

    with ExitStack() as stack:
        for cls in {type(holder) for holder in holders.values()}:
            usual: Any = cls.__getattribute__
            own = "__getattribute__" in vars(cls)
            try:
                type.__setattr__(cls, "__getattribute__", looking(usual))
            except TypeError:  # a class that is not written in Python
                read.update(keys)
                continue
            if own:
                stack.callback(type.__setattr__, cls, "__getattribute__", usual)
            else:
                stack.callback(type.__delattr__, cls, "__getattribute__")
        yield read


def _is_torchs_own() -> bool:
    """Whether it is torch's base class of modules that looks something up, two calls above."""
    return sys._getframe(2).f_globals.get("__name__") == nn.Module.__module__


def _steady(module: nn.Module, call: Any) -> list[Tensor] | None:
    """Return what a module gives whatever is drawn; None if that depends on what is drawn."""
    first: list[Tensor] | None = None
    for answer in (Extremes(high=False), Extremes(high=True), None):
        args, kwargs = copy.deepcopy(call)
        if answer is not None:
            answer.begin()
        with _Answering(answer), own_generators(module, extremes=answer):
            output = list(tensors(module(*args, **kwargs)))
        if first is None:
            first = output
        elif not _equal(first, output):
            return None
    return first


def _equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(
        a.shape == b.shape and torch.allclose(a, b, equal_nan=True)
        for a, b in zip(one, two, strict=True)
    )


def _candidates(module: nn.Module) -> tuple[str, ...]:
    """Return the attributes of a module, and of its settings, that may be a rate."""
    own = [key for key, value in vars(module).items() if _is_part(value)]
    for name in _CONFIG:
        settings = vars(module).get(name)
        if settings is not None and hasattr(settings, "__dict__"):
            own += [
                f"{name}.{key}"
                for key, value in vars(settings).items()
                if _is_part(value) and _SETTING.search(key)
            ]
    return tuple(own[:12])


def _is_part(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _calls(model: nn.Module, example: Any, owners: dict[str, nn.Module]) -> dict[str, Any]:
    """Return what each module gets first when the example runs."""
    got: dict[str, Any] = {}

    def keeping(path: str) -> Callable[..., None]:
        def keep(_: nn.Module, args: Any, kwargs: Any) -> None:
            if path not in got:
                with suppress(Exception):  # what cannot be copied cannot be run again
                    got[path] = copy.deepcopy((args, kwargs))

        return keep

    handles = [
        module.register_forward_pre_hook(keeping(path), with_kwargs=True)
        for path, module in owners.items()
    ]
    try:
        args, kwargs = as_call(example)
        with own_generators(model):
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return got


class _Answering(TorchFunctionMode):
    """Answers random functions with extremes, and lets the others through."""

    def __init__(self, answer: Extremes | None) -> None:
        super().__init__()
        self.answer = answer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.answer is not None and drawing_name(func, kwargs):
            return self.answer(func, args, kwargs)
        return func(*args, **kwargs)
