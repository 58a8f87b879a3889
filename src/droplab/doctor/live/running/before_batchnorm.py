"""DRP032: the variance that BatchNorm sees depends on dropout; measured."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live._events import Drop, Node
from droplab.doctor.live._exam import Exam, label

CODE = "DRP032"

_RATIO = 1.2
"""Reported from here on; every single pass must show at least half of the excess."""


def check(exam: Exam) -> Iterator[Finding]:
    """Compare the variance at each BatchNorm with dropout on and off, all else in train mode."""
    trace = exam.trains[0]
    drops: dict[Node, Drop] = {d.node: d for d in trace.drops if d.node is not None}
    for module, quiet in exam.muted.recorder.variances.items():
        if module not in exam.names or not module.training:
            continue
        base = torch.stack(quiet).mean()
        ratios = [
            float(torch.stack(seen).mean() / base)
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
            f"training that it sees in eval, because of {label(drop, exam.name(drop.module))}",
            "put the dropout after the last BatchNorm",
            drop=drop,
            module=module,
            evidence={"variance ratio": ratio},
        )


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
