"""DRP031: dropout after the last layer of a classifier."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import Graph, Op
from droplab.doctor._module import Module
from droplab.doctor._place import dropouts, forth

if TYPE_CHECKING:
    from droplab.doctor.live._events import Drop, Node
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP031", "on-logits", "dropout acts on the logits", "error")

_SOFTMAX = frozenset(
    {"torch.nn.Softmax", "torch.nn.LogSoftmax", "torch.nn.functional.softmax", "torch.softmax"}
    | {"torch.nn.functional.log_softmax", "torch.log_softmax", ".softmax", ".log_softmax"}
)
_TAKES_LOGITS = _SOFTMAX | {
    "torch.nn.CrossEntropyLoss",
    "torch.nn.NLLLoss",
    "torch.nn.functional.cross_entropy",
    "torch.nn.functional.nll_loss",
}
_CONTAINERS = frozenset({"tuple"})
_END = frozenset({"return", "end"})
_CLASSES = re.compile(r"class|label|vocab|categor|n_?tags", re.IGNORECASE)
_LAYER = re.compile(r"^(?:classifier|logits?|lm_head|cls|predictor)$")


def reading(module: Module) -> Iterator[Finding]:
    """Find dropout between a classifying Linear and the loss, softmax or return."""
    for graph, op in dropouts(module):
        source = op.first
        if source is None or source.kind != "torch.nn.Linear":
            continue
        users = forth(op, _CONTAINERS)
        if not users or any(user.kind not in _TAKES_LOGITS | _END for user in users):
            continue
        softmax = [user for user in users if user.kind in _TAKES_LOGITS]
        if softmax and not _attention(softmax[0]):
            after = softmax[0].kind.rpartition(".")[2]
            message = f"the logits are dropped before {after}: a dropped class gets the logit 0"
        elif not softmax and _classifies(graph, source):
            message = "the logits are dropped: a dropped class gets the logit 0, whatever it was"
        else:
            continue
        yield module.finding(CODE, op.node, message, "put the dropout before the last Linear")


def _classifies(graph: Graph, source: Op) -> bool:
    """Whether the names say that the Linear gives one number a class."""
    if source.make is None:
        return False
    width = _names.argument(source.make, "out_features", 1)
    if width is not None and _CLASSES.search(ast.unparse(width)):
        return True
    return bool(_LAYER.match(source.name) or _LAYER.match(graph.name))


def _attention(softmax: Op) -> bool:
    """Whether the softmax makes weights that multiply something, as attention and gates do."""
    return any(
        user.kind in ("matmult", "mult", "torch.matmul", "torch.bmm", "torch.einsum")
        for user in softmax.users
    )


_LINEAR = frozenset({"torch.nn.Linear", "torch.nn.functional.linear"})


def running(exam: Exam) -> Iterator[Finding]:
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
            f"{exam.label(drop)} acts on the logits: "
            "a dropped class gets the logit 0, whatever it was",
            "put it before the last Linear",
            drop=drop,
            evidence={"logits dropped": dropped},
        )
