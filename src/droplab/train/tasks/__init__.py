"""What is learned: loss, score and measures of each task, one file each."""

from __future__ import annotations

from droplab.train.tasks._answers import Answers
from droplab.train.tasks._classification import Classification
from droplab.train.tasks._constant import constant_scores
from droplab.train.tasks._further import MetricFunction
from droplab.train.tasks._losses import CrossEntropy, Loss, total
from droplab.train.tasks._of import KINDS, check_split, is_balanced, resolve_loss, task_of
from droplab.train.tasks._regression import gaussian_nll
from droplab.train.tasks._task import Meter, Score, Task, Terms

CLASSIFICATION = Classification()
"""What a step learns unless it is told."""

__all__ = [
    "CLASSIFICATION",
    "KINDS",
    "Answers",
    "CrossEntropy",
    "Loss",
    "Meter",
    "MetricFunction",
    "Score",
    "Task",
    "Terms",
    "check_split",
    "constant_scores",
    "gaussian_nll",
    "is_balanced",
    "resolve_loss",
    "task_of",
    "total",
]
