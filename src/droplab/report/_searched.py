"""The page of a search: its verdict, what is left of what it saw, and every plan."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, cast

from markupsafe import Markup

from droplab.report._context import split_headline
from droplab.report._frame import Ids
from droplab.report._render import styled
from droplab.report._uncertainty import Line, draw_lines
from droplab.results import ProposedPlan, SearchRecord
from droplab.verdict import RunMetrics, WrittenMetric

_SHOWN = 200
"""Plans in the table; a longer search shows its best."""


def render_search(record: SearchRecord, name: str) -> str:
    """Return a search as one HTML page that needs nothing but itself, torch and Optuna included.

    Args:
        record: What `droplab.results.load_search` returned.
        name: What the search is called on the page.
    """
    environment, style = styled()
    metrics = RunMetrics.of(record)
    objective = [metrics.named(name) for name in record.objective]
    short, long = split_headline(record.headline or "The search goes on.")
    ranked = _ranked(record)
    listed = [*ranked, *_others(record, ranked)]
    page = environment.get_template("search.html").render(
        style=style,
        version=metadata.version("droplab"),
        record=record,
        name=name,
        short=short,
        long=long,
        objective=objective,
        on_fresh=_on_fresh(record, metrics),
        figures=_figures(record, ranked, objective, Ids("search")),
        pruned=any(plan.state == "pruned" for plan in record.plans),
        plans=[_row(plan, record, objective) for plan in listed[:_SHOWN]],
        importance=sorted(record.importance.items(), key=lambda item: -item[1]),
        steps=[
            (
                f"{each.arm}, {metric.label}",
                _change(metric, each.searched),
                _change(metric, each.seeds, each.seeds_low, each.seeds_high),
                _change(metric, each.fresh, each.fresh_low, each.fresh_high),
            )
            for each in record.shrinkage
            for metric in [metrics.named(each.metric)]
        ],
        asked=_asked(record, metrics),
    )
    return page + "\n"


def _on_fresh(record: SearchRecord, metrics: RunMetrics) -> str:
    """Say what the last column is measured on."""
    if record.fresh:
        return f"{record.fresh} fresh examples"
    return metrics.named(record.fresh_from).label if record.fresh_from else "fresh examples: none"


def _asked(record: SearchRecord, metrics: RunMetrics) -> list[tuple[str, str]]:
    """Return what was asked in words; what was not asked, and what the space says, is left out."""
    found: list[tuple[str, str]] = []
    for key, value in record.asked.items():
        if key == "parts" or value is None or value is False or value in ([], {}):
            continue
        text = "yes" if value is True else value
        if key == "objective":
            value = [metrics.named(name).label for name in record.objective]
        if key == "constraints":
            value = list(map(metrics.condition, record.constraints))
        if key == "test_metric":
            text = metrics.named(str(value)).label
        if isinstance(value, list):
            text = ", ".join(map(str, cast("list[Any]", value)))
        found.append((key.replace("_", " "), str(text)))
    return found


def _ranked(record: SearchRecord) -> list[ProposedPlan]:
    """Return the plans that have a number to decide by, the best first."""
    name, sign = record.objective[0], -1 if record.higher[0] else 1
    found = [
        (sign * value, plan.number, plan)
        for plan in record.plans
        if plan.state == "done" and (value := plan.values.get(name)) is not None
    ]
    return [plan for *_, plan in sorted(found, key=lambda item: item[:2])]


def _others(record: SearchRecord, ranked: list[ProposedPlan]) -> list[ProposedPlan]:
    there = {plan.number for plan in ranked}
    return [plan for plan in record.plans if plan.number not in there]


def _row(
    plan: ProposedPlan, record: SearchRecord, objective: Sequence[WrittenMetric]
) -> dict[str, object]:
    rates = {**plan.rates, **plan.existing}
    listed = ", ".join(f"{site} {p:g}" for site, p in rates.items())
    more = [text for text in (plan.kind, plan.schedule) if text]
    source = plan.source if plan.generation else f"told by {plan.source}"
    state = plan.state if plan.met else f"{plan.state}, breaks a constraint"
    return {
        "name": plan.name,
        "rates": "; ".join([listed, *more]),
        "source": source,
        "state": state,
        "seeds": plan.seeds,
        "epochs": plan.epochs or "–",
        "values": [_number(each, plan.values.get(each.name)) for each in objective],
        "chosen": plan.name in record.winners,
    }


def _figures(
    record: SearchRecord,
    ranked: list[ProposedPlan],
    objective: Sequence[WrittenMetric],
    ids: Ids,
) -> list[Markup]:
    drawn: list[Markup] = []
    if not ranked:
        return drawn
    winners = [plan for plan in ranked if plan.name in record.winners] or ranked[:1]
    places = [*winners[0].rates, *winners[0].existing]
    at = [float(number + 1) for number in range(len(places))]
    best = ranked[: max(1, len(ranked) // 4)]
    if len(places) > 1:
        lines = [Line("best quarter", at, [_mean_rate(best, place) for place in places])]
        lines += [Line(plan.name, at, [_rate(plan, place) for place in places]) for plan in winners]
        note = f"from {places[0]} to {places[-1]}, in the order of the model"
        drawn.append(draw_lines(ids, "Rate against depth", "place", lines, note, whole=True))
    own = sorted(ranked, key=lambda plan: plan.number)
    name = record.objective[0]
    numbers = [float(plan.number) for plan in own]
    values = [value for plan in own if (value := plan.values[name]) is not None]
    so_far, reached = list[float](), values[0]
    for value in values:
        reached = max(reached, value) if record.higher[0] else min(reached, value)
        so_far.append(reached)
    lines = [Line("best so far", numbers, so_far), Line("plans", numbers, values, joined=False)]
    note = "on the examples of the search, mean over its seeds"
    title, label = f"{objective[0].title} of every plan", "number of the plan"
    drawn.append(draw_lines(ids, title, label, lines, note, whole=True))
    lines = [
        Line(called, [x for x, _ in found], [y for _, y in found], joined=False)
        for called, plans in (("plans", own), ("front", winners))
        if (found := _pairs(plans, record.objective))
    ]
    if lines:
        title = f"{objective[1].title} against {objective[0].label}"
        drawn.append(draw_lines(ids, title, objective[0].label, lines, note))
    return drawn


def _pairs(plans: list[ProposedPlan], names: tuple[str, ...]) -> list[tuple[float, float]]:
    """Return both objectives of the plans that have both; none where there is one objective."""
    if len(names) < 2:
        return []
    both = [(plan.values.get(names[0]), plan.values.get(names[1])) for plan in plans]
    return [(x, y) for x, y in both if x is not None and y is not None]


def _rate(plan: ProposedPlan, place: str) -> float:
    return plan.rates.get(place, plan.existing.get(place, 0.0))


def _mean_rate(plans: list[ProposedPlan], place: str) -> float:
    return sum(_rate(plan, place) for plan in plans) / len(plans)


def _number(metric: WrittenMetric, value: float | None) -> str:
    return "–" if value is None else metric.text(value)


def _change(
    metric: WrittenMetric,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
) -> str:
    return "–" if value is None else metric.change(value, low, high)
