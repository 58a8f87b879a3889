"""DRP044: the loop counts correct answers with dropout on, and compares with dropout off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor.finding import Finding

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP044"


def check(watch: Watch) -> Iterator[Finding]:
    """Find accuracy from trained passes with dropout on beside accuracy from passes without."""
    for root in watch.roots:
        noisy = [item for item in watch.of(root) if item.trained and item.counted and item.drops_on]
        quiet = [
            item
            for item in watch.of(root)
            if not item.trained and item.counted and not item.drops_on
        ]
        if not noisy or not quiet:
            continue
        evidence: dict[str, Any] = {
            "training accuracy with dropout on": _share(noisy),
            "validation accuracy": _share(quiet),
        }
        again = [item for item in noisy if item.counted_quiet]
        if again:
            evidence["some training batches, dropout on"] = _share(again)
            evidence["the same batches, dropout off"] = sum(
                item.correct_quiet for item in again
            ) / sum(item.counted_quiet for item in again)
        yield watch.finding(
            CODE,
            "training accuracy is counted while dropout is on, validation accuracy without: "
            "their difference is not the gap",
            "measure the training accuracy again in eval mode before you compare",
            place=noisy[0].place,
            evidence=evidence,
        )


def _share(passes: list[Any]) -> float:
    return sum(item.correct for item in passes) / sum(item.counted for item in passes)
