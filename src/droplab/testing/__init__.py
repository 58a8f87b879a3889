"""Contracts that every random layer keeps, for layers of your own as well.

Subclass `LayerContract` in a test module and say how to build the layer; pytest collects the rest.
`LayerStatistics` checks mean and variance against a closed form in the same way. `LAYERS` is the
table of droplab's own layers, which go through both.

    class TestMyDropout(LayerContract):
        def build(self, p, seed):
            return MyDropout(p, seed=seed)

        def inputs(self):
            return (torch.randn(6, 5),)
"""

from __future__ import annotations

from droplab.testing._case import LayerCase
from droplab.testing._layer import Layer
from droplab.testing._layouts import LayoutChecks
from droplab.testing._masks import MaskChecks
from droplab.testing._refusals import RefusalChecks
from droplab.testing._registry import LAYERS
from droplab.testing._state import StateChecks
from droplab.testing._statistics import LayerStatistics
from droplab.testing._transforms import TransformChecks
from droplab.testing._values import ValueChecks

__all__ = ["LAYERS", "Layer", "LayerContract", "LayerStatistics"]


class LayerContract(
    ValueChecks,
    MaskChecks,
    LayoutChecks,
    StateChecks,
    TransformChecks,
    RefusalChecks,
    LayerCase,
):
    """Everything that droplab promises about a layer; `LayerCase` says what to give."""
