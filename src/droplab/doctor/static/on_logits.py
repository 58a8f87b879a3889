"""DRP031: dropout after the last layer of a classifier."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._flow import Graph, Op
from droplab.doctor._module import Module
from droplab.doctor._place import dropouts, forth
from droplab.doctor.finding import Finding

CODE = "DRP031"

_SOFTMAX = frozenset(
    f"torch.{space}{name}"
    for space, names in (
        ("nn.", "Softmax LogSoftmax CrossEntropyLoss NLLLoss"),
        ("nn.functional.", "softmax log_softmax cross_entropy nll_loss"),
        ("", "softmax log_softmax"),
    )
    for name in names.split()
) | frozenset({".softmax", ".log_softmax"})
_CONTAINERS = frozenset({"tuple"})
_END = frozenset({"return", "end"})
_CLASSES = re.compile(r"class|label|vocab|categor|n_?tags", re.IGNORECASE)
_LAYER = re.compile(r"^(?:classifier|logits?|lm_head|cls|predictor)$")


def check(module: Module) -> Iterator[Finding]:
    """Find dropout between a classifying Linear and the loss, softmax or return."""
    for graph, op in dropouts(module):
        source = op.first
        if source is None or source.kind != "torch.nn.Linear":
            continue
        users = forth(op, _CONTAINERS)
        if not users or any(user.kind not in _SOFTMAX | _END for user in users):
            continue
        softmax = [user for user in users if user.kind in _SOFTMAX]
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
