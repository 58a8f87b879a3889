"""The verdict on anything that has arms and seeds: a run, or rows from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droplab.errors import ArgumentError
from droplab.results import RunResult, load_rows
from droplab.verdict._judge import judge as judge_run
from droplab.verdict._types import Question, Verdict


def judge(
    runs: Any,
    *,
    primary: str | None = None,
    question: Question | None = None,
    arm: str | None = None,
    seed: str | None = None,
    metrics: Mapping[str, str] | None = None,
    baseline: object = None,
    epoch: str | None = None,
    folds: int | None = None,
    margin_size: float | None = None,
) -> Verdict:
    """Return what a run shows, or what rows of somebody's own trials show.

    Arms are compared with the baseline on the seeds that both have, at the last epoch and where
    each replica is stopped early, by the sign-flip test of `compare`, or over folds by the
    corrected t of `compare_folds`; see docs/verdict.md, and docs/judge.md for rows from elsewhere.

    Args:
        runs: The run, as `droplab.load_run` returns it; it need not be finished. Or rows: a .csv,
            .tsv, .parquet or .jsonl file, a pandas frame, or one mapping a row. They need `arm`,
            `seed` and `metrics`, and may have the rest, see `droplab.load_rows`.
        primary: The metric that decides; None for the recipe's own, of rows for the first.
        question: "budget" (after all epochs) or "stopped" (each replica stopped early): what is
            asked alone, which sees smaller effects than both together; None for both, as far as
            there is what it takes.
        arm: Column of what differs between the arms.
        seed: Column by which trials are paired.
        metrics: Column of each metric -> "lower" or "higher", what is better.
        baseline: The arm to compare with; None: the one called 0 or none.
        epoch: Column that numbers the rows of a trial; None: a trial is one row.
        folds: That the seeds of rows are folds of a cross-validation, so many a repeat.
        margin_size: The smallest improvement of interest in rows, in the unit of what decides:
            over folds the verdict can then say that there is none so large.

    Returns:
        The verdict. It is a pure function of the rows.

    Raises:
        ArgumentError: `primary` is no metric, `question` is none, or the rows are not of one recipe
            or not what their
            columns should hold.
        DataError: The file cannot be read.
        RunError: There is no finished epoch to judge, or nothing to answer `question` from.

    Example:
        >>> rows = [
        ...     {"dropout": p, "seed": seed, "val_loss": 0.5 - p * (0.2 + 0.01 * seed)}
        ...     for p in (0, 0.5) for seed in range(8)
        ... ]
        >>> print(judge(rows, arm="dropout", seed="seed", metrics={"val_loss": "lower"}).headline)
        Dropout helps at the end: ...
    """
    columns = {"arm": arm, "seed": seed, "metrics": metrics}
    if isinstance(runs, RunResult):
        given = [name for name, value in columns.items() if value is not None]
        others = (baseline, epoch, folds, margin_size)
        if given or any(each is not None for each in others):
            raise ArgumentError(
                "judge: a run has its own arms, seeds and metrics; leave out what is of rows"
            )
        return judge_run(runs, primary=primary, question=question)
    if arm is None or seed is None or metrics is None:
        missing = ", ".join(name for name, value in columns.items() if value is None)
        raise ArgumentError(
            f"judge: expected the columns of rows that droplab did not make, got no {missing}; "
            "judge(rows, arm='dropout', seed='seed', metrics={'val_loss': 'lower'}) for example"
        )
    rows = load_rows(
        runs,
        arm=arm,
        seed=seed,
        metrics=metrics,
        baseline=baseline,
        epoch=epoch,
        primary=primary,
        folds=folds,
        margin_size=margin_size,
    )
    return judge_run(rows, question=question)
