"""What the page says in words and tables, from a run and its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from droplab.report._figures import Source
from droplab.report._theme import colour_class
from droplab.results import ARM_COLUMN, ELSEWHERE, scored_at
from droplab.verdict import (
    NO_WORD,
    RECALL,
    Difference,
    RunMetrics,
    Summary,
    Verdict,
    WrittenMetric,
    condition_text,
    reached_text,
    units_text,
)
from droplab.verdict import (
    tone as tone_of,
)


@dataclass(frozen=True)
class Tile:
    """One number of the baseline, for a run without anything to compare it with."""

    label: str
    now: str
    unit: str


def colour(source: Source, arm: str) -> str:
    """Return the name of an arm's colour: its number, or a step of the scale of rates."""
    return colour_class(source.place(arm)).removeprefix("c")


def tone(found: Difference | None) -> str:
    """Return the class of a difference: good, bad, or nothing where it is none."""
    if found is None or found.better is None:
        return ""
    return "good" if found.better else "bad"


def split_headline(headline: str) -> tuple[str, str]:
    """Return the verdict in a few words and the rest of its sentence."""
    short, colon, rest = headline.partition(": ")
    if not colon:
        return headline, ""
    return short, rest[:1].upper() + rest[1:]


def _shown(metrics: RunMetrics) -> list[tuple[str, WrittenMetric]]:
    """Return the columns of the means: loss, score, the score on training examples, and others."""
    compared = [(metric.label, metric) for metric in metrics.compared]
    score = metrics.score.bare
    modes = zip(("eval mode", "running"), metrics.score_on_training, strict=False)
    named = score == metrics.score.label  # by somebody else, who has other words for the splits
    training = [(m.label if named else f"training {score}, {mode}", m) for mode, m in modes]
    place = [metric for _, metric in compared].index(metrics.score) + 1
    return [*compared[:place], *training, *compared[place:]]


def gap_note(metrics: RunMetrics) -> str:
    """Say what the gap is the difference of; "" where none is measured."""
    if "gap" not in metrics.epoch:
        return ""
    score = metrics.score.bare
    less = (
        ("training", metrics.examples)
        if metrics.score.higher_is_better
        else (metrics.examples, "training")
    )
    return f"The gap is {less[0]} less {less[1]} {score}, both in eval mode."


def stopping_note(verdict: Verdict) -> str:
    """Say at which epochs arms are judged, and what a ring on a curve is."""
    examples = verdict.metrics.examples
    after = "Arms are judged after the last epoch: the best epoch would select on what it reports."
    if "stopped" not in verdict.questions:
        return after
    return (
        f"{after} Where they are stopped early, one half of the {examples} examples chooses the "
        "epoch and the other half measures it, and the other way round. A ring is the mean epoch "
        f"at which all {examples} examples stop an arm."
    )


def pairing(source: Source) -> str:
    """Say what the arms of a pair have in common."""
    unit = source.verdict.unit
    if ELSEWHERE in source.result.notes:
        column = source.result.notes.get(ARM_COLUMN, "arm")
        return (
            f"Arms are paired by the {unit} that their rows name. Whether anything but '{column}' "
            "changed within a pair, the rows do not tell."
        )
    examples = "the same examples, " if unit == "fold" else ""
    return (
        f"Arms are paired by {unit}: {examples}the same initial weights, the same order of "
        "batches, and nothing changed but dropout."
    )


def _compared(source: Source) -> list[WrittenMetric]:
    """Return the columns of the differences: what decides, then what else is compared."""
    metrics = source.verdict.metrics
    primary = metrics.named(source.verdict.primary)
    return list(dict.fromkeys([primary, *metrics.compared]))


def tiles(source: Source) -> list[Tile]:
    """Return four numbers of the arm that there is."""
    verdict = source.verdict
    arm = verdict.arm(verdict.chosen or verdict.baseline)
    found: list[Tile] = []
    for metric in _compared(source)[:4]:
        now, _, unit = metric.text(arm.metrics[metric.name].mean).partition(" ")
        found.append(Tile(metric.title, now, unit))
    return found


def bare_interval(metric: WrittenMetric, found: Difference) -> str:
    """Write an interval without its unit; "not bounded" where the seeds are too few for one."""
    if math.isinf(found.low) and math.isinf(found.high):
        return "not bounded"
    low, high = (metric.difference(v, unit=False) for v in (found.low, found.high))
    return f"{low} to {high}"


def means(source: Source) -> dict[str, Any]:
    """Return the table of means and spreads."""
    verdict = source.verdict
    seeds = {len(arm.seeds) for arm in verdict.arms}
    count = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(max(seeds, default=0))
    spread = ", mean ± standard deviation" if max(seeds, default=0) > 1 else ""
    word = verdict.unit if count == "1" else f"{verdict.unit}s"
    # of the same number everywhere, as the verdict writes it
    units = units_text(max(seeds), verdict.folds) if len(seeds) == 1 else f"{count} {word}"
    part = scored_at(source.result.plan, verdict.epoch, source.result.recipe.epochs)
    shown = _shown(verdict.metrics)
    score = verdict.metrics.training(verdict.metrics.score)
    scored = f"; {score.label} in eval mode and gap {part}" if part and score else ""
    return {
        "caption": f"{verdict.when.capitalize()}, {units}{spread}{scored}",
        "heads": [head for head, _ in shown],
        "rows": [
            {
                "name": arm.name,
                "colour": colour(source, arm.name),
                "rates": verdict.rates_text(arm.name),
                "chosen": arm.name == verdict.chosen,
                "cells": [summary_cell(metric, arm.metrics[metric.name]) for _, metric in shown],
            }
            for arm in verdict.arms
        ],
    }


def plan(source: Source) -> dict[str, Any]:
    """Return the table of what differs between the arms."""
    arms = source.recipe.arms
    sites = sorted(source.recipe.sites)
    own = list(dict.fromkeys(name for arm in arms for name in arm.existing))
    scheduled = any(arm.schedule for arm in arms)
    caption = "Probability of dropping at each site (the input of that layer)"
    if ELSEWHERE in source.result.notes:
        told = "Rates of dropout, as the rows have them"
        caption = told if sites or own else "The rows have names of arms, and no rates"
    elif own:
        caption += "; own: the rate of dropout that the model has, as built where none is given"
    return {
        "caption": caption,
        "heads": [*sites, *(f"own {name}" for name in own), *["schedule"][: int(scheduled)]],
        "rows": [
            {
                "name": arm.name,
                "colour": colour(source, arm.name),
                "cells": [
                    *(f"{arm.rates.get(site, 0.0):g}" for site in sites),
                    *(f"{arm.existing[name]:g}" if name in arm.existing else "–" for name in own),
                    *[str(arm.schedule or "–")][: int(scheduled)],
                ],
            }
            for arm in arms
        ],
    }


def summary_cell(metric: WrittenMetric, found: Summary) -> dict[str, str]:
    """Return a mean and its spread as text."""
    if found.n == 0:
        return {"mean": "–", "sd": ""}
    return {
        "mean": metric.text(found.mean),
        "sd": "" if not math.isfinite(found.sd) else metric.spread(found.sd),
    }


def differences(source: Source) -> dict[str, Any]:
    """Return the table of paired differences."""
    verdict = source.verdict
    metrics = _compared(source)
    fractions = [metric.label for metric in metrics if metric.fraction]
    rows: list[dict[str, Any]] = []
    for arm in verdict.arms:
        if not arm.differences:
            continue
        cells: list[dict[str, str]] = []
        for metric in metrics:
            found = arm.differences[metric.name]
            there = math.isfinite(found.mean)
            cells.append(
                {
                    "mean": metric.difference(found.mean, unit=False) if there else "–",
                    "interval": bare_interval(metric, found) if there else "",
                    "tone": tone(found),
                }
            )
        p = arm.differences[verdict.primary].p
        rows.append(
            {
                "name": arm.name,
                "colour": colour(source, arm.name),
                "chosen": arm.name == verdict.chosen,
                "cells": cells,
                "p": "–" if arm.word in NO_WORD else "< 0.0001" if p < 1e-4 else f"{p:.2g}",
                "word": arm.word,
                "words": [{"text": text, "tone": tone_of(word)} for word, text in arm.said],
            }
        )
    if all(row["word"] != "unstable" and _is_empty(row["cells"]) for row in rows):
        rows = []
    return {
        "caption": (
            f"Difference to '{verdict.baseline}', paired by {verdict.unit}, with the "
            f"{100 * verdict.level:g} % interval {verdict.at_once}"
            + (f"; {_listed(fractions)} in points" if fractions else "")
        ),
        "heads": [metric.label for metric in metrics],
        "primary": metrics[0].label,
        "rows": rows,
    }


def recalls(source: Source) -> dict[str, Any] | None:
    """Return the table of the recall of each class, of the baseline and the chosen arm."""
    verdict = source.verdict
    name = verdict.chosen
    found = [each for each in verdict.recalls if each.difference.arm == name]
    if name is None or not found:
        return None
    rows: list[dict[str, Any]] = []
    for each in found:
        mine = each.difference
        if not mine.n:
            continue
        rows.append(
            {
                "name": each.label,
                "examples": f"{each.examples:.0f}",
                "before": RECALL.text(mine.before),
                "after": RECALL.text(mine.after),
                "mean": RECALL.difference(mine.mean, unit=False),
                "interval": bare_interval(RECALL, mine),
                "tone": tone(mine),
            }
        )
    over = "classes" if len(verdict.arms) == 2 else "classes and arms"
    return {
        "heads": ["examples", verdict.baseline, name, "difference"],
        "caption": (
            f"{verdict.when.capitalize()}, mean over {verdict.unit}s; difference in points, with "
            f"the {100 * verdict.level:g} % interval over all {over} at once"
        ),
        "rows": rows,
    }


def _listed(words: Sequence[str]) -> str:
    """Join words: a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _is_empty(cells: Sequence[Mapping[str, str]]) -> bool:
    return all(cell["mean"] == "–" for cell in cells)


def target(source: Source) -> dict[str, Any] | None:
    """Return the target, condition by condition."""
    found = source.verdict.target
    if found is None or source.result.recipe.target is None:
        return None
    metrics = source.verdict.metrics
    return {
        "met": found.met,
        "sentence": found.sentence,
        "heads": [
            condition_text(metrics.named(c.metric), c.op, c.value)
            for c in source.result.recipe.target.conditions
        ],
        "rows": [
            {
                "name": name,
                "colour": colour(source, name),
                "met": name in found.met_by,
                "cells": [
                    {"reached": reached_text(metrics.named(c.metric), c), "met": c.met}
                    for c in each
                ],
            }
            for name, each in found.arms.items()
        ],
    }


def test_split(source: Source) -> dict[str, Any] | None:
    """Return the table of the test split."""
    found = source.verdict.test
    if found is None:
        return None
    metrics = source.verdict.metrics.test
    rows: list[Mapping[str, Any]] = [
        {
            "name": name,
            "colour": colour(source, name),
            "cells": [
                {**cell, "sd": cell["sd"] and f"± {cell['sd']}"}
                for key, metric in metrics.items()
                for cell in (summary_cell(metric, each[key]),)
            ],
        }
        for name, each in found.arms.items()
    ]
    if found.differences:
        rows.append(
            {
                "name": "difference",
                "colour": None,
                "cells": [
                    {
                        "mean": metrics[key].difference(each.mean, unit=False),
                        "sd": bare_interval(metrics[key], each),
                    }
                    for key, each in found.differences.items()
                ],
            }
        )
    return {
        "sentence": found.sentence,
        "heads": [metric.label for metric in metrics.values()],
        "rows": rows,
    }
