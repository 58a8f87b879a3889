"""DRP023: in-place dropout that breaks backward, changes the result, or the batch."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam, difference, label

CODE = "DRP023"
_ADVICE = "leave inplace out"


def check(exam: Exam) -> Iterator[Finding]:
    """Compare passes in place and out of place with the same masks."""
    trace = exam.trains[0]
    suspects = [drop for drop in trace.drops if drop.in_place and drop.on and drop.p != 0.0]
    if not suspects:
        return
    drop = suspects[0]
    what = label(drop, exam.name(drop.module))
    if len(suspects) > 1:
        what += f" (or one of {len(suspects) - 1} more that are in place)"
    if "modified by an inplace operation" in trace.backward_error:
        yield exam.finding(
            CODE,
            f"backward fails: it needs a tensor that {what} overwrites",
            _ADVICE,
            drop=drop,
            evidence={"error": trace.backward_error.splitlines()[0][:160]},
        )
        return
    gap = difference(*exam.separate) if exam.separate else 0.0
    if gap > 1e-6:
        yield exam.finding(
            CODE,
            f"the result is another one than with the same masks out of place: {what} overwrites "
            "a tensor that is used again",
            _ADVICE,
            drop=drop,
            evidence={"largest difference": gap},
        )
    elif trace.batch_changed:
        yield exam.finding(
            CODE,
            f"{what} overwrites the batch itself",
            _ADVICE,
            drop=drop,
            evidence={"batch changed by the forward pass": True},
        )
