"""What limits the claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from droplab.recipe import Recipe
from droplab.verdict._arms import NOT_SHOWN
from droplab.verdict._family import Asked
from droplab.verdict._folds import outside
from droplab.verdict._margin import Margin
from droplab.verdict._method import Method, OverFolds
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._paired import counted, less, p_text
from droplab.verdict._skewed import compare_skewed, seeds_needed
from droplab.verdict._stopped import Stopped
from droplab.verdict._table import Table
from droplab.verdict._types import ArmVerdict, Best, Word, helps

_NARROWER = 0.005
"""A share of an interval that is worth a sentence."""


def caveats(
    table: Table,
    arms: tuple[ArmVerdict, ...],
    best: Best | None,
    primary: WrittenMetric,
    about: About,
    by: Method,
    asked: Sequence[Asked],
    stopped: Stopped | None,
    margin: Margin,
    chosen: str | None,
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
        *_constant(others, primary, by),
        *_still_improving(table, stopped),
        *_best_when_stopped(others, chosen, primary),
        *_no_absence(baseline, others, primary, margin, asked, by),
        *_folds(others, primary, by),
        *_overlap(others, table, asked, about, by),
        *about.odd,
        *_selection(best, len(others), about, table.metrics),
        *_evaluation_set(baseline, table.metrics, about, by),
        *_larger_pool(others, table.recipe, by),
        *_several(others, primary, table.metrics),
    )


def _unfinished(table: Table) -> list[str]:
    if table.at_end:
        return []
    if table.recipe.loop is not None:
        return [
            f"Trials are of unequal length: arms are judged after epoch {table.epoch}, the last "
            f"that all have; the longest has {table.recipe.epochs}."
        ]
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
    few = [arm for arm in others if arm.word == by.no_word]
    if not few:
        return []
    if len(few) < len(others):
        return [f"{arm.sentence[:-1]}; no other arm is judged by it." for arm in few]
    return [by.few(min(arm.differences[primary.name].n for arm in few))]


def weakening(
    arms: Sequence[ArmVerdict],
    table: Table,
    asked: Sequence[Asked],
    primary: WrittenMetric,
    by: Method,
) -> str:
    """Say which words rest on differences that scatter to both sides alike; "" if none does.

    Over folds none does: the corrected t is not exact for such either, and is careful enough.
    """
    level = by.level
    others = [arm for arm in arms if arm.word is not None]
    if isinstance(by, OverFolds) or not any(_clear(each) for arm in others for each in arm.words):
        return ""
    baseline = table.arms.index(table.recipe.baseline.name)
    differences = np.concatenate([less(each.values, baseline) for each in asked])
    words = [(each, arm) for each in asked for arm in others]
    wider = compare_skewed(differences, level=level)
    judged = sum(by.enough(each.n) for each in wider)
    found = [
        ((_named(arm, each), _word(arm, each, asked)), wide, seeds_needed(row, judged, level=level))
        for (each, arm), wide, row in zip(words, wider, differences, strict=True)
        if _clear(_word(arm, each, asked)) and wide.p > 1 - level
    ]
    if not found:
        return ""
    if len(found) == 1:
        (((name, word), wide, _),) = found
        subject = f"{name} {word} if its"
        interval = primary.interval(wide.low, wide.high)
        otherwise = f"the interval would be {interval} (p = {p_text(wide.p)})"
    else:
        *first, last = (name for (name, _), _, _ in found)
        subject = f"{', '.join(first)} and {last} differ from the baseline if their"
        least, most = (p_text(end(wide.p for _, wide, _ in found)) for end in (min, max))
        otherwise = f"all these intervals would hold 0 (p from {least} to {most})"
    needed = [count for _, _, count in found if count is not None]
    seeds = f"about {max(needed)} seeds" if len(needed) == len(found) else "many more seeds"
    return (
        f"{subject} differences scatter to both sides alike, as they do where an arm changes "
        f"nothing. Were they as skewed as an exponential distribution, {otherwise}; {seeds} like "
        "these would settle it."
    )


def _clear(word: Word | None) -> bool:
    return helps(word) or word == "hurts"


def _word(arm: ArmVerdict, each: Asked, asked: Sequence[Asked]) -> Word | None:
    """Return what is said of an arm to one of the questions asked."""
    return dict(zip([one.question for one in asked], arm.words, strict=False)).get(each.question)


def _named(arm: ArmVerdict, each: Asked) -> str:
    return f"'{arm.name}'" + (" stopped early" if each.question == "stopped" else "")


def _still_improving(table: Table, stopped: Stopped | None) -> list[str]:
    """Name the arms that the budget stopped, not the criterion."""
    if stopped is None:
        return []
    found: list[str] = []
    for name, epochs in zip(table.arms, stopped.epochs, strict=True):
        there = epochs[epochs > 0]
        last = int((there == table.epoch).sum())
        if last:
            found.append(f"'{name}' on {last} of {len(there)}")
    if not found:
        return []
    return [
        f"At their best in the last epoch: {', '.join(found)}. There the number of epochs stopped "
        "the replica, not early stopping, and more epochs may change the answer."
    ]


def _best_when_stopped(
    others: list[ArmVerdict], chosen: str | None, primary: WrittenMetric
) -> list[str]:
    """Say where another arm than the chosen one is best when replicas are stopped early."""
    means = {each.name: each.stopped.summary.mean for each in others if each.stopped}
    known = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if chosen not in known:
        return []
    best = sorted(known, key=known.__getitem__, reverse=primary.higher_is_better)[0]
    if not primary.better(known[best], known[chosen]):
        return []
    mine, other = primary.apart(known[chosen], known[best])
    return [
        f"'{chosen}' was chosen by the last epoch; where replicas are stopped early, '{best}' has "
        f"a better mean ({other} against {mine})."
    ]


def _no_absence(
    baseline: ArmVerdict,
    others: list[ArmVerdict],
    primary: WrittenMetric,
    margin: Margin,
    asked: Sequence[Asked],
    by: Method,
) -> list[str]:
    """Say where absence cannot be judged, for want of what it takes."""
    mean = np.array([baseline.metrics[primary.name].mean])
    open_ = [arm for arm in others if NOT_SHOWN in arm.words]
    known = [error for each in asked for error in each.examples.values() if error is not None]
    if open_ and not known and not by.rows_vary:
        return [
            "That an improvement is absent is not said: how much the validation examples "
            f"themselves move {primary.label} is not known."
        ]
    if not open_ or not np.isfinite(mean).all() or np.isfinite(margin.of_baseline(mean)).all():
        return []
    return [
        f"That an improvement is absent cannot be said of {primary.label}, of which nobody knows "
        "what perfect is; margin_size gives the smallest one of interest."
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
                "check that it changes anything."
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


def _overlap(
    others: list[ArmVerdict], table: Table, asked: Sequence[Asked], about: About, by: Method
) -> list[str]:
    """Say what splits that overlap leave out, with the p of a test that reckons with it."""
    if not by.rows_vary or isinstance(by, OverFolds):
        return []
    said = (
        "Seeds draw their examples from one pool, so their splits overlap: for a claim about "
        "examples beyond the pool these intervals are too narrow."
    )
    train, validation = about.train, about.validation
    best = next((arm for arm in others if arm.words and _clear(arm.words[0])), None)
    if best is None or not train or not validation:
        return [said]
    baseline = table.arms.index(table.recipe.baseline.name)
    row = less(asked[0].values, baseline)[[arm.name for arm in others].index(best.name)]
    row = row[np.isfinite(row)]
    error = float(row.std(ddof=1)) * np.sqrt(1 / len(row) + validation / train)
    if not error:
        return [said]
    p = outside(float(row.mean()) / float(error), len(row) - 1)
    return [
        f"{said} By the corrected t of Nadeau and Bengio '{best.name}' alone has p = {p_text(p)}."
    ]


def _selection(best: Best | None, others: int, about: About, metrics: RunMetrics) -> list[str]:
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
            f"The best of several arms looks a little better on the {metrics.examples} examples "
            f"that chose it than on new ones; {shows}."
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
    if by.rows_vary:
        return []  # its intervals are about other rows of the same kind
    size = about.validation
    accuracy = baseline.metrics[metrics.score.name].mean
    if size is None or not metrics.counts_right or not 0 < accuracy < 1:
        return []
    error = math.sqrt(accuracy * (1 - accuracy) / size)
    return [
        f"The claim is about these {counted(size)} {metrics.examples} examples. Another "
        f"{counted(size)} of the same kind would move every accuracy by about {100 * error:.2f} "
        "points (one standard error), those of all arms in much the same way."
    ]


def _larger_pool(others: list[ArmVerdict], recipe: Recipe, by: Method) -> list[str]:
    """Propose to draw rows anew where a seed's are some of more, and nothing forbids it."""
    data = recipe.data
    drawn = data.train is not None and data.validation not in (None, "test")
    if not drawn or not others or by.rows_vary or "time" in data.arguments or not data.in_memory:
        return []
    return [
        "The training and validation examples are some of a larger pool, the same ones for every "
        "seed. With resample = true in [data] each seed draws its own, and the claim is about the "
        "pool."
    ]


def _several(others: list[ArmVerdict], primary: WrittenMetric, metrics: RunMetrics) -> list[str]:
    if not others:
        return []
    arms = "" if len(others) == 1 else f"all {len(others)} arms"
    both = "both questions" if any(arm.stopped for arm in others) else ""
    over = " and ".join(filter(None, [arms, both]))
    over = f" over {over} at once" if over else ""
    if len(metrics.epoch) == 1:
        return [f"Intervals and p hold{over}."] if over else []
    rest = len(metrics.epoch) - 1
    shown = "the other is" if rest == 1 else f"the other {rest} are"
    return [
        f"Intervals and p hold{over} for one metric; {primary.label} decides, {shown} shown for "
        "understanding."
    ]
