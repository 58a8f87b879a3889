"""What is learned: loss, score and measures of each task, one file each."""

from __future__ import annotations

from droplab.train.tasks._binary import Binary
from droplab.train.tasks._classification import Classification
from droplab.train.tasks._losses import CrossEntropy, Loss, own, total
from droplab.train.tasks._multilabel import Multilabel
from droplab.train.tasks._regression import Regression
from droplab.train.tasks._task import Meter, Score, Task, Terms
from droplab.train.tasks._tokens import IGNORED, Tokens

KINDS: dict[str, type[Task]] = {
    kind.name: kind for kind in (Classification, Binary, Multilabel, Regression, Tokens)
}
"""The class of each task by its name in recipes."""

CLASSIFICATION = Classification()
"""What a step learns unless it is told."""

__all__ = [
    "CLASSIFICATION",
    "IGNORED",
    "KINDS",
    "CrossEntropy",
    "Loss",
    "Meter",
    "Score",
    "Task",
    "Terms",
    "own",
    "total",
]
