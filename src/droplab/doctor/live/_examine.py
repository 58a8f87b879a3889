"""Examining a live model: run it, and prove what is wrong with its dropout."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from droplab.doctor._codes import CODES, RUNNING, expand
from droplab.doctor._finding import Finding
from droplab.doctor.live._exam import Exam
from droplab.doctor.live._state import preserved
from droplab.errors import ArgumentError


def examine(
    model: nn.Module,
    batch: Any,
    *,
    loss: Callable[[Any], Tensor] | None = None,
    steps: int = 3,
    select: Iterable[str] = (),
    ignore: Iterable[str] = (),
    seed: int = 0,
) -> list[Finding]:
    """Run a model on a batch, in eval and in training mode, and return what is wrong.

    Every finding is proved by what the passes did, and carries the measured numbers in `evidence`.
    Nothing stays changed: training flags, parameters, buffers, gradients, plain attributes of the
    modules and all default generators are given back. The batch is copied.

    Args:
        model: Any torch model.
        batch: One tensor, a tuple or list of positional arguments, or a mapping of keyword
            arguments. Of a pair that forward cannot take, the first is the input.
        loss: From the output to a scalar, for the backward pass; by default the sum of the means
            of all float outputs.
        steps: How many passes in training mode; at least 2.
        select: Codes, prefixes or names of checks to keep; all by default.
        ignore: Codes, prefixes or names to leave out.
        seed: Where the generators start; their state is given back.

    Returns:
        The findings, in the order of their codes.

    Raises:
        ArgumentError: The model is not a module, steps is below 2, a code does not exist, or the
            model fails on the batch.

    Randomness:
        The default generators are seeded, used, and given back as they were.

    Example:
        >>> import torch
        >>> class Net(nn.Module):
        ...     def forward(self, x):
        ...         return torch.nn.functional.dropout(x, 0.5)
        >>> [finding.code for finding in examine(Net(), torch.ones(4, 8))]
        ['DRP004']
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"examine: model must be a torch.nn.Module, got {type(model).__name__}; "
            "build it first, if it is a class"
        )
    if isinstance(steps, bool) or steps < 2:
        raise ArgumentError(f"examine: steps must be at least 2, got {steps}; masks are compared")
    chosen = expand(select, where="examine: select") or frozenset(CODES)
    chosen -= expand(ignore, where="examine: ignore")
    inputs, keywords = _arguments(model, batch)
    with preserved(model):
        torch.manual_seed(seed)
        exam = Exam(model, inputs, keywords, loss, steps)
        found = [finding for code in RUNNING if code in chosen for finding in RUNNING[code](exam)]
    return sorted(found, key=lambda finding: finding.code)


def _arguments(model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of forward."""
    if isinstance(batch, Mapping):
        return (), {str(key): value for key, value in batch.items()}
    if isinstance(batch, Tensor):
        return (batch,), {}
    if isinstance(batch, tuple | list):
        inputs = tuple(batch)
        if not inputs:
            raise ArgumentError("examine: batch is empty; give at least one tensor")
        try:
            inspect.signature(model.forward).bind(*inputs)
        except TypeError:
            return inputs[:1], {}
        except ValueError:
            pass
        return inputs, {}
    raise ArgumentError(
        f"examine: batch must be a tensor, a tuple, a list or a mapping, got {type(batch).__name__}"
    )
