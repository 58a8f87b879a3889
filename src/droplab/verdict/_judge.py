"""From the rows of a run to its verdict."""

from __future__ import annotations

import numpy as np

from droplab.errors import ArgumentError, RunError, quote
from droplab.results import RunResult
from droplab.verdict._arms import judge_arms
from droplab.verdict._best import judge_best
from droplab.verdict._caveats import caveats, weakening
from droplab.verdict._choose import best_arm
from droplab.verdict._constant import beside_constant
from droplab.verdict._control import control
from droplab.verdict._diagnosis import diagnose
from droplab.verdict._examples import per_example
from droplab.verdict._family import gain_of_stopping, judge_family
from droplab.verdict._margin import Margin
from droplab.verdict._method import method_of
from droplab.verdict._metrics import RunMetrics
from droplab.verdict._notes import About
from droplab.verdict._pool import spent_text
from droplab.verdict._recall import judge_recalls, recall_text
from droplab.verdict._stopped import no_blocks_text, stopped_of
from droplab.verdict._table import Table
from droplab.verdict._target import judge_target
from droplab.verdict._testsplit import judge_test
from droplab.verdict._types import QUESTIONS, Cost, Question, Verdict
from droplab.verdict._words import Saying, also, headline, trend_text


def judge(
    result: RunResult, *, primary: str | None = None, question: Question | None = None
) -> Verdict:
    """Return what a run shows, in numbers and in words.

    Arms are compared with the baseline on the seeds that both have, at the last epoch and where
    each replica is stopped early, by the sign-flip test of `compare`, or over folds by the
    corrected t of `compare_folds`; see docs/verdict.md.

    Args:
        result: The run, as `droplab.results.load` returns it; it need not be finished.
        primary: The metric that decides; None for the recipe's own.
        question: "budget" (after all epochs) or "stopped" (each replica stopped early): what is
            asked alone, which sees smaller effects than both together; None for both.

    Returns:
        The verdict. It is a pure function of the rows.

    Raises:
        ArgumentError: `primary` is no metric, `question` is none, or the rows are not of one
            recipe.
        RunError: There is no finished epoch to judge, or the run cannot answer `question`.
    """
    if question is not None and question not in QUESTIONS:
        raise ArgumentError(
            f"question: expected {' or '.join(map(repr, QUESTIONS))}, got {quote(question)}"
        )
    metrics = RunMetrics.of(result)
    decides = metrics.named(primary or result.recipe.primary)
    table = Table.of_result(result, decides.name)
    about = About.of(result.recipe, result.notes)
    if table.epoch == 0:
        raise RunError(f"{result.path}: the run has no finished epoch yet; resume it first")
    data = result.recipe.data
    by = method_of(data, result.recipe.level, spent=spent_text(result))
    stopped = None if question == "budget" else stopped_of(result, table, decides)
    if question == "stopped" and stopped is None:
        raise RunError(
            f"{result.path}: the run cannot say what stopping early gives: it has no "
            f"{decides.label} on blocks of its validation examples; docs/verdict.md says when a "
            "run has"
        )
    questions = QUESTIONS if question is None else (question,)
    margin = Margin.of(result.recipe, decides)
    asked, trends = judge_family(result, table, decides, by, margin, stopped, questions)
    arms = judge_arms(table, decides, by, about, asked, stopped, margin)
    baseline = next(arm for arm in arms if arm.word is None)
    chosen = best_arm(table, decides.name)
    best = judge_best(table, decides, by)
    gain = gain_of_stopping(table, stopped, decides, by) if stopped is not None else None
    once = result.recipe.reports_once
    say = Saying(decides, metrics, by, about, margin, table.epoch, baseline.name, once)
    answered: tuple[Question, ...] = tuple(each.question for each in asked)
    weak = weakening(arms, table, asked, decides, by)
    score = also(next((a for a in arms if a.name == chosen), None), say)
    recalls = judge_recalls(result, table, about, by)
    classes = recall_text(recalls, say.after)
    known = per_example(result, decides.name) if table.at_end else {}
    beside = beside_constant(table, decides, metrics, about, known)
    seen = control(result.recipe, result.members, result.notes, table.epoch)
    said = headline(arms, best.arm if best else chosen, answered, gain, beside, say)
    unasked = no_blocks_text(table, decides, about) if stopped is None and not question else ""
    return Verdict(
        headline=f"{seen.confounded} {said}" if seen.confounded else said,
        also=" ".join(filter(None, [score, trend_text(trends, say), weak, classes])),
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
        metrics=metrics.with_stopped(decides) if "stopped" in answered else metrics,
        folds=result.recipe.data.folds,
        caveats=(
            *filter(None, (seen.failed, seen.dropping, seen.unpaired, seen.unseen)),
            *caveats(table, arms, best, decides, about, by, asked, stopped, margin, chosen),
            *filter(None, (unasked,)),
        ),
        questions=answered,
        gain=gain,
        margin=margin.text,
        trends=trends,
        recalls=recalls,
        once=once,
        column="" if about.is_dropout else about.column,
    )


def _cost(table: Table) -> Cost:
    seconds = table.curves("seconds")
    there = ~np.isnan(seconds)
    total, epochs = float(seconds[there].sum()), int(there.sum())
    replicas = int(there.any(axis=2).sum())
    if not replicas:
        return Cost(0.0, 0, 0.0, "How long the training took is not known.")
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
