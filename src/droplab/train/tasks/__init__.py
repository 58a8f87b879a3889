"""What is learned: loss, score and measures of each task, one file each."""

from __future__ import annotations

from droplab.train.tasks._classification import Classification
from droplab.train.tasks._further import MetricFunction
from droplab.train.tasks._losses import CrossEntropy, Loss, own, total
from droplab.train.tasks._of import KINDS, check_split, resolve_loss, task_of
from droplab.train.tasks._task import Meter, Score, Task, Terms
from droplab.train.tasks._tokens import IGNORED

CLASSIFICATION = Classification()
"""What a step learns unless it is told."""

__all__ = [
    "CLASSIFICATION",
    "IGNORED",
    "KINDS",
    "CrossEntropy",
    "Loss",
    "Meter",
    "MetricFunction",
    "Score",
    "Task",
    "Terms",
    "check_split",
    "own",
    "resolve_loss",
    "task_of",
    "total",
]
