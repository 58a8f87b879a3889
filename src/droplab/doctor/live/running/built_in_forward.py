"""DRP003: every pass calls a dropout module that no earlier pass has seen."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam

CODE = "DRP003"


def check(exam: Exam) -> Iterator[Finding]:
    """Find modules outside the model that are new in every pass and on in eval mode."""
    first, second = exam.evals
    later = {id(drop.module) for drop in second.drops}
    seen: set[object] = set()
    for drop in first.drops:
        module = drop.module
        if module is None or module in exam.names or id(module) in later or drop.place in seen:
            continue
        if not drop.on or drop.p == 0.0:
            continue
        seen.add(drop.place)
        yield exam.finding(
            CODE,
            f"{drop.name} is built anew on every call, so eval() never reaches it",
            "build it in __init__, or call the function with training=self.training",
            drop=drop,
            evidence={"dropped in eval mode": not drop.silent},
        )
