"""DRP035: SELU with plain dropout, or AlphaDropout without SELU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import Graph, Op
from droplab.doctor._graphs import graphs
from droplab.doctor._module import Module
from droplab.doctor._names import SHAPELESS_ACTIVATIONS
from droplab.doctor._place import PLAIN_DROPOUTS, SELU, dropouts

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP035", "selu-mismatch", "SELU and AlphaDropout belong together", "warning")

_ALPHA = _names.ALPHA | {
    "torch.nn.functional.alpha_dropout",
    "torch.nn.functional.feature_alpha_dropout",
    "torch.alpha_dropout",
    "torch.feature_alpha_dropout",
}
_WEIGHTS = _names.CONVOLUTIONS | {"torch.nn.Linear"}


def reading(module: Module) -> Iterator[Finding]:
    """Find plain dropout right after SELU, and AlphaDropout after anything else."""
    for graph, op in dropouts(module, PLAIN_DROPOUTS | _ALPHA):
        source = op.first
        if source is None:
            continue
        if op.kind in PLAIN_DROPOUTS and (source.kind in SELU or source.kind == ".selu"):
            yield module.finding(
                CODE,
                op.node,
                "plain dropout after SELU breaks its zero mean and unit variance",
                "use AlphaDropout",
            )
        elif op.kind in _ALPHA and _foreign(module, graph, source):
            yield module.finding(
                CODE,
                op.node,
                "AlphaDropout keeps the moments of SELU's output only, and this is not SELU",
                "use Dropout, or SELU",
            )


def _foreign(module: Module, graph: Graph, source: Op) -> bool:
    activation = source.kind in _names.SHAPELESS_ACTIVATIONS - SELU
    if activation and not source.kind.endswith("Identity"):
        return True
    if source.kind not in _WEIGHTS:
        return False
    # Straight after a layer of weights: SELU may follow, or be used elsewhere in the class.
    owner = graph.owner
    mine = [g for g in graphs(module) if owner is not None and g.owner is owner] or [graph]
    return not any(op.kind in SELU or op.kind in ("?", ".selu") for g in mine for op in g.ops)


_OTHER = SHAPELESS_ACTIVATIONS - SELU - {"torch.nn.Identity"}


def running(exam: Exam) -> Iterator[Finding]:
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
            f"{exam.label(drop)} {reason}",
            advice,
            drop=drop,
            evidence={
                "mean before": mean,
                "mean after": mean_after,
                "variance before": variance,
                "variance after": variance_after,
            },
        )
