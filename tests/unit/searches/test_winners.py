"""Which plans are trained again."""

from __future__ import annotations

import random

from droplab.results import ProposedPlan
from droplab.searches._winners import MOST, choose_winners


def plan(number, values, **more):
    given = {"state": "done", "generation": 1, "rates": {"fc2": number / 100 + 0.01}, **more}
    return ProposedPlan(number, values=values, **given)


def test_what_failed_was_given_up_or_breaks_a_constraint_does_not_win():
    plans = [
        plan(0, {"a": 0.1}, state="failed"),
        plan(1, {"a": 0.2}, state="pruned"),
        plan(2, {"a": 0.3}, met=False),
        plan(3, {"a": None}),
        plan(4, {"a": 0.35}, rates={"fc2": 0.0}),
        plan(5, {"a": 0.36}, generation=0),
        plan(6, {"a": 0.4}, rates={"fc2": 0.5}),
        plan(7, {"a": 0.4}, rates={"fc2": 0.5}),
        plan(8, {"a": 0.5}),
    ]
    assert [p.number for p in choose_winners(plans, ["a"], [False], 9)[0]] == [6, 8]
    assert [p.number for p in choose_winners(plans, ["a"], [True], 1)[0]] == [8]


def test_a_front_is_what_nothing_dominates():
    draw = random.Random(0)
    for _ in range(50):
        plans = [plan(i, {"a": draw.randrange(9), "b": draw.randrange(9)}) for i in range(12)]
        front, cut = choose_winners(plans, ["a", "b"], [False, True], 1)
        assert front
        assert not cut
        for each in plans:
            a, b = pair = each.values["a"], each.values["b"]
            beaten = any(
                x <= a and y >= b and (x, y) != pair
                for x, y in ((other.values["a"], other.values["b"]) for other in plans)
            )
            assert (each in front) == (not beaten)


def test_a_long_front_is_thinned_and_keeps_its_ends():
    plans = [plan(i, {"a": i, "b": -i}) for i in range(40)]
    front, cut = choose_winners(plans, ["a", "b"], [False, False], 1)
    assert cut
    assert len(front) == MOST
    assert (front[0].number, front[-1].number) == (0, 39)
