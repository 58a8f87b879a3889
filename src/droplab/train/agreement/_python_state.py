"""What a model keeps outside its tensors, as far as it can be found: what no record repeats."""

from __future__ import annotations

import builtins
import hashlib
import itertools
import pickle
import random
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_TORCH = frozenset(vars(nn.Module()))
"""What every module has: parameters, buffers, hooks, its mode."""

_LONGEST = 10_000
"""Elements of a container, or functions, that are looked at."""

_LARGEST = 1_000_000
"""Elements of an array whose content is looked at."""


def python_state(model: nn.Module) -> dict[str, Any]:
    """Return a token for everything that a model's forward may keep in Python, by what it is.

    Attributes of the modules and of their classes, default values and closures of their methods,
    globals that these name, also through functions that they call, and the states of the global
    generators of Python and numpy. Two tokens are equal if what they stand for has not changed.

    Args:
        model: The model. Layers of torch keep nothing, so their code is not looked at.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> layer.calls = 1
        >>> before = python_state(layer)
        >>> layer.calls += 1
        >>> changed(before, python_state(layer))
        "'calls'"
    """
    known = {id(t) for t in (*model.parameters(), *model.buffers())}
    found: dict[str, Any] = {}
    kinds: dict[type, None] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _TORCH:
                found[f"'{path}.{name}'".replace("'.", "'")] = _token(value, known)
        for kind in type(module).__mro__:
            if not kind.__module__.startswith(("torch.", "builtins")):
                kinds[kind] = None
    for kind in kinds:
        for name, value in vars(kind).items():
            if not name.startswith("__"):
                found[f"'{kind.__name__}.{name}'"] = _token(value, known)
    for where, value in _outside(kinds):
        found[where] = _token(value, known)
    found["Python's random generator"] = hash(random.getstate())
    found["numpy's random generator"] = _digest(pickle.dumps(np.random.get_state()))  # noqa: NPY002 # models draw from it
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what is not as it was before; "" if all is."""
    for name in [*before, *after]:
        if before.get(name) != after.get(name) or (name in before) != (name in after):
            return name
    return ""


def _outside(kinds: Mapping[type, None]) -> Iterator[tuple[str, Any]]:
    """Yield what the methods of some classes can reach, by the names that their code holds."""
    waiting = [value for kind in kinds for value in vars(kind).values()]
    seen: set[int] = set()
    while waiting and len(seen) < _LONGEST:
        function = _function(waiting.pop())
        if function is None or id(function.__code__) in seen:
            continue
        seen.add(id(function.__code__))
        where = f"of {function.__qualname__}"
        yield f"a default {where}", (function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # of a variable that has no value yet
                continue
            waiting.append(content)
            yield f"the closure {where}", content
        names = _names(function.__code__)
        for name in names:
            value = function.__globals__.get(name, vars(builtins).get(name))
            if isinstance(value, types.ModuleType):
                if not value.__name__.startswith(("torch", "numpy")):
                    inside = [(other, vars(value).get(other)) for other in names]
                    waiting += [each for _, each in inside]
                    for other, each in inside:
                        if isinstance(each, _PLAIN):
                            yield f"the global '{name}.{other}'", each
                continue
            waiting.append(value)
            if name in function.__globals__:
                yield f"the global '{name}'", value


def _function(value: Any) -> types.FunctionType | None:
    value = getattr(value, "__func__", getattr(value, "fget", value))
    if not isinstance(value, types.FunctionType):
        return None
    home = value.__module__ or ""
    return None if home.partition(".")[0] in ("torch", "numpy", "droplab") else value


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, np.ndarray, Tensor)


def _token(value: Any, known: set[int], depth: int = 6) -> Any:
    """Return something that is equal as long as the value has not changed."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return type(value).__name__, repr(value)
    if isinstance(value, (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)):
        return id(value)
    if isinstance(value, Tensor):
        return "tensor" if id(value) in known else _array_token(value)
    if isinstance(value, np.ndarray):
        return _array_token(value)
    if isinstance(value, torch.Generator):
        return _digest(value.get_state().numpy().tobytes())
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if depth == 0:
        return type(value).__name__
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_LONGEST]
        inner = [(_token(k, known, depth - 1), _token(v, known, depth - 1)) for k, v in pairs]
        return len(value), inner
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = [_token(item, known, depth - 1) for item in list(value)[:_LONGEST]]
        return type(value).__name__, len(value), inner
    if isinstance(value, nn.Module):
        own = {name: v for name, v in vars(value).items() if name not in _TORCH}
        return type(value).__name__, _token(own, known, depth - 1)
    return _object_token(value, known, depth)


def _array_token(value: Tensor | np.ndarray) -> Any:
    size = value.numel() if isinstance(value, Tensor) else value.size
    if size > _LARGEST:
        return id(value), getattr(value, "_version", 0)
    if isinstance(value, Tensor):
        if value.is_sparse or value.is_quantized or value.device.type == "meta":
            return id(value)
        plain = value.detach().cpu().contiguous().reshape(-1)
        content = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        return tuple(value.shape), str(value.dtype), _digest(content)
    return value.shape, str(value.dtype), _digest(value.tobytes())


def _object_token(value: Any, known: set[int], depth: int) -> Any:
    """Return a token of what an object would be copied by: its state, its items, its arguments."""
    kind = type(value).__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of iterators
            made = value.__reduce_ex__(2)
    except Exception:  # whatever somebody's objects do when they are copied
        return kind, id(value)
    if isinstance(made, str):
        return kind, made
    parts = [list(itertools.islice(p, _LONGEST)) if isinstance(p, Iterator) else p for p in made]
    return kind, _token(parts, known, depth - 1)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
