"""DRP034: a channel dropout gets an input of another rank."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor._names import CHANNEL_RANK
from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds
from droplab.doctor.live._events import Drop
from droplab.doctor.live._exam import Exam, label

CODE = "DRP034"

_FUNCTIONS = {"dropout1d": 3, "dropout2d": 4, "dropout3d": 5}


def check(exam: Exam) -> Iterator[Finding]:
    """Find Dropout1d, 2d and 3d whose input has not the rank that they expect."""
    seen: set[object] = set()
    for drop in exam.trains[0].drops:
        want = _rank(drop)
        got = len(drop.shape)
        if want is None or got == want or drop.key in seen or not drop.on or drop.p == 0.0:
            continue
        seen.add(drop.key)
        evidence: dict[str, object] = {"shape of the input": "x".join(map(str, drop.shape))}
        if got == want - 1:
            effect = "the first axis is taken for channels, so whole samples are dropped"
            evidence["samples dropped whole"] = drop.zero_samples
        else:
            effect = "there are no channels to drop together"
        yield exam.finding(
            CODE,
            f"{label(drop, exam.name(drop.module))} expects {want}-D (batch, channels, ...) and "
            f"gets {got}-D: {effect}",
            "use nn.Dropout" if got == 2 else "use nn.Dropout, or nn.Dropout1d on (B, C, T)",
            drop=drop,
            evidence=evidence,
        )


def _rank(drop: Drop) -> int | None:
    if drop.module is None:
        return _FUNCTIONS.get(drop.name)
    return CHANNEL_RANK.get(_kinds.kind_of(drop.module))
