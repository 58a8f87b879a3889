"""DRP033: single pixels of a feature map are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._place import PLAIN_DROPOUTS, THROUGH, back, dropouts, forth, spatial

if TYPE_CHECKING:
    from droplab.doctor.live._events import Node
    from droplab.doctor.live._exam import Exam

CODE = Code(
    "DRP033", "elementwise-on-features", "single pixels of a feature map are dropped", "note"
)

_AROUND = THROUGH | _names.BATCHNORM


def reading(module: Module) -> Iterator[Finding]:
    """Find plain dropout between two convolutions that look at more than one pixel."""
    for _, op in dropouts(module, PLAIN_DROPOUTS):
        before = back(op.first, _AROUND)
        if before is None or not spatial(before):
            continue
        if any(spatial(user) for user in forth(op, _AROUND)):
            yield module.finding(
                CODE,
                op.node,
                "a dropped pixel is known from its neighbours, so the next convolution sees it",
                "use nn.Dropout2d or DropBlock, which drop what belongs together",
            )


_CORRELATION = 0.2


def running(exam: Exam) -> Iterator[Finding]:
    """Find plain dropout between convolutions whose input's neighbours are correlated."""
    seen: set[object] = set()
    for drop in exam.trains[0].drops:
        plain = drop.name in ("dropout", "Dropout")
        if not plain or not drop.on or drop.p == 0.0 or drop.node is None or drop.key in seen:
            continue
        if drop.correlation is None or drop.correlation < _CORRELATION:
            continue
        if not any(_spatial(node) for node in forth(drop.node, _AROUND)):
            continue
        seen.add(drop.key)
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} drops single pixels of a feature map: "
            "the next convolution reads them from their neighbours",
            "use nn.Dropout2d or DropBlock, which drop what belongs together",
            drop=drop,
            evidence={"correlation of neighbouring pixels": drop.correlation},
        )


def _spatial(node: Node) -> bool:
    if node.kind not in _names.CONVOLUTIONS or node.kind.endswith("1d"):
        return False
    convolution: Any = node.module
    apart = "Transpose" in node.kind and convolution.stride == convolution.kernel_size
    return max(convolution.kernel_size) > 1 and not apart
