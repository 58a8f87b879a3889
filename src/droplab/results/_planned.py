"""How a run's steps are executed, in one sentence, and what that was chosen from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from droplab.errors import bounded


def plan_sentence(plan: Mapping[str, Any]) -> str:
    """Return what an execution plan says; "" where there is none.

    Args:
        plan: The execution plan as it is stored; what those of old runs leave out did not exist.

    Example:
        >>> print(plan_sentence({"threads": 2, "captured": True, "group": 16}))
        Steps recorded and replayed, 2 threads; up to 16 replicas together.
        >>> plan_sentence({})
        ''
    """
    if not plan:
        return ""
    how = _steps(plan) + _setting(plan)
    reason = plan.get("reason", "")
    why = f": {reason}" if reason and plan.get("group", 1) == 1 else ""
    return f"{how}; {_replicas(plan)}{why}."


def _steps(plan: Mapping[str, Any]) -> str:
    if plan.get("compiled"):
        return "Steps recorded and compiled"
    if plan.get("captured"):
        return "Steps recorded and replayed"
    reason = plan.get("eager_reason", "")
    return f"Steps eager ({reason})" if reason else "Steps eager"


def _setting(plan: Mapping[str, Any]) -> str:
    """Where the steps run, and what differs from torch's usual settings."""
    device, threads = plan.get("device", "cpu"), plan.get("threads", 1)
    count = "1 thread" if threads == 1 else f"{threads} threads"
    parts = [count if device == "cpu" else f"on {device}"]
    if plan.get("matmul", "highest") != "highest":
        parts.append(f"matmul '{plan['matmul']}'")
    if plan.get("channels_last"):
        parts.append("convolutions channels last")
    return "".join(f", {part}" for part in parts)


def _replicas(plan: Mapping[str, Any]) -> str:
    group, workers = plan.get("group", 1), plan.get("workers", 0)
    if group == 1:
        where = "1 worker process" if workers == 1 else f"{workers} worker processes"
        return f"replicas alone, in {where}" if workers else "replicas one by one"
    beside = f", {workers} groups at a time, each in a worker process" if workers else ""
    return f"up to {group} replicas together{beside}"


@dataclass(frozen=True)
class Choice:
    """A plan that was looked at when a run's own was chosen, in words.

    Attributes:
        plan: How steps would be executed.
        step: What a step of one replica was measured to take; "" if it could not be tried.
        total: What all steps of all replicas would take, estimated; "" likewise.
        verdict: That it was chosen, or why not.
        chosen: Whether it was.
    """

    plan: str
    step: str
    total: str
    verdict: str
    chosen: bool


def plan_choices(plan: Mapping[str, Any]) -> list[Choice]:
    """Return what an execution plan was chosen from, the fastest first; empty if it was not kept.

    Args:
        plan: The execution plan as it is stored.

    Example:
        >>> tried = [{"step": 2e-4, "total": 48.0, "chosen": True}]
        >>> tried += [{"group": 8, "reason": "the data is streamed"}]
        >>> for each in plan_choices({"tried": tried}):
        ...     print(each.plan, "|", each.step, "|", each.total, "|", each.verdict)
        Steps eager, 1 thread; replicas one by one | 200 µs | 48 s | chosen
        Steps eager, 1 thread; up to 8 replicas together |  |  | not tried: the data is streamed
    """
    return [
        _choice(cast("Mapping[str, Any]", row))
        for row in cast("Iterable[Any]", plan.get("tried") or ())
        if isinstance(row, Mapping)
    ]


def _choice(row: Mapping[str, Any]) -> Choice:
    step, total, chosen = _number(row, "step"), _number(row, "total"), bool(row.get("chosen"))
    reason = bounded(str(row.get("reason", "")))
    return Choice(
        bounded(f"{_steps(row)}{_setting(row)}; {_replicas(row)}"),
        _duration(step) if step else "",
        _duration(total) if step else "",
        "chosen" if chosen else reason if step else f"not tried: {reason}",
        chosen,
    )


def choices_note(plan: Mapping[str, Any]) -> str:
    """Return what is to be said of what a plan was chosen from.

    Args:
        plan: The execution plan as it is stored.
    """
    choices = plan_choices(plan)
    if not choices:
        return (
            "What the plan was chosen from was not kept: the run was made by an earlier version of "
            "droplab, or its plan was written by hand."
        )
    if sum(bool(each.step) for each in choices) == 1:
        said = plan.get("reason") or "nothing else could be tried"
        return f"One plan was timed: {said}."
    note = (
        "Each plan was timed for a few steps on throw-away replicas, on the machine where it was "
        "chosen. The total is an estimate from that, for all steps and all scoring of all replicas."
    )
    others = _number(plan, "others")
    if others >= 0.05:
        note += f" Meanwhile other processes used {others:.0%} of the processors."
    return note


def _number(table: Mapping[str, Any], name: str) -> float:
    value = table.get(name)
    return value if isinstance(value, float) and 0 <= value < math.inf else 0.0


def _duration(seconds: float) -> str:
    """Seconds in the unit that suits them, with three digits."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        if seconds < 999.5 * size and (unit != "s" or seconds < 120):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
