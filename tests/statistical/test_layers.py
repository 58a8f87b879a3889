"""Moments and independence of every layer; `LayerStatistics` states the false-alarm rate."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import Tensor

from droplab.testing import LAYERS, Layer, LayerStatistics


@lru_cache(maxsize=1)
def _sample(case: type[LayerStatistics], p: float) -> Tensor:
    return LayerStatistics.sample(case(), p)


def _case(layer: Layer) -> type[LayerStatistics]:
    members: dict[str, Any] = {
        "build": lambda self, p, seed: layer.build(p, seed),
        "inputs": lambda self: layer.inputs(),
        "sample": lambda self, p: _sample(type(self), p),
        "moments": lambda self, module, p, *inputs: layer.moments(module, p, *inputs),
    }
    if layer.groups is not None:
        groups = layer.groups
        members |= {
            "groups": lambda self, output, *inputs: groups(output, *inputs),
            "shares": layer.shares,
        }
    return type(f"Test{layer.name}", (LayerStatistics,), members)


for _layer in LAYERS.values():
    globals()[f"Test{_layer.name}"] = _case(_layer)
