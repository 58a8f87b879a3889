"""DRP032: dropout right before BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import rate
from droplab.doctor._module import Module
from droplab.doctor._place import THROUGH, dropouts, forth

if TYPE_CHECKING:
    from torch import Tensor, nn

    from droplab.doctor.live._events import Drop, Node
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP032", "before-batchnorm", "dropout shifts the variance BatchNorm sees", "warning")


def reading(module: Module) -> Iterator[Finding]:
    """Find dropout that reaches BatchNorm over nothing but activations and pooling."""
    for _, op in dropouts(module):
        norms = [user for user in forth(op, THROUGH) if user.kind in _names.BATCHNORM]
        if not norms:
            continue
        p = rate(op)
        ratio = f" ({1 / (1 - p):.3g} times its second moment)" if p is not None and p < 1 else ""
        yield module.finding(
            CODE,
            op.node,
            f"BatchNorm learns the variance with dropout on{ratio} and meets another in eval",
            "put the dropout after the last BatchNorm, or BatchNorm before the dropout",
        )


_RATIO = 1.2
"""Reported from here on; every single pass must show at least half of the excess."""


def running(exam: Exam) -> Iterator[Finding]:
    """Compare the variance at each BatchNorm with dropout on and off, all else in train mode."""
    trace = exam.trains[0]
    drops: dict[Node, Drop] = {d.node: d for d in trace.drops if d.node is not None}
    for module, quiet in exam.muted.recorder.variances.items():
        if module not in exam.names or not module.training:
            continue
        base = _mean(quiet)
        ratios = [
            _mean(seen) / base
            for seen in (t.recorder.variances.get(module) for t in exam.trains)
            if seen and base > 0
        ]
        if not ratios or sum(ratios) / len(ratios) < _RATIO or min(ratios) < 0.5 + _RATIO / 2:
            continue
        drop = _nearest(trace.recorder.nodes, module, drops)
        if drop is None:
            continue
        ratio = sum(ratios) / len(ratios)
        yield exam.finding(
            CODE,
            f"{type(module).__name__} '{exam.name(module)}' sees {ratio:.2f} times the variance in "
            f"training that it sees in eval, because of {exam.label(drop)}",
            "put the dropout after the last BatchNorm",
            drop=drop,
            module=module,
            evidence={"variance ratio": ratio},
        )


def _mean(variances: list[Tensor]) -> float:
    return sum(float(item.mean()) for item in variances) / len(variances)


def _nearest(nodes: list[Node], module: nn.Module, drops: dict[Node, Drop]) -> Drop | None:
    """Return the dropout that a BatchNorm's input comes from, over the fewest operations."""
    todo = [node for node in nodes if node.module is module]
    seen = set(todo)
    while todo:
        node = todo.pop(0)
        if node in drops:
            return drops[node]
        for source in node.inputs:
            if source not in seen:
                seen.add(source)
                todo.append(source)
    return None
