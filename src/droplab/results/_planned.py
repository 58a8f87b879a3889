"""How a run's steps are executed, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
