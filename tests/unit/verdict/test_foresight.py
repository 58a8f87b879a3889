"""What is said before a run of what its seeds will see."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from droplab.errors import ArgumentError
from droplab.recipe import DataSpec
from droplab.verdict import foresee
from droplab.verdict._power import smallest_effect, spread_bound

NOISE = [0.02, -0.01, 0.015, -0.02, 0.005, 0.0, -0.015, 0.01]


@pytest.fixture
def earlier(make_result):
    """A run in which 'a' is far better and scatters, and 'b' scatters half as much."""
    return make_result(
        {"none": [0.5] * 8, "a": [0.1 + d for d in NOISE], "b": [0.5 + d / 2 for d in NOISE]}
    )


def test_without_an_earlier_run_it_is_in_standard_deviations(make_recipe):
    found = foresee(make_recipe())
    assert (found.pairs, found.tests, found.level) == (8, 4, 0.95)
    assert found.effect == smallest_effect(4, 8)
    assert found.spreads == found.effects == {}
    assert f"from {found.effect:.1f} standard deviations" in found.sentence


def test_an_earlier_run_gives_its_spread_and_not_its_effect(make_recipe, earlier):
    found = foresee(make_recipe(), None, earlier)
    bound = spread_bound(float(np.std(NOISE, ddof=1)), 8)
    assert found.spreads == pytest.approx({"a": bound, "b": bound / 2})
    assert found.effects["a"] == pytest.approx(found.effect * bound)
    assert "'a' of an earlier run" in found.sentence
    moved = replace(
        earlier,
        rows=tuple(
            replace(row, values={**row.values, "val_loss": row.values["val_loss"] + 0.2})
            if row.arm == "a"
            else row
            for row in earlier.rows
        ),
    )
    assert foresee(make_recipe(), None, moved).spreads == pytest.approx(found.spreads)


def test_other_seeds_and_arms_will_do_and_nothing_else(make_recipe, earlier):
    other = make_recipe(arms=("none", "x"), seeds=range(100, 112))
    assert foresee(other, None, earlier).spreads.keys() == {"a", "b"}
    with pytest.raises(ArgumentError, match=r"differs in epochs \(it has 4, the recipe 9\)"):
        foresee(make_recipe(epochs=9), None, earlier)


def test_how_many_seeds_see_what_somebody_wants(make_recipe, earlier):
    found = foresee(make_recipe(), None, earlier, wanted=0.02)
    assert found.needed is not None
    per = found.spreads["a"]
    assert smallest_effect(4, found.needed) * per <= 0.02
    assert smallest_effect(4, found.needed - 1) * per > 0.02
    assert found.sentence.endswith(f"{found.needed} seeds see 0.020.")
    assert foresee(make_recipe(), wanted=2.0).sentence.endswith("seeds see 2 standard deviations.")
    assert "More than 1000 seeds" in foresee(make_recipe(), wanted=1e-4).sentence


def test_seeds_without_any_spread_need_no_more_than_the_least(make_recipe, make_result):
    same = make_result({"none": [0.5] * 8, "a": [0.4] * 8, "b": [0.5] * 8})
    found = foresee(make_recipe(), None, same, wanted=0.1)
    assert (found.spreads, found.needed) == ({"a": 0.0, "b": 0.0}, 6)


def test_only_the_arms_that_are_trained_count(make_recipe):
    assert foresee(make_recipe(), ["none", "a"]).tests == 2
    alone = foresee(make_recipe(), ["none"])
    assert (alone.tests, alone.sentence) == (0, "There is no arm to compare with the baseline.")
    assert alone.to_dict()["effect"] is None


def test_two_looks_see_less(make_recipe):
    twice = foresee(make_recipe(looks=2))
    assert twice.level == 0.975
    assert foresee(make_recipe()).effect < twice.effect < math.inf
    few = foresee(make_recipe(looks=2, seeds=range(6)))
    assert few.effect == math.inf
    assert few.sentence.endswith("at least 7 are needed.")


def test_over_folds_it_is_the_corrected_t(make_recipe):
    found = foresee(make_recipe(data=DataSpec("digits", folds=5), seeds=range(10)))
    assert found.effect == smallest_effect(4, 10, folds=5, held=True)
    assert found.sentence.startswith("5 folds x 2 repeats see an effect")


@pytest.mark.parametrize("wanted", [0.0, -1.0, math.nan, math.inf])
def test_an_effect_of_interest_is_a_size(make_recipe, wanted):
    with pytest.raises(ArgumentError, match="expected a number above 0"):
        foresee(make_recipe(), wanted=wanted)


def test_a_run_that_tells_no_spread_is_refused(make_recipe, make_result, earlier):
    metrics = {name: each for name, each in earlier.metrics.items() if name != "val_ece"}
    with pytest.raises(ArgumentError, match="has no 'val_ece', which decides"):
        foresee(make_recipe(primary="val_ece"), None, replace(earlier, metrics=metrics))
    with pytest.raises(ArgumentError, match="at least two seeds in common"):
        foresee(make_recipe(), None, make_result({"none": [0.5], "a": [0.4]}))
