"""Recipes: experiments as pure data, in TOML or in Python."""

from __future__ import annotations

from droplab.recipe._losses import LOSSES
from droplab.recipe._metrics import FURTHER, METRICS, TASKS, TEST_METRICS, Measure, Metric
from droplab.recipe._override import override
from droplab.recipe._problems import explain
from droplab.recipe._schedules import SCHEDULES
from droplab.recipe._text import builtin_names, dumps, load, loads
from droplab.recipe.recipe import DEFAULT_SEEDS, SCORE_TRAIN, Recipe
from droplab.recipe.specs import FORMATS, TABLE_KEYS, Arm, DataSpec, ModelSpec, ScheduleSpec
from droplab.recipe.target import Condition, Target
from droplab.recipe.training import LossSpec, MetricSpec, OptimizerSpec, SchedulerSpec

__all__ = [
    "DEFAULT_SEEDS",
    "FORMATS",
    "FURTHER",
    "LOSSES",
    "METRICS",
    "SCHEDULES",
    "SCORE_TRAIN",
    "TABLE_KEYS",
    "TASKS",
    "TEST_METRICS",
    "Arm",
    "Condition",
    "DataSpec",
    "LossSpec",
    "Measure",
    "Metric",
    "MetricSpec",
    "ModelSpec",
    "OptimizerSpec",
    "Recipe",
    "ScheduleSpec",
    "SchedulerSpec",
    "Target",
    "builtin_names",
    "dumps",
    "explain",
    "load",
    "loads",
    "override",
]
