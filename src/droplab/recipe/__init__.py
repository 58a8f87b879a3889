"""Recipes: experiments as pure data, in TOML or in Python."""

from __future__ import annotations

from droplab.recipe._losses import LOSSES
from droplab.recipe._metrics import METRICS, TASKS, TEST_METRICS, Measure, Metric
from droplab.recipe._override import override
from droplab.recipe._problems import explain
from droplab.recipe._text import builtin_names, dumps, load, loads
from droplab.recipe.recipe import DEFAULT_SEEDS, SCORE_TRAIN, Recipe
from droplab.recipe.specs import (
    FORMATS,
    Arm,
    DataSpec,
    LossSpec,
    ModelSpec,
    OptimizerSpec,
    SchedulerSpec,
)
from droplab.recipe.target import Condition, Target

__all__ = [
    "DEFAULT_SEEDS",
    "FORMATS",
    "LOSSES",
    "METRICS",
    "SCORE_TRAIN",
    "TASKS",
    "TEST_METRICS",
    "Arm",
    "Condition",
    "DataSpec",
    "LossSpec",
    "Measure",
    "Metric",
    "ModelSpec",
    "OptimizerSpec",
    "Recipe",
    "SchedulerSpec",
    "Target",
    "builtin_names",
    "dumps",
    "explain",
    "load",
    "loads",
    "override",
]
