"""DRP006: the model was trained in train mode at first, and in eval mode later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP006"


def check(watch: Watch) -> Iterator[Finding]:
    """Find models whose mode was lost between two trained passes."""
    for root in watch.roots:
        passes = watch.trained(root)
        lost = [
            item
            for at, item in enumerate(passes)
            if not item.training and any(earlier.training for earlier in passes[:at])
        ]
        if not lost or not any(item.drops or _has_norm(item.root) for item in passes):
            continue
        yield watch.finding(
            CODE,
            f"{type(root).__name__} was put into eval mode and trained on: nothing put it back",
            "call model.train() after validation, or at the top of every epoch",
            place=lost[0].place,
            evidence={"trained passes": len(passes), "of them in eval mode": len(lost)},
        )


def _has_norm(root: object) -> bool:
    from torch import nn

    return isinstance(root, nn.Module) and any(
        isinstance(item, nn.modules.batchnorm._BatchNorm) for item in root.modules()
    )
