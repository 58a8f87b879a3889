"""DRP031: the model's output, or what its softmax gets, comes straight from a dropout."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._events import Drop, Node
from droplab.doctor.live._exam import Exam, label

CODE = "DRP031"

_SOFTMAX = frozenset(
    {"torch.nn.Softmax", "torch.nn.LogSoftmax", "torch.nn.functional.softmax", "torch.softmax"}
    | {"torch.nn.functional.log_softmax", "torch.log_softmax", ".softmax", ".log_softmax"}
)
_LINEAR = frozenset({"torch.nn.Linear", "torch.nn.functional.linear"})


def check(exam: Exam) -> Iterator[Finding]:
    """Follow every output back over softmax; a dropout right after a Linear there is one."""
    trace = exam.trains[0]
    drops: dict[Node, Drop] = {d.node: d for d in trace.drops if d.node is not None}
    for output, end in zip(trace.outputs, trace.nodes, strict=True):
        node, softmax = end, False
        while node is not None and node.kind in _SOFTMAX:
            node, softmax = node.first, True
        drop = drops.get(node) if node is not None else None
        if drop is None or node is None or drop.p == 0.0:
            continue
        source = node.first
        if source is None or source.kind not in _LINEAR or not (softmax or output.dim() == 2):
            continue
        dropped = float(drop.mask.dropped.float().mean()) if drop.mask is not None else drop.p
        yield exam.finding(
            CODE,
            f"{label(drop, exam.name(drop.module))} acts on the logits: "
            "a dropped class gets the logit 0, whatever it was",
            "put it before the last Linear",
            drop=drop,
            evidence={"logits dropped": dropped},
        )
