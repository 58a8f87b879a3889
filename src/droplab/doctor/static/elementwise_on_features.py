"""DRP033: single pixels of a feature map are dropped."""

from __future__ import annotations

from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._module import Module
from droplab.doctor._place import PLAIN_DROPOUTS, THROUGH, back, dropouts, forth, spatial
from droplab.doctor.finding import Finding

CODE = "DRP033"

_AROUND = THROUGH | _names.BATCHNORM


def check(module: Module) -> Iterator[Finding]:
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
