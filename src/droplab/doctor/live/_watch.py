"""Watching a training loop: nothing in it changes, and what it does wrong is proved."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn

from droplab.doctor._codes import CODES, WATCHING, expand
from droplab.doctor._finding import Finding
from droplab.doctor.live._loop import Loop
from droplab.doctor.live._timeline import Timeline
from droplab.errors import ArgumentError


class Watch(Loop):
    """What a watched block did. Made by `examine_loop`; `findings` is filled when the block ends.

    Attributes:
        findings: What is wrong, in the order of the codes.
        passes: Calls of models in the block.
        steps: Optimizer steps in the block.
    """

    def __init__(self, targets: list[nn.Module], chosen: frozenset[str], ranks: bool) -> None:
        super().__init__(ranks)
        self.findings: list[Finding] = []
        self._targets = targets
        self._chosen = chosen
        self._timeline: Timeline | None = None

    def __enter__(self) -> Watch:
        if self._timeline is not None:
            raise ArgumentError("examine_loop: a watch can be entered once; make another")
        self._timeline = Timeline(self._wants)
        self._timeline.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        timeline = self._timeline
        if timeline is None:
            return
        timeline.__exit__(kind, *rest)
        self.passes, self.orders = timeline.passes, timeline.orders
        self.variables = timeline.variables
        self.steps, self.called = timeline.steps, timeline.called
        if kind is not None:
            return
        if not self.passes:
            raise ArgumentError(
                "examine_loop: no model ran inside the block; put the training loop into it"
                + (", or pass the model that it trains" if self._targets else "")
            )
        found = [f for code in WATCHING if code in self._chosen for f in WATCHING[code](self)]
        self.findings = sorted(found, key=lambda finding: finding.code)

    def _wants(self, module: nn.Module) -> bool:
        if not self._targets:
            return True
        inside = set(module.modules())
        return any(target in inside for target in self._targets)


def examine_loop(
    step: nn.Module | Callable[..., Any] | None = None,
    *,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    ranks: bool = False,
) -> Watch:
    """Return a context manager that watches a training loop and proves what it does wrong.

    The loop runs as it would without it: hooks read, they do not write, and are gone when the block
    ends. To measure accuracy with dropout off, up to ten batches are answered once more in eval
    mode, with everything that this touches given back.

    Args:
        step: The model, or the function that makes a training step, to watch only the models it
            uses; by default every model that is called in the block.
        select: Codes, prefixes or names of checks to keep; all by default.
        ignore: Codes, prefixes or names to leave out.
        ranks: Compare the masks of all ranks when the block ends. This is a collective call: every
            rank of the default process group must watch its loop.

    Returns:
        A watch; its `findings` are there after the block.

    Raises:
        ArgumentError: step is neither a module nor callable, a code does not exist, ranks is asked
            for without a process group, or (at the end) no model ran in the block.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> _ = model.eval()
        >>> with examine_loop(model) as watch:
        ...     for _ in range(3):
        ...         model(torch.ones(2, 4)).sum().backward()
        ...         optimizer.step()
        >>> [finding.code for finding in watch.findings]
        ['DRP005']
    """
    if step is not None and not callable(step):
        raise ArgumentError(
            f"examine_loop: step must be a module or a function, got {type(step).__name__}; "
            "pass the model, or nothing to watch every model"
        )
    if ranks and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise ArgumentError(
            "examine_loop: ranks=True needs an initialised process group, got none; "
            "call torch.distributed.init_process_group first"
        )
    chosen = expand(select, where="examine_loop: select") or frozenset(CODES)
    chosen -= expand(ignore, where="examine_loop: ignore")
    return Watch(list(_models_of(step)) if step is not None else [], chosen, ranks)


def _models_of(step: Any) -> Iterator[nn.Module]:
    """Yield the modules that a function uses: itself, its object, its closure, its globals."""
    if isinstance(step, nn.Module):
        yield step
        return
    if isinstance(step, functools.partial):
        for value in (step.func, *step.args, *step.keywords.values()):
            if isinstance(value, nn.Module) or callable(value):
                yield from _models_of(value)
        return
    owner = getattr(step, "__self__", None)
    if owner is not None and not inspect.ismodule(owner):
        values = [owner, *vars(owner).values()] if hasattr(owner, "__dict__") else [owner]
        yield from (value for value in values if isinstance(value, nn.Module))
    function = inspect.unwrap(getattr(step, "__func__", step))
    if inspect.isfunction(function):
        seen = inspect.getclosurevars(function)
        for value in (*seen.nonlocals.values(), *seen.globals.values()):
            if isinstance(value, nn.Module):
                yield value
