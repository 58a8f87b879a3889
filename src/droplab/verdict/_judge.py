"""From the rows of a run to its verdict."""

from __future__ import annotations

import numpy as np

from droplab.errors import RunError
from droplab.results import RunResult
from droplab.verdict._arms import judge_arms
from droplab.verdict._best import judge_best
from droplab.verdict._caveats import caveats
from droplab.verdict._choose import best_arm
from droplab.verdict._diagnosis import diagnose
from droplab.verdict._method import method_of
from droplab.verdict._metrics import RunMetrics
from droplab.verdict._notes import About
from droplab.verdict._table import Table
from droplab.verdict._target import judge_target
from droplab.verdict._testsplit import judge_test
from droplab.verdict._types import Cost, Verdict
from droplab.verdict._words import also, headline


def judge(result: RunResult, *, primary: str | None = None) -> Verdict:
    """Return what a run shows, in numbers and in words.

    Arms are compared with the baseline on the seeds that both have, at the last epoch, by the
    sign-flip test of `compare`, or over folds by the corrected t of `compare_folds`; see
    docs/verdict.md.

    Args:
        result: The run, as `droplab.results.load` returns it; it need not be finished.
        primary: The metric that decides; None for the recipe's own.

    Returns:
        The verdict. It is a pure function of the rows.

    Raises:
        ArgumentError: `primary` is no metric, or the rows are not of one recipe.
        RunError: There is no finished epoch to judge.
    """
    metrics = RunMetrics.of(result)
    decides = metrics.named(primary or result.recipe.primary)
    table = Table.of_result(result, decides.name)
    about = About.of(result.recipe, result.notes)
    if table.epoch == 0:
        raise RunError(f"{result.path}: the run has no finished epoch yet; resume it first")
    by = method_of(result.recipe.data.folds)
    arms = judge_arms(table, decides, by, about)
    baseline = next(arm for arm in arms if arm.word is None)
    chosen = best_arm(table, decides.name)
    best = judge_best(table, decides, by)
    return Verdict(
        headline=headline(arms, best.arm if best else chosen, decides, metrics, by, about),
        also=also(next((a for a in arms if a.name == chosen), None), decides, metrics, by),
        primary=decides.name,
        level=by.level,
        epoch=table.epoch,
        baseline=baseline.name,
        own_dropout=about.own_dropout,
        chosen=chosen,
        arms=arms,
        best=best,
        diagnosis=diagnose(table),
        target=judge_target(result.recipe, metrics, arms, chosen),
        test=judge_test(result, metrics, arms, chosen, decides.name, by),
        cost=_cost(table),
        metrics=metrics,
        folds=result.recipe.data.folds,
        caveats=caveats(table, arms, best, decides, about, by),
    )


def _cost(table: Table) -> Cost:
    seconds = table.curves("seconds")
    there = ~np.isnan(seconds)
    total, epochs = float(seconds[there].sum()), int(there.sum())
    replicas = int(there.any(axis=2).sum())
    each = total / epochs if epochs else 0.0
    word = "replica" if replicas == 1 else "replicas"
    # those trained at the same time count one by one: it is not the time that somebody waited
    over = " summed over them" if replicas > 1 else ""
    sentence = (
        f"{replicas} {word}, {duration(total)} of training{over}, {duration(each)} an epoch each."
    )
    return Cost(total, replicas, each, sentence)


def duration(seconds: float) -> str:
    """Write a length of time for people.

    Example:
        >>> duration(0.1234), duration(75), duration(7300)
        ('0.12 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
