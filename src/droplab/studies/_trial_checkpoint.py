"""What a trial keeps on disk while it runs, so that it can go on where it was stopped."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from droplab.errors import ArgumentError, RunError, quote
from droplab.placement import guards
from droplab.results import environment, whole_file

B = TypeVar("B")


class TrialCheckpoint:
    """The parts of a training loop, their states, and the file that these are kept in.

    Args:
        parts: A trial's own generator, then what `Trial.checkpoint` is given.
        path: The file; None if none is kept.
        every: Seconds that pass between two times at the least.

    Raises:
        ArgumentError: If a part is of a kind whose state is not known.
    """

    def __init__(self, parts: Sequence[Any], path: Path | None, every: float) -> None:
        for number, part in enumerate(parts):
            if not _is_part(part):
                raise ArgumentError(
                    f"checkpoint: part {number}: expected what has state_dict and load_state_dict, "
                    f"a generator, a dict or a list, got {quote(part)}"
                )
        self.parts, self._path, self._every = tuple(parts), path, every
        self._kept = time.monotonic()
        self._is_checked = False
        self._packages: dict[str, str] = environment()["packages"]  # other ones give other bits

    @property
    def models(self) -> list[nn.Module]:
        """The modules among the parts."""
        return [part for part in self.parts if isinstance(part, nn.Module)]

    def optimizers(self) -> list[Optimizer | None]:
        """Return of each part the optimizer that it is, or that it wraps."""
        return [_optimizer(part) for part in self.parts]

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return self._path is not None and time.monotonic() - self._kept >= self._every

    def content(self, trial: Mapping[str, Any]) -> dict[str, Any]:
        """Return the states of all parts, and what a trial knows of itself; tensors are shared."""
        return {
            "packages": self._packages,
            "kinds": [type(part).__name__ for part in self.parts],
            "parts": [_state(part) for part in self.parts],
            "guards": [guard.state() for guard in guards(self.models)],
            "generators": generators(),
            "trial": dict(trial),
        }

    def write(self, content: Mapping[str, Any]) -> None:
        """Keep what `content` has returned.

        Raises:
            RunError: If a state holds what cannot be kept, or the file cannot be written.
        """
        path = self._path
        assert path is not None  # or it was not due
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as part:
            torch.save(dict(content), part)
        self._check_readable(path)
        self._kept = time.monotonic()

    def _check_readable(self, path: Path) -> None:
        """Find out now, and not when it is needed, whether a file can be read again."""
        if self._is_checked:
            return
        try:
            _load(path)
        except Exception as error:
            path.unlink(missing_ok=True)
            raise RunError(
                "checkpoint: expected states made of tensors, numbers, texts, dicts and lists, got "
                f"what torch does not load with weights_only ({_first_line(error)})"
            ) from error
        self._is_checked = True

    def read(self) -> dict[str, Any] | None:
        """Return what is kept; None if nothing is, or other versions kept it."""
        if self._path is None or not self._path.exists():
            return None
        try:
            content: dict[str, Any] = _load(self._path)
            if content["packages"] != self._packages:
                return None
            kinds = content["kinds"]
        except Exception as error:
            raise RunError(
                f"{self._path}: expected what trial.checkpoint keeps, and could not read it "
                f"({_first_line(error)}); delete the file to begin this trial anew"
            ) from error
        mine = [type(part).__name__ for part in self.parts]
        if kinds != mine:
            raise RunError(
                f"checkpoint: expected the parts that were kept, {', '.join(kinds)}, got "
                f"{', '.join(mine)}; give the same parts in the same order, or delete "
                f"{self._path} to begin this trial anew"
            )
        return content

    def restore(self, content: Mapping[str, Any]) -> None:
        """Put every part, and the generators, into the states that are kept.

        Raises:
            RunError: If they are those of another model, or another optimizer.
        """
        try:
            for part, state in zip(self.parts, content["parts"], strict=True):
                _load_state(part, state)
            for guard, state in zip(guards(self.models), content["guards"], strict=True):
                guard.restore(state)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self._path}: what was kept of this trial does not fit its parts "
                f"({_first_line(error)}); delete the file to begin this trial anew"
            ) from error
        set_generators(content["generators"])

    def starts(self) -> list[Any]:
        """Return the states of those parts that are generators, and of torch, numpy and Python."""
        own = [_state(part) if _is_generator(part) else None for part in self.parts]
        return [generators(), *own]

    def restore_starts(self, starts: Sequence[Any]) -> None:
        """Put all generators into the states that `starts` has returned."""
        set_generators(starts[0])
        for part, state in zip(self.parts, starts[1:], strict=True):
            if state is not None:
                _load_state(part, state)


def iter_of(loader: Iterable[B], trial: object) -> Iterator[B]:
    """Return the batches of a loader.

    Raises:
        RunError: If its workers outlive the epoch: what they have drawn cannot be drawn again.
    """
    if getattr(loader, "persistent_workers", False):
        raise RunError(
            f"{trial}: expected a loader for trial.batches whose workers begin anew with each "
            "epoch, got one with persistent_workers; take that out"
        )
    return iter(loader)


def skip(batches: Iterator[Any], count: int, trial: object) -> None:
    """Take some batches and leave them out.

    Raises:
        RunError: If there are fewer.
    """
    for done in range(count):
        if next(batches, END) is END:
            raise RunError(
                f"{trial}: expected to go on after batch {count} of trial.batches, got a loader of "
                f"{done}; it must give the same batches whenever an epoch is begun"
            )


END: Any = object()
"""Comes after the last batch."""


def generators() -> dict[str, Any]:
    """Return the states of the generators of torch, numpy and Python."""
    name, keys, *rest = cast("tuple[Any, ...]", np.random.get_state())  # noqa: NPY002 # loops use it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
    }


def set_generators(states: Mapping[str, Any]) -> None:
    """Put them into these states."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    np.random.set_state(tuple(states["numpy"]))  # noqa: NPY002 # as above
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))


def _is_generator(part: object) -> bool:
    return isinstance(part, (torch.Generator, np.random.Generator, random.Random))


def _is_part(part: Any) -> bool:
    if _is_generator(part) or isinstance(part, (dict, list)):
        return True
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def _optimizer(part: Any) -> Optimizer | None:
    """Return the optimizer that a part is; a wrapper, that of accelerate say, holds one."""
    if isinstance(part, Optimizer):
        inside = getattr(part, "optimizer", None)
        return inside if isinstance(inside, Optimizer) else part
    if isinstance(part, (LRScheduler, nn.Module)):
        return None
    inside = getattr(part, "optimizer", None)
    return inside if isinstance(inside, Optimizer) else None


def _state(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return _plain(part.bit_generator.state)
    if isinstance(part, random.Random):
        return part.getstate()
    return _plain(part if isinstance(part, (dict, list)) else part.state_dict())


def _plain(value: Any) -> Any:
    """Return a value with numbers and arrays of numpy as those of Python, which load safely."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if type(value) is dict:
        return {key: _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def _load_state(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, random.Random):
        part.setstate((state[0], tuple(state[1]), state[2]))
    elif isinstance(part, dict):
        part.clear()
        part.update(state)
    elif isinstance(part, list):
        part[:] = state
    else:
        part.load_state_dict(state)


def _load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
