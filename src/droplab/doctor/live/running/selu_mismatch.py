"""DRP035: SELU and plain dropout, or AlphaDropout and another activation; moments measured."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor._names import SHAPELESS_ACTIVATIONS
from droplab.doctor._place import SELU
from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam, label

CODE = "DRP035"

_OTHER = SHAPELESS_ACTIVATIONS - SELU - {"torch.nn.Identity"}


def check(exam: Exam) -> Iterator[Finding]:
    """Look at what feeds each dropout, and at what the dropout does to mean and variance."""
    seen: set[object] = set()
    for drop in exam.trains[0].drops:
        source = drop.node.first if drop.node is not None else None
        if source is None or not drop.on or drop.p == 0.0 or drop.key in seen:
            continue
        alpha = "lpha" in drop.name
        if alpha and source.kind in _OTHER:
            short = source.kind.rpartition(".")[2]
            reason = f"keeps the moments of SELU's output only, and it follows {short}"
            advice = "use Dropout, or SELU"
        elif drop.name in ("Dropout", "dropout") and source.kind in SELU:
            reason, advice = "breaks the zero mean and unit variance of SELU", "use AlphaDropout"
        else:
            continue
        seen.add(drop.key)
        mean, variance, mean_after, variance_after = drop.moments
        yield exam.finding(
            CODE,
            f"{label(drop, exam.name(drop.module))} {reason}",
            advice,
            drop=drop,
            evidence={
                "mean before": mean,
                "mean after": mean_after,
                "variance before": variance,
                "variance after": variance_after,
            },
        )
