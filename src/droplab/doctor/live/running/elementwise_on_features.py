"""DRP033: plain dropout on a feature map whose neighbours say the same; measured."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from droplab.doctor._names import SHAPELESS_ACTIVATIONS
from droplab.doctor._place import POOLS
from droplab.doctor.finding import Finding
from droplab.doctor.live._events import Node
from droplab.doctor.live._exam import Exam, label

CODE = "DRP033"

_CORRELATION = 0.2
_THROUGH = SHAPELESS_ACTIVATIONS | POOLS | {f"torch.nn.BatchNorm{rank}d" for rank in (1, 2, 3)}


def check(exam: Exam) -> Iterator[Finding]:
    """Find plain dropout between convolutions whose input's neighbours are correlated."""
    seen: set[object] = set()
    for drop in exam.trains[0].drops:
        plain = drop.name in ("dropout", "Dropout")
        if not plain or not drop.on or drop.p == 0.0 or drop.node is None or drop.key in seen:
            continue
        if drop.correlation is None or drop.correlation < _CORRELATION:
            continue
        if not any(_spatial(node) for node in _consumers(drop.node)):
            continue
        seen.add(drop.key)
        yield exam.finding(
            CODE,
            f"{label(drop, exam.name(drop.module))} drops single pixels of a feature map: "
            "the next convolution reads them from their neighbours",
            "use nn.Dropout2d or DropBlock, which drop what belongs together",
            drop=drop,
            evidence={"correlation of neighbouring pixels": drop.correlation},
        )


def _consumers(node: Node) -> list[Node]:
    todo, found, seen = list(node.users), list[Node](), set[Node]()
    while todo:
        user = todo.pop()
        if user in seen:
            continue
        seen.add(user)
        if user.kind in _THROUGH:
            todo.extend(user.users)
        else:
            found.append(user)
    return found


def _spatial(node: Node) -> bool:
    module = node.module
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return max(module.kernel_size) > 1
    return False
