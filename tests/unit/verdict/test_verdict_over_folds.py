"""A verdict over folds: the corrected t, its intervals, and the words for it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from droplab.errors import ArgumentError
from droplab.recipe import DataSpec
from droplab.results import EpochRow, Member, RunResult, TestRow
from droplab.verdict import choose, judge, pool, units_text
from droplab.verdict._folds import LEAST, compare_folds, critical, outside
from droplab.verdict._method import OverFolds, OverSeeds, method_of
from droplab.verdict._power import smallest_effect

SOUND = settings(max_examples=60, deadline=None, derandomize=True)


@given(st.floats(0, 200), st.integers(1, 2000))
def test_the_tails_of_student_are_those_of_scipy(t, freedom):
    assert outside(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-6, abs=1e-12)


@given(st.integers(1, 400), st.integers(1, 40), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_a_critical_value_is_a_quantile_of_student(freedom, family, level):
    one = level ** (1 / family)
    expected = stats.t.ppf((1 + one) / 2, freedom)
    assert critical(freedom, family, level) == pytest.approx(expected, rel=1e-6)


def rough(seed, arms, n):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, size=(arms, n)) + rng.choice([0.0, 0.7, -2.0], size=(arms, 1))


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(1, 5), folds=st.integers(2, 12))
def test_it_is_the_corrected_t_of_the_books(seed, arms, folds):
    """Nadeau and Bengio's statistic, written out with scipy, and Sidak's rule over the arms."""
    n = folds * 3
    table = rough(seed, arms, n)
    for row, found in zip(table, compare_folds(table, folds), strict=True):
        t = row.mean() / math.sqrt((1 / n + 1 / (folds - 1)) * row.var(ddof=1))
        alone = 2 * stats.t.sf(abs(t), n - 1)
        assert found.p == pytest.approx(1 - (1 - alone) ** arms, rel=1e-6, abs=1e-12)
        assert found.mean == row.mean()
        assert (found.p <= 0.05) == (found.low > 0 or found.high < 0)
        assert found.high - found.mean == pytest.approx(found.mean - found.low)


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(1, 4), at=st.floats(-3, 3))
def test_the_interval_holds_what_the_test_does_not_refuse(seed, arms, at):
    table = rough(seed, arms, 10)
    found = compare_folds(table, 10)[0]
    p = compare_folds(np.vstack([table[:1] - at, table[1:]]), 10)[0].p
    if abs(at - found.low) > 1e-9 and abs(at - found.high) > 1e-9:
        assert (p > 0.05) == (found.low < at < found.high)


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(2, 5), kept=st.integers(0, LEAST - 1))
def test_an_arm_with_too_few_folds_is_as_if_it_were_not_there(seed, arms, kept):
    table = rough(seed, arms, 10)
    table[1, kept:] = math.nan
    with_it, without = compare_folds(table, 10), compare_folds(np.delete(table, 1, axis=0), 10)
    assert [found for i, found in enumerate(with_it) if i != 1] == list(without)


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(2, 5))
def test_the_best_is_compared_in_the_family_of_all_pairs(seed, arms):
    values, by = rough(seed, arms, 10), OverFolds(0.95, 10)
    p = by.against(values, 0)
    pairs = arms * (arms - 1) // 2
    differences = values[1:] - values[0]
    expected = [found.p for found in compare_folds(differences, 10, family=pairs)]
    assert p == pytest.approx([1.0, *expected])


def test_equal_differences_and_none():
    equal, zero, one, none = compare_folds(
        [[0.5] * 6, [0.0] * 6, [0.3, *[math.nan] * 5], [math.nan] * 6], folds=6
    )
    assert (equal.p, equal.low, equal.high) == (0.0, 0.5, 0.5)
    assert (zero.p, zero.low, zero.high) == (1.0, 0.0, 0.0)
    assert (one.n, one.p, one.low, one.high) == (1, 1.0, -math.inf, math.inf)
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([1.0, 2.0], 5), r"expected shape \(arms, folds\), got \(2,\)"),
        (([[1.0, math.inf]], 5), "got an infinite one"),
        (([[1.0, 2.0]], 1), "at least 2 folds, got 1"),
    ],
)
def test_what_cannot_be_compared(given, message):
    with pytest.raises(ArgumentError, match=message):
        compare_folds(*given)


def test_units_are_written_as_folds_and_repeats():
    assert units_text(10, 10) == "10 folds"
    assert units_text(20, 10) == "10 folds x 2 repeats"
    assert units_text(13, 10) == "13 folds"
    assert units_text(1, 10) == "1 fold"
    assert units_text(1, None) == "1 seed"
    assert isinstance(method_of(DataSpec("digits")), OverSeeds)
    assert isinstance(method_of(DataSpec("digits", folds=2)), OverFolds)


@pytest.fixture
def folded(make_recipe, make_result):
    """A run over 5 folds, from the last validation losses of each arm."""

    def make(losses, folds=5, **changes):
        seeds = range(max(map(len, losses.values())))
        whole = range(-(-len(seeds) // folds) * folds)
        data = DataSpec("digits", folds=folds, stop_on_fold=False)
        recipe = make_recipe(tuple(losses), whole, data=data)
        return make_result(losses, recipe, **changes)

    return make


def losses(effect, n=10, seed=0, arms=("a",)):
    rng = np.random.default_rng(seed)
    base = 2 + rng.normal(0, 0.3, n)
    made = {"none": base.tolist()}
    for i, arm in enumerate(arms):
        made[arm] = (base + effect * (i + 1) + rng.normal(0, 0.05, n)).tolist()
    return made


def test_helps_over_folds(folded):
    verdict = judge(folded(losses(-0.4)))
    assert verdict.arm("a").word == "helps"
    assert "over 5 folds x 2 repeats of these examples." in verdict.headline
    assert "seed" not in verdict.headline + verdict.also + verdict.best.sentence
    assert (verdict.folds, verdict.unit) == (5, "fold")
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["folds"] == 5
    (caveat,) = [each for each in verdict.caveats if "corrected t test" in each]
    assert "conservative" in caveat
    assert "More repeats would narrow the intervals by" in caveat
    others = ("about these", "scatter to both sides")
    assert not any(text in each for each in verdict.caveats for text in others)


def test_what_sign_flips_would_call_clear_is_not(folded):
    """Ten differences of one sign: p = 0.002 of sign flips, and not by the corrected t."""
    rng = np.random.default_rng(1)
    base = 2 + rng.normal(0, 0.3, 10)
    fell = [0.02, 0.7, 0.05, 0.1, 0.9, 0.1, 0.2, 0.05, 0.3, 0.5]
    made = {"none": base.tolist(), "a": (base - fell).tolist()}
    verdict = judge(folded(made))
    found = verdict.arm("a").differences["val_loss"]
    assert verdict.arm("a").word == "not shown to help"
    assert "folds that scatter like these see improvements from" in verdict.headline
    reach = found.high - found.mean
    moved = {**made, "a": (np.array(made["a"]) - found.mean - reach * 1.001).tolist()}
    assert judge(folded(moved)).arm("a").word == "helps"
    seeds = replace(folded(made), recipe=replace(folded(made).recipe, data=DataSpec("digits")))
    assert judge(seeds).arm("a").word == "helps"


def test_every_arm_and_the_test_split_are_judged_by_it(folded):
    made = losses(-0.4, arms=("a", "b"))
    result = folded(made)
    rows = tuple(
        TestRow({"loss": value + 0.1, "accuracy": 0.9, "ece": 0.1}, arm, seed)
        for arm in ("none", "b")
        for seed, value in enumerate(made[arm])
    )
    verdict = judge(replace(result, tests=rows))
    table = np.array([made["a"], made["b"]]) - made["none"]
    for arm, found in zip("ab", compare_folds(table, 5), strict=True):
        got = verdict.arm(arm).differences["val_loss"]
        assert (got.p, got.low, got.high) == pytest.approx((found.p, found.low, found.high))
    (alone,) = compare_folds(table[1:], 5)
    assert verdict.test.differences["loss"].low == pytest.approx(alone.low)
    assert verdict.test.sentence.endswith("; 5 folds x 2 repeats).")
    assert verdict.best.arm == "b" == choose(result.rows, result.recipe, result.members)
    assert verdict.best.tied == ()


def test_an_unfinished_run_says_that_it_has_too_few_folds(folded):
    made = losses(-0.4, n=4)
    verdict = judge(folded(made))
    assert verdict.arm("a").word == "too few seeds"
    assert "No verdict yet: 4 folds are too few for a verdict; at least 5 are" in verdict.headline
    assert any(each.startswith("4 folds: differences of so few") for each in verdict.caveats)
    one = judge(folded(losses(-0.4, n=1)))
    assert "1 fold is too few" in one.headline
    made["a"] = [*made["a"], 1.0]
    made["none"] = [*made["none"], None]
    assert "have no result" not in judge(folded(made)).headline


def test_repeats_of_two_runs_are_one(folded):
    whole = folded(losses(-0.4))
    whole = replace(whole, recipe=replace(whole.recipe, looks=2))
    halves = [
        replace(
            whole,
            recipe=replace(whole.recipe, seeds=seeds),
            rows=tuple(row for row in whole.rows if row.seed in seeds),
            members=(),
        )
        for seeds in (tuple(range(5)), tuple(range(5, 10)))
    ]
    assert judge(pool(halves)).headline == judge(whole).headline
    once = [replace(half, recipe=replace(half.recipe, looks=1)) for half in halves]
    assert judge(pool(once)).arm("a").word == "seeds added"


def test_a_fold_that_is_not_trained_on_widens_the_interval():
    differences = np.random.default_rng(0).normal(1.0, 0.5, size=(1, 10))
    (usual,), (held,) = (compare_folds(differences, 10, held=each) for each in (False, True))
    ratio = math.sqrt((1 / 10 + 1 / 8) / (1 / 10 + 1 / 9))
    assert held.high - held.mean == pytest.approx(ratio * (usual.high - usual.mean))
    with pytest.raises(ArgumentError, match="at least 3 folds, got 2"):
        compare_folds(differences, 2, held=True)
    by = method_of(DataSpec("digits", folds=10, stop_on_fold=True))
    assert by.compare(differences) == (held,)
    assert smallest_effect(1, 10, folds=10, held=True) == pytest.approx(
        ratio * smallest_effect(1, 10, folds=10), rel=1e-3
    )


def test_the_stopped_epoch_is_chosen_by_its_own_fold(make_recipe):
    """By the validation examples epoch 1 would be the best one, by the fold to stop by 2 is."""
    data = DataSpec("digits", folds=5, stop_on_fold=True)
    recipe = replace(make_recipe(("none", "half"), range(5), data=data), epochs=3)
    curves, rows = [(0.3, 0.9), (0.5, 0.4), (0.8, 0.7)], []
    for arm, shift in (("none", 0.0), ("half", -0.1)):
        for seed in range(5):
            for epoch, (own, held) in enumerate(curves, start=1):
                values = dict.fromkeys(recipe.metrics, 0.5)
                values |= {"val_loss": own + shift + 0.01 * seed * (arm == "half")}
                rows.append(EpochRow({**values, "stop_loss": held}, arm, seed, epoch, 1.0))
    members = tuple(Member(arm.name, seed, "done", 3) for arm in recipe.arms for seed in range(5))
    found = judge(RunResult(Path("run"), recipe, {}, tuple(rows), members=members))
    assert found.arms[0].stopped.summary.mean == pytest.approx(0.5)
    assert found.arms[1].stopped.difference.mean == pytest.approx(-0.08)
    assert set(found.arms[1].stopped.epochs.values()) == {2}
