"""The verdict of a run as the page shows it: sentences, and a table of finished texts."""

from __future__ import annotations

import math
from typing import Any

from droplab.errors import DroplabError
from droplab.results import RunResult
from droplab.verdict import ArmVerdict, RunMetrics, Verdict, WrittenMetric, judge, tone


def judged(result: RunResult) -> Verdict | None:
    """Return the verdict of what a run has so far; None if there is nothing to judge."""
    if result.recipe.baseline.name not in {row.arm for row in result.rows}:
        return None
    try:
        return judge(result)
    except DroplabError:
        return None


def solution(result: RunResult, verdict: Verdict) -> str | None:
    """Return the chosen arm as a diff of source, as the report has it; None if there is none."""
    from droplab.report import patch

    return patch(result, verdict).diff or None


def verdict_view(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain data; every number is text already."""
    return {
        "headline": verdict.headline,
        "also": verdict.also or None,
        "diagnosis": verdict.diagnosis.sentence if verdict.diagnosis else None,
        "best": verdict.best.sentence if verdict.best else None,
        "target": verdict.target.sentence if verdict.target else None,
        "test": verdict.test.sentence if verdict.test else None,
        "cost": verdict.cost.sentence,
        "caveats": list(verdict.caveats),
        "primary": verdict.primary,
        "level": f"{100 * verdict.level:g} %",
        "epoch": verdict.epoch,
        "baseline": verdict.baseline,
        "unit": verdict.unit,
        "at_once": verdict.at_once,
        "chosen": verdict.chosen,
        "columns": [
            {"metric": each.name, "label": each.label} for each in _columns(verdict.metrics)
        ],
        "table": [
            {
                "arm": arm.name,
                "rates": verdict.rates_text(arm.name),
                "words": [{"text": text, "tone": tone(word)} for word, text in arm.said],
                "helps": arm.helps,
                "cells": [_cell(metric, arm) for metric in verdict.metrics.epoch.values()],
            }
            for arm in verdict.arms
        ],
    }


def _columns(metrics: RunMetrics) -> list[WrittenMetric]:
    """Return what the table shows: loss, score, the score on training examples, and the others."""
    loss, *others = metrics.compared
    score = [each for each in others if each == metrics.score]
    return list(dict.fromkeys([loss, *score, *metrics.score_on_training[:1], *others]))


def _cell(metric: WrittenMetric, arm: ArmVerdict) -> dict[str, Any]:
    found, difference = arm.metrics[metric.name], arm.differences.get(metric.name)
    cell: dict[str, Any] = {
        "metric": metric.name,
        "label": metric.label,
        "mean": metric.text(found.mean) if math.isfinite(found.mean) else None,
        "sd": metric.spread(found.sd) if math.isfinite(found.sd) else None,
        "difference": None,
        "low": None,
        "high": None,
        "better": None,
    }
    if difference is not None and math.isfinite(difference.mean):
        cell["difference"] = metric.difference(difference.mean)
        cell["better"] = difference.better
        if math.isfinite(difference.low) and math.isfinite(difference.high):
            cell["low"] = metric.difference(difference.low, unit=False)
            cell["high"] = metric.difference(difference.high, unit=False)
    return cell
