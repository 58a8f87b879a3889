"""What limits the claim."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from droplab.verdict._arms import less, p_text
from droplab.verdict._method import Method, OverFolds
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._skewed import compare_skewed, seeds_needed
from droplab.verdict._table import Table
from droplab.verdict._types import ArmVerdict, Best

_NARROWER = 0.005
"""A share of an interval that is worth a sentence."""


def caveats(
    table: Table,
    arms: tuple[ArmVerdict, ...],
    best: Best | None,
    primary: WrittenMetric,
    about: About,
    by: Method,
) -> tuple[str, ...]:
    """Return every limit that holds for this run, the gravest first."""
    baseline = next(arm for arm in arms if arm.word is None)
    others = [arm for arm in arms if arm.word is not None]
    return (
        *_unfinished(table),
        *_changed_code(about),
        *_diverged(table, baseline.name),
        *(arm.sentence for arm in others if arm.word == "unstable"),
        *_missing(table, arms),
        *_few(others, primary, by),
        *_own_dropout(about, baseline.name),
        *_skewed(table, others, primary, by),
        *_constant(others, primary, by),
        *_folds(others, primary, by),
        *about.odd,
        *_selection(best, len(others), about),
        *_evaluation_set(baseline, table.metrics, about, by),
        *_several(others, primary, table.metrics),
    )


def _unfinished(table: Table) -> list[str]:
    if table.epoch == table.recipe.epochs:
        return []
    return [
        f"The run is not finished: arms are judged after epoch {table.epoch} of "
        f"{table.recipe.epochs}."
    ]


def _changed_code(about: About) -> list[str]:
    if not about.changed_code:
        return []
    return [
        "The run was resumed with other code than it began with "
        f"({'; '.join(about.changed_code)}): its rows are not all of one model."
    ]


def _diverged(table: Table, baseline: str) -> list[str]:
    seeds = [str(seed) for arm, seed in sorted(table.diverged) if arm == baseline]
    if not seeds:
        return []
    return [
        f"A loss of the baseline became NaN or infinite on seed {', '.join(seeds)}; arms are "
        "compared on the other seeds, which may flatter the baseline."
    ]


def _missing(table: Table, arms: tuple[ArmVerdict, ...]) -> list[str]:
    found: list[str] = []
    for arm in arms:
        missing = [
            str(seed)
            for seed in table.seeds
            if seed not in arm.seeds and (arm.name, seed) not in table.diverged
        ]
        if missing and len(missing) < len(table.seeds):
            seed = "seed" if len(missing) == 1 else "seeds"
            found.append(
                f"'{arm.name}' has no result for {seed} {', '.join(missing)}; it is compared on "
                "the seeds that it shares with the baseline."
            )
        elif missing:
            found.append(f"'{arm.name}' has no result yet.")
    return found


def _few(others: list[ArmVerdict], primary: WrittenMetric, by: Method) -> list[str]:
    few = [arm for arm in others if arm.word == "too few seeds"]
    if not few:
        return []
    if len(few) < len(others):
        return [f"{arm.sentence[:-1]}; no other arm is judged by it." for arm in few]
    return [by.few(min(arm.differences[primary.name].n for arm in few))]


def _skewed(
    table: Table, others: list[ArmVerdict], primary: WrittenMetric, by: Method
) -> list[str]:
    """Return which words rest on differences that scatter to both sides alike.

    Over folds none does: the corrected t is not exact for such either, and is careful enough.
    """
    level = by.level
    if isinstance(by, OverFolds) or not any(arm.word in ("helps", "hurts") for arm in others):
        return []
    baseline = table.arms.index(table.recipe.baseline.name)
    differences = less(table.compared(primary.name), baseline)
    wider = compare_skewed(differences, level=level)
    judged = sum(arm.word not in ("too few seeds", "unstable") for arm in others)
    found = [
        (arm, wide, seeds_needed(row, judged, level=level))
        for arm, wide, row in zip(others, wider, differences, strict=True)
        if arm.word in ("helps", "hurts") and wide.p > 1 - level
    ]
    if not found:
        return []
    if len(found) == 1:
        ((arm, wide, _),) = found
        subject = f"'{arm.name}' {arm.word} if its"
        interval = primary.interval(wide.low, wide.high)
        otherwise = f"the interval would be {interval} (p = {p_text(wide.p)})"
    else:
        *first, last = (f"'{arm.name}'" for arm, _, _ in found)
        subject = f"{', '.join(first)} and {last} differ from the baseline if their"
        least, most = (p_text(end(wide.p for _, wide, _ in found)) for end in (min, max))
        otherwise = f"all these intervals would hold 0 (p from {least} to {most})"
    needed = [count for _, _, count in found if count is not None]
    seeds = f"about {max(needed)} seeds" if len(needed) == len(found) else "many more seeds"
    return [
        f"{subject} differences scatter to both sides alike, as they do where dropout changes "
        f"nothing. Were they as skewed as an exponential distribution, {otherwise}; {seeds} like "
        "these would settle it."
    ]


def _constant(others: list[ArmVerdict], primary: WrittenMetric, by: Method) -> list[str]:
    found: list[str] = []
    for arm in others:
        difference = arm.differences[primary.name]
        if difference.n < 2 or difference.low != difference.high:
            continue
        if difference.mean == 0:
            found.append(
                f"'{arm.name}' has exactly the baseline's {primary.label} on every {by.unit}: "
                "check that its dropout does anything."
            )
        else:
            found.append(
                f"'{arm.name}' differs from the baseline by exactly the same on every {by.unit}: "
                f"check that the {by.units} are different runs."
            )
    return found


def _folds(others: list[ArmVerdict], primary: WrittenMetric, by: Method) -> list[str]:
    """Say what folds cost: what they cannot see, and that repeats do not help for long."""
    counts = [arm.differences[primary.name].n for arm in others]
    judged = [n for n in counts if by.enough(n)]
    if not isinstance(by, OverFolds) or not judged:
        return []
    share = 1 - by.narrower(min(judged), len(judged))
    repeats = f"More repeats would narrow the intervals by {100 * share:.0f} % at most."
    return [
        "Folds share training rows, so their differences are judged by a corrected t test, which "
        "is conservative: small improvements go unseen."
        + (f" {repeats}" if share >= _NARROWER else "")
    ]


def _selection(best: Best | None, others: int, about: About) -> list[str]:
    if about.validated_on == "test":
        return [
            "Validated on the test split: arms were chosen by the same examples that they are "
            "reported on, and no untouched split is left."
        ]
    if others > 1 and best is not None:
        shows = (
            "the test split shows by how much"
            if about.tested
            else "there are none here that did not choose, to show by how much"
        )
        return [
            "The best of several arms looks a little better on the validation examples that chose "
            f"it than on new ones; {shows}."
        ]
    return []


def _listed(rates: Mapping[str, float]) -> str:
    own = [f"{place} {p:g}" for place, p in rates.items()]
    return ", ".join(own[:6]) + (f" and {len(own) - 6} more" if len(own) > 6 else "")


def _changed_dropout(about: About, baseline: str) -> str:
    """Say what the baseline drops, where arms change dropout that the model has."""
    drops = _listed(about.own_dropout)
    if not drops:
        there = f" (as built: {_listed(about.built)})" if about.built else ""
        return f"In the baseline '{baseline}' nothing drops: the model's own rates are 0{there}."
    if about.own_dropout == about.built:
        return f"The baseline '{baseline}' is the model with its own rates: {drops}."
    return f"The baseline '{baseline}' drops by the model's own dropout: {drops}."


def _own_dropout(about: About, baseline: str) -> list[str]:
    if about.changed:
        return [_changed_dropout(about, baseline)]
    if not about.own_dropout:
        return []
    listed = _listed(about.own_dropout)
    return [
        f"The model drops by itself ({listed}), in the baseline and in every arm: what is judged "
        "is dropout on top of that."
    ]


def _evaluation_set(
    baseline: ArmVerdict, metrics: RunMetrics, about: About, by: Method
) -> list[str]:
    if isinstance(by, OverFolds):
        return []  # its intervals are about other rows of the same kind
    size = about.validation
    accuracy = baseline.metrics[metrics.score.name].mean
    if size is None or not metrics.counts_right or not 0 < accuracy < 1:
        return []
    error = math.sqrt(accuracy * (1 - accuracy) / size)
    return [
        f"The claim is about these {_count(size)} validation examples. Another {_count(size)} "
        f"of the same kind would move every accuracy by about {100 * error:.2f} points (one "
        "standard error), those of all arms in much the same way."
    ]


def _several(others: list[ArmVerdict], primary: WrittenMetric, metrics: RunMetrics) -> list[str]:
    if not others:
        return []
    arms = "" if len(others) == 1 else f" over all {len(others)} arms at once"
    return [
        f"Intervals and p hold{arms} for one metric; {primary.label} decides, the other "
        f"{len(metrics.epoch) - 1} are shown for understanding."
    ]


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(np.int64(number))
