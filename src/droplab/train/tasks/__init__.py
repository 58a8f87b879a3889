"""What is learned: loss, score and measures of each task, one file each."""

from __future__ import annotations

from droplab.train.tasks._answers import MOST_CLASSES, Answers
from droplab.train.tasks._classification import Classification
from droplab.train.tasks._constant import constant_scores
from droplab.train.tasks._further import MetricFunction
from droplab.train.tasks._in_parts import Values
from droplab.train.tasks._losses import CrossEntropy, Loss, own, total
from droplab.train.tasks._of import KINDS, check_split, is_balanced, resolve_loss, task_of
from droplab.train.tasks._regression import gaussian_nll
from droplab.train.tasks._task import Meter, Score, Task, Terms
from droplab.train.tasks._tokens import IGNORED

CLASSIFICATION = Classification()
"""What a step learns unless it is told."""

__all__ = [
    "CLASSIFICATION",
    "IGNORED",
    "KINDS",
    "MOST_CLASSES",
    "Answers",
    "CrossEntropy",
    "Loss",
    "Meter",
    "MetricFunction",
    "Score",
    "Task",
    "Terms",
    "Values",
    "check_split",
    "constant_scores",
    "gaussian_nll",
    "is_balanced",
    "own",
    "resolve_loss",
    "task_of",
    "total",
]
