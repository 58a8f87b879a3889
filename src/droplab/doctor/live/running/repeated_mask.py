"""DRP041: the same mask on every step, or at every time within one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live._events import Drop
from droplab.doctor.live._exam import Exam, Trace, label

CODE = "DRP041"


def check(exam: Exam) -> Iterator[Finding]:
    """Compare the masks of one dropout between passes, and between its calls in one pass."""
    steps = [by_key(trace) for trace in exam.trains]
    for key, drops in steps[0].items():
        drop = drops[0]
        later = [step.get(key, []) for step in steps[1:]]
        if later and all(calls and same(drop, calls[0]) for calls in later):
            message = "has the same mask on every step"
        elif len(drops) > 1 and all(same(a, b) for a, b in pairwise(drops)):
            if drop.module is not None and _kinds.is_locked(drop.module):
                continue
            message = f"has the same mask in all its {len(drops)} calls of one pass"
        else:
            continue
        yield exam.finding(
            CODE,
            f"{label(drop, exam.name(drop.module))} {message}",
            "do not seed the generator in forward; seed once, before training",
            drop=drop,
            evidence={"steps": len(steps), "calls a step": len(drops)},
        )


def by_key(trace: Trace) -> dict[object, list[Drop]]:
    """Return the calls of each dropout in a pass."""
    found: dict[object, list[Drop]] = {}
    for drop in trace.drops:
        found.setdefault(drop.key, []).append(drop)
    return found


def same(a: Drop, b: Drop) -> bool:
    """Return whether two calls surely had one mask."""
    return a.mask is not None and b.mask is not None and a.mask.same(b.mask)
