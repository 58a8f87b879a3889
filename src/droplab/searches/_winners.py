"""Which of the proposed plans are trained again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from droplab.results import ProposedPlan

MOST = 8
"""Plans of a Pareto front that are trained again: more would cost the verdict its power."""


def choose_winners(
    plans: Sequence[ProposedPlan], objective: Sequence[str], higher: Sequence[bool], count: int
) -> tuple[list[ProposedPlan], bool]:
    """Return the plans that go on, the best first, and whether more would have deserved it.

    With one objective they are the best `count`. With two they are the Pareto front: the plans
    that no other is at least as good as in both and better in one, at most `MOST` of them.

    Example:
        >>> plans = [ProposedPlan(i, "sampler", "done", 1, rates={"x": a}, values={"a": a, "b": b})
        ...          for i, (a, b) in enumerate([(0.3, 0.3), (0.1, 0.5), (0.2, 0.9)])]
        >>> [plan.number for plan in choose_winners(plans, ["a"], [False], 1)[0]]
        [1]
        >>> [plan.number for plan in choose_winners(plans, ["a", "b"], [False, False], 1)[0]]
        [1, 0]
    """
    sound: dict[str, tuple[ProposedPlan, tuple[float, ...]]] = {}
    for plan in plans:
        if plan.state != "done" or not plan.met or not plan.generation:
            continue
        losses = [
            (-1 if more else 1) * value
            for name, more in zip(objective, higher, strict=True)
            if (value := plan.values.get(name)) is not None
        ]
        dropped = any(plan.rates.values()) or plan.existing
        if len(losses) == len(objective) and dropped:
            what = (plan.rates, plan.existing, plan.kind, plan.schedule)
            sound.setdefault(json.dumps(what, sort_keys=True), (plan, tuple(losses)))
    order = sorted(sound.values(), key=lambda item: (item[1], item[0].number))
    if len(objective) == 1:
        return [plan for plan, _ in order[:count]], False
    front = [
        plan for plan, losses in order if not any(_dominates(other, losses) for _, other in order)
    ]
    if len(front) <= MOST:
        return front, False
    # evenly along the front, both ends among them
    at = [round(i * (len(front) - 1) / (MOST - 1)) for i in range(MOST)]
    return [front[i] for i in at], True


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
