"""Folds as scikit-learn has them, and the table of scores that its searches have."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from droplab.errors import ArgumentError, quote
from droplab.results import RunResult


def folds_of(splits: Sequence[tuple[Any, Any]], cv: Any) -> int:
    """Return how many folds a repeat has."""
    at, folds, seen = 0, [], set[int]()
    for rows, (train, test) in enumerate(splits, start=1):
        mine = set(np.asarray(test).tolist())
        if seen & mine or not mine:
            break
        seen |= mine
        if len(seen) == len(mine) + len(np.asarray(train)):
            folds.append(rows - at)
            at, seen = rows, set()
    if not folds or at != len(splits) or len(set(folds)) > 1 or folds[0] < 2:
        raise ArgumentError(
            "cv: expected folds, so that each example is in one of them, once or several times "
            f"over (KFold, GroupKFold, RepeatedKFold), which the verdict's test is of, got "
            f"{quote(cv)}"
        )
    return folds[0]


def cv_results(result: RunResult, arms: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return the table that scikit-learn's searches have."""
    rows = {(row.arm, row.seed): row for row in result.rows}
    failed = {(m.arm, m.seed) for m in result.members if m.state == "failed"}
    if failed:
        first = next(m for m in result.members if m.state == "failed")
        warnings.warn(
            f"{len(failed)} of {len(result.members)} fits failed, and their scores are NaN; "
            f"'{first.arm}': {first.message}",
            stacklevel=3,
        )

    def table(name: str) -> np.ndarray:
        return np.array(
            [
                [
                    math.nan
                    if (arm, seed) in failed
                    else rows[arm, seed].seconds
                    if name == "seconds"
                    else rows[arm, seed].values[name]
                    for seed in result.recipe.seeds
                ]
                for arm in arms
            ]
        )

    params = [{"dropout": value} for value in values]
    found: dict[str, Any] = {}
    times = table("seconds")
    found["mean_fit_time"], found["std_fit_time"] = times.mean(1), times.std(1)
    found["param_dropout"] = np.ma.MaskedArray(np.array(values, dtype=object), mask=False)
    found["params"] = params
    for kind, name in (("test", "score"), ("train", "train_score")):
        if name not in result.metrics:
            continue
        scores = table(name)
        for fold in range(scores.shape[1]):
            found[f"split{fold}_{kind}_score"] = scores[:, fold]
        found[f"mean_{kind}_score"] = scores.mean(1)
        found[f"std_{kind}_score"] = scores.std(1)
    mean = np.where(np.isnan(found["mean_test_score"]), -np.inf, found["mean_test_score"])
    found["rank_test_score"] = np.array([1 + int((mean > each).sum()) for each in mean], np.int32)
    return found
