"""DRP035: SELU with plain dropout, or AlphaDropout without SELU."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._flow import Graph, Op, graphs
from droplab.doctor._module import Module
from droplab.doctor._place import PLAIN_DROPOUTS, SELU, dropouts
from droplab.doctor.finding import Finding

CODE = "DRP035"

_ALPHA = _names.ALPHA | {
    "torch.nn.functional.alpha_dropout",
    "torch.nn.functional.feature_alpha_dropout",
    "torch.alpha_dropout",
    "torch.feature_alpha_dropout",
}
_WEIGHTS = _names.CONVOLUTIONS | {"torch.nn.Linear"}


def check(module: Module) -> Iterator[Finding]:
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
