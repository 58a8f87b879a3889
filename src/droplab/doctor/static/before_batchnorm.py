"""DRP032: dropout right before BatchNorm."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._flow import rate
from droplab.doctor._module import Module
from droplab.doctor._place import THROUGH, dropouts, forth
from droplab.doctor.finding import Finding

CODE = "DRP032"


def check(module: Module) -> Iterator[Finding]:
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
