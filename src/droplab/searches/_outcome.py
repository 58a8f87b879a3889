"""What a search came to, in words."""

from __future__ import annotations

from droplab.results import SearchRecord, Shrinkage
from droplab.verdict import RunMetrics, Verdict, WrittenMetric


def outcome(
    record: SearchRecord, verdict: Verdict | None, *, cut: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Return the headline and further sentences.

    Args:
        record: The search, all but what is said of it.
        verdict: The verdict on fresh seeds and examples; None if no plan went on.
        cut: Whether the Pareto front had more plans than were trained again.
    """
    states = [plan.state for plan in record.plans if plan.generation]
    count, failed = len(states), states.count("failed")
    if verdict is None:
        why = "every one of them failed: a number that decides became NaN or infinite"
        if failed < count and record.constraints:
            asked = map(RunMetrics.of(record).condition, record.constraints)
            why = f"none of them meets {' and '.join(asked)}"
        elif failed < count:
            why = "none of them drops anything and has a number to decide by"
        return f"Nothing was found: of {count} plans, {why}.", ()
    said = [f"Found among {count} plans, each trained with {_trained(record)}{_judged(record)}"]
    steps = [each for each in record.shrinkage if each.metric == record.objective[0]]
    if (
        len(record.objective) == 1
        and steps
        and not any(_better(each, higher=record.higher[0]) for each in steps)
    ):
        said.append("In the search itself no plan was better than the baseline.")
    metrics = RunMetrics.of(record)
    said += [
        _shrunk(each, metrics, record) for each in record.shrinkage if each.arm == verdict.chosen
    ]
    if failed:
        said.append(f"{failed} of the {count} plans failed: a number that decides was not finite.")
    if len(record.winners) > 1 and len(record.objective) > 1:
        are = "lie evenly along" if cut else "are"
        front = f"The {len(record.winners)} plans that were judged {are} the Pareto front of "
        labels = [metrics.named(name).label for name in record.objective]
        said.append(f"{front}{' and '.join(labels)}; the verdict holds for all of them at once.")
    return verdict.headline, tuple(said)


def _trained(record: SearchRecord) -> str:
    """Say how much each plan was trained, and all of them where some were given up."""
    seeds, own = _seeds(len(record.seeds)), [plan for plan in record.plans if plan.generation]
    if all(plan.state != "pruned" for plan in own):
        return seeds
    if not record.searched:  # the epochs of somebody's own loop are its own
        return f"at most {seeds}"
    epochs = max(plan.epochs for plan in own)
    whole = (len(own) + 1) * len(record.seeds) * epochs
    each = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return (
        f"at most {seeds} of {each} ({record.epochs_trained} epochs of a replica in all, "
        f"of {whole} if none had been given up)"
    )


def _judged(record: SearchRecord) -> str:
    """Say what the plans were scored on, and what the winner is judged on."""
    fresh = _seeds(len(record.fresh_seeds))
    if record.searched:
        return (
            f" and scored on {record.searched} validation examples. Judged on {fresh} and "
            f"{record.fresh} examples that the search never had."
        )
    metrics = RunMetrics.of(record)
    begin = f" by your own loop. Judged on {fresh} that the search never had"
    if record.fresh_from:
        return f"{begin}, by {metrics.named(record.fresh_from).label}, which decided nothing in it."
    return (
        f"{begin}, but on the examples by which it chose, so some of the difference may be luck "
        "with them. Let the loop report a metric on other examples, and name it (test_metric)."
    )


def _better(step: Shrinkage, *, higher: bool) -> bool:
    return step.searched is not None and (step.searched > 0) == higher and step.searched != 0


def _shrunk(step: Shrinkage, metrics: RunMetrics, record: SearchRecord) -> str:
    metric = metrics.named(step.metric)
    texts = [
        _text(metric, step.searched, None, None),
        _text(metric, step.seeds, step.seeds_low, step.seeds_high),
        _text(metric, step.fresh, step.fresh_low, step.fresh_high),
    ]
    said = (
        f"By {metric.label} the search saw a difference of {texts[0]} for '{step.arm}'; fresh "
        f"seeds leave {texts[1]} on the same examples"
    )
    if not record.searched and step.fresh is None:
        return f"{said}."
    where = "on fresh ones" if record.searched else f"by {metrics.named(record.fresh_from).label}"
    return f"{said}, and {texts[2]} {where}."


def _text(metric: WrittenMetric, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "no number"
    return metric.change(value, low, high)


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
