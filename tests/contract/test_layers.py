"""Every registered layer keeps the contract of `droplab.testing`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from droplab.nn import StochasticLayer
from droplab.testing import LAYERS, Layer, LayerContract


@pytest.fixture(autouse=True)
def _rnn_in_the_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # By default the compiler steps around torch's recurrent layers and all that inherit from them.
    with torch._dynamo.config.patch(allow_rnn=True):
        # To time its guards for a log the compiler empties the caches, 25 ms at each compilation.
        monkeypatch.setattr("torch._dynamo.guards.profile_guard_manager", lambda *_: 0.0)
        yield


def _case(layer: Layer) -> type[LayerContract]:
    members: dict[str, Any] = {
        "build": lambda self, p, seed: layer.build(p, seed),
        "inputs": lambda self: layer.inputs(),
        "baseline": lambda self, module, *inputs: layer.baseline(module, *inputs),
        "support": layer.support,
        "at_zero": layer.at_zero,
        "at_one": layer.at_one,
        "eval_is_baseline": layer.eval_is_baseline,
        "has_rate": issubclass(layer.module, StochasticLayer),
    }
    if layer.name == "GaussianNoise":  # whose strength may be above 1
        members["bad_rates"] = (-0.1, math.nan, math.inf, "0.3", None)
    return type(f"Test{layer.name}", (LayerContract,), members)


for _layer in LAYERS.values():
    globals()[f"Test{_layer.name}"] = _case(_layer)
