"""The tasks: what each is learned from, and what it measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from droplab.recipe._metrics import Measure, metrics_of, test_metrics_of

TaskName = Literal["classification", "binary", "multilabel", "regression", "tokens"]

LOSS = Measure("loss", "loss", higher_is_better=False, unit="", train=True)
ACCURACY = Measure("accuracy", "accuracy", higher_is_better=True, unit="%", train=True)
ECE = Measure("ece", "calibration error", higher_is_better=False, unit="%", of_constant=False)
AUROC = Measure("auroc", "AUROC", higher_is_better=True, unit="")
MACRO_F1 = Measure("macro_f1", "macro F1", higher_is_better=True, unit="%", of_constant=False)
RMSE = Measure("rmse", "RMSE", higher_is_better=False, unit="", train=True)
MAE = Measure("mae", "MAE", higher_is_better=False, unit="")
R2 = Measure("r2", "R squared", higher_is_better=True, unit="")
PERPLEXITY = Measure("perplexity", "perplexity", higher_is_better=False, unit="", best=1.0)

TASKS: Mapping[str, tuple[Measure, ...]] = MappingProxyType(
    {
        "classification": (LOSS, ACCURACY, ECE),
        "binary": (LOSS, ACCURACY, AUROC, ECE),
        "multilabel": (LOSS, replace(ACCURACY, label="accuracy over labels"), MACRO_F1),
        "regression": (LOSS, RMSE, MAE, R2),
        "tokens": (LOSS, replace(ACCURACY, label="accuracy over tokens"), PERPLEXITY),
    }
)
"""What each task measures: the loss, then the score that people look at, then the others."""

BALANCED_ACCURACY = Measure(
    "balanced_accuracy", "balanced accuracy", higher_is_better=True, unit="%", of_constant=False
)
BRIER = Measure("brier", "Brier score", higher_is_better=False, unit="")
NLL = Measure("nll", "negative log likelihood", higher_is_better=False, unit="")

FURTHER: Mapping[str, tuple[Measure, ...]] = MappingProxyType(
    {
        "classification": (
            BALANCED_ACCURACY,
            MACRO_F1,
            BRIER,
            NLL,
            replace(AUROC, label="macro AUROC"),
        ),
        "binary": (BALANCED_ACCURACY, MACRO_F1, BRIER, NLL),
        "multilabel": (BRIER, NLL),
        "regression": (replace(NLL, label="Gaussian negative log likelihood", best=math.nan),),
        "tokens": (NLL,),
    }
)
"""What each task can measure besides, where a recipe asks for it by name."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What the targets of a task are.

    Args:
        values: What their values are, in words.
        shape: Their shape, in words.
        dtype: What they are kept as.
        dimensions: How many axes they may have.
    """

    values: Literal["class numbers", "0 and 1", "finite numbers", "whole numbers"]
    shape: str
    dtype: Literal["int64", "float32"]
    dimensions: tuple[int, ...] = (1,)


TARGETS: Mapping[str, Targets] = MappingProxyType(
    {
        "classification": Targets("class numbers", "(N,)", "int64"),
        "binary": Targets("0 and 1", "(N,)", "int64"),
        "multilabel": Targets("0 and 1", "(N, labels)", "float32", (2,)),
        "regression": Targets("finite numbers", "(N,) or (N, outputs)", "float32", (1, 2)),
        "tokens": Targets("whole numbers", "(N, tokens)", "int64", (2,)),
    }
)
"""What each task is learned from."""


def metric_names() -> tuple[str, ...]:
    """Return the names of the metrics of all tasks after every epoch, classification first.

    Example:
        >>> "val_accuracy" in metric_names(), "val_rmse" in metric_names()
        (True, True)
    """
    return tuple(dict.fromkeys(name for each in TASKS.values() for name in metrics_of(each)))


METRICS = metrics_of(TASKS["classification"])
"""The metrics of a classifier after every epoch. `gap` = train_accuracy - val_accuracy. Accuracies
are fractions in [0, 1]."""

TEST_METRICS = test_metrics_of(TASKS["classification"])
"""The metrics of a classifier on the test split."""
