from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe

TEXT = """
title = "A title"
story = "A story"
hints = ["One", "Two"]
epochs = 3
batch_size = 32
seeds = [0, 1]

[data]
name = "digits"
train = 100
validation = 50

[model]
path = "mlp"
in_features = 64
hidden = [16, 8]

[optimizer]
name = "Adam"
lr = 0.001

[target]
val_accuracy = ">= 0.85"

[[arms]]
name = "none"

[[arms]]
name = "half"
rates = { fc2 = 0.5, fc3 = 0.25 }
"""


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def make() -> Callable[..., Recipe]:
    def build(**changes: Any) -> Recipe:
        fields: dict[str, Any] = {
            "name": "tiny",
            "data": DataSpec("digits", validation=50),
            "model": ModelSpec("mlp"),
            "optimizer": OptimizerSpec("Adam"),
            "epochs": 1,
            "batch_size": 10,
            "arms": (Arm("none"), Arm("half", {"fc2": 0.5})),
        }
        return Recipe(**(fields | changes))

    return build
