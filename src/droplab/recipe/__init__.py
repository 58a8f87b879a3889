"""Recipes: experiments as pure data, in TOML or in Python."""

from __future__ import annotations

from droplab.recipe._differences import Differing, differences
from droplab.recipe._document import own_loop
from droplab.recipe._loop import LoopSpec
from droplab.recipe._losses import LOSSES
from droplab.recipe._metrics import Measure, Metric
from droplab.recipe._override import override
from droplab.recipe._problems import explain
from droplab.recipe._stopping import BLOCKS, Stopping, stopped_epoch
from droplab.recipe._tasks import (
    FURTHER,
    METRICS,
    TARGETS,
    TASKS,
    TEST_METRICS,
    Targets,
    TaskName,
    metric_names,
)
from droplab.recipe._text import builtin_names, dumps, load, loads
from droplab.recipe.data import FORMATS, TABLE_KEYS, DataSpec
from droplab.recipe.recipe import MARGIN, SCORE_TRAIN, Recipe
from droplab.recipe.specs import Arm, ModelSpec, ScheduleSpec
from droplab.recipe.target import Condition, Target
from droplab.recipe.training import (
    NORMS_AND_BIASES,
    GroupSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    SchedulerSpec,
    StoppingSpec,
)

__all__ = [
    "BLOCKS",
    "FORMATS",
    "FURTHER",
    "LOSSES",
    "MARGIN",
    "METRICS",
    "NORMS_AND_BIASES",
    "SCORE_TRAIN",
    "TABLE_KEYS",
    "TARGETS",
    "TASKS",
    "TEST_METRICS",
    "Arm",
    "Condition",
    "DataSpec",
    "Differing",
    "GroupSpec",
    "LoopSpec",
    "LossSpec",
    "Measure",
    "Metric",
    "MetricSpec",
    "ModelSpec",
    "OptimizerSpec",
    "Recipe",
    "ScheduleSpec",
    "SchedulerSpec",
    "Stopping",
    "StoppingSpec",
    "Target",
    "Targets",
    "TaskName",
    "builtin_names",
    "differences",
    "dumps",
    "explain",
    "load",
    "loads",
    "metric_names",
    "override",
    "own_loop",
    "stopped_epoch",
]
