from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from droplab.errors import ArgumentError
from droplab.recipe import Arm, Condition, Target, load
from droplab.verdict import RunMetrics, choose, duration, judge, pool
from droplab.verdict._signflip import p_against

METRICS = RunMetrics.of(load("digits")).epoch
BASE = [0.80, 0.82, 0.81, 0.79, 0.83, 0.80, 0.78, 0.82]


def curve(result, arm, **values):
    """Replace curves of one arm: metric -> one value an epoch."""
    return replace(
        result,
        rows=tuple(
            replace(
                r, values={**r.values, **{name: each[r.epoch - 1] for name, each in values.items()}}
            )
            if r.arm == arm
            else r
            for r in result.rows
        ),
    )


def test_a_rising_loss_and_a_gap_are_overfitting(make_result):
    result = make_result({"none": BASE, "a": BASE})
    calm = judge(result).diagnosis
    assert not calm.overfits
    assert calm.sentence == (
        "The baseline does not overfit: it gets 90.0 % of its training examples right and 88.0 % "
        "of the validation examples, a gap of 2.0 points; its validation loss is at its lowest in "
        "the last epoch."
    )
    rising = judge(
        curve(result, "none", val_loss=[0.9, 0.5, 0.6, 0.8], train_loss=[0.8, 0.4, 0.2, 0.1])
    ).diagnosis
    assert rising.overfits
    assert (rising.best_epoch, rising.rise, rising.fall) == (2, pytest.approx(0.6), 0.75)
    assert (
        "has risen by 60 % since epoch 2, while its training loss fell by 75 %" in rising.sentence
    )
    both = judge(
        curve(result, "none", val_loss=[0.9, 0.5, 0.6, 0.8], train_loss=[0.8, 0.4, 0.5, 0.9])
    ).diagnosis
    assert not both.overfits, "training itself diverges: that is no overfitting"
    assert "but its training loss has not fallen with it" in both.sentence
    gap = judge(curve(result, "none", train_accuracy=[0.9, 0.95, 0.97, 0.99])).diagnosis
    assert gap.overfits
    assert gap.gap == pytest.approx(0.11)
    other = judge(curve(result, "a", val_loss=[0.9, 0.5, 0.6, 0.8])).diagnosis
    assert not other.overfits, "only the baseline is diagnosed"
    flat = judge(curve(result, "none", val_loss=[0.9, 0.50, 0.51, 0.51])).diagnosis
    assert not flat.overfits
    assert "within 5 % of its lowest, in epoch 2" in flat.sentence


def test_the_target_is_judged_on_the_mean_of_the_chosen_arm(make_result, make_recipe):
    target = Target(
        (Condition("val_loss", "<=", 0.70), Condition("train_accuracy_running", "<", 0.86))
    )
    recipe = make_recipe(("none", "a", "b"), target=target)
    low = [x - 0.12 for x in BASE]
    verdict = judge(make_result({"none": BASE, "a": low, "b": low[::-1]}, recipe)).target
    assert verdict.met
    assert verdict.met_by == ("a", "b")
    assert verdict.sentence == (
        "Target met (running training accuracy < 86.0 % and validation loss ≤ 0.700): 'a' reaches "
        "running training accuracy 85.0 %, validation loss 0.686. Also met by 'b'."
    )
    found = verdict.arms["none"]
    assert [c.met for c in found] == [True, False]
    assert found[1].reached == pytest.approx(sum(BASE) / 8)
    missed = judge(make_result({"none": BASE, "a": BASE, "b": BASE}, recipe)).target
    assert not missed.met
    assert missed.met_by == ()
    assert missed.sentence.startswith("Target missed")
    assert judge(make_result({"none": BASE}, make_recipe(("none",), target=None))).target is None


def test_a_target_met_by_another_arm_than_the_chosen_is_missed(make_result, make_recipe):
    recipe = make_recipe(("none", "a", "b"), target=Target((Condition("val_accuracy", ">=", 0.9),)))
    result = make_result({"none": BASE, "a": [x - 0.1 for x in BASE], "b": BASE}, recipe)
    verdict = judge(curve(result, "b", val_accuracy=[0.95] * 4))
    assert verdict.chosen == "a"
    assert not verdict.target.met
    assert verdict.target.met_by == ("b",)
    assert verdict.target.sentence.endswith("Met by 'b'.")


def test_choose_takes_the_best_mean_without_the_baseline(make_result, make_recipe):
    result = make_result({"none": [x - 1 for x in BASE], "a": BASE, "b": [x - 0.1 for x in BASE]})
    assert choose(result.rows, result.recipe) == "b"
    by_accuracy = replace(result.recipe, primary="val_accuracy")
    rows = tuple(
        replace(r, values={**r.values, "val_accuracy": 0.99 if r.arm == "a" else 0.5})
        for r in result.rows
    )
    assert choose(rows, by_accuracy) == "a"
    assert choose(make_result({"none": BASE}).rows, make_recipe(("none",))) is None
    assert choose((), result.recipe) is None
    # The last epoch decides, not the best.
    early = tuple(
        replace(r, values={**r.values, "val_loss": 0.0}) if r.arm == "a" and r.epoch < 4 else r
        for r in result.rows
    )
    assert choose(early, result.recipe) == "b"


def test_the_best_may_be_the_baseline_and_ties_are_named(make_result):
    rng = np.random.default_rng(1)
    near = [x + e for x, e in zip(BASE, rng.normal(0, 0.02, 8), strict=True)]
    far = [x + 0.3 for x in BASE]
    best = judge(make_result({"none": [x - 0.01 for x in BASE], "n": near, "f": far})).best
    assert best.arm == "none"
    assert best.tied == ("n",)
    assert "cannot be told apart from 'n'" in best.sentence
    few = judge(make_result({"none": BASE[:4], "f": far[:4]})).best
    assert few.tied == ("f",)
    assert "4 seeds are too few" in few.sentence


def test_p_against_the_best_is_max_t_over_all_pairs():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(4, 7)) + np.arange(4)[:, None]
    pairs = list(itertools.combinations(range(4), 2))

    def r(i, j, signs):
        d = values[i] - values[j]
        return abs(signs @ d) / math.sqrt(7 * d @ d)

    flips = [np.array(signs) for signs in itertools.product([1.0, -1.0], repeat=7)]
    largest = np.array([max(r(i, j, signs) for i, j in pairs) for signs in flips])
    for arm in range(1, 4):
        expected = np.mean(largest >= r(0, arm, np.ones(7)) - 1e-9)
        assert p_against(values, 0)[arm] == pytest.approx(expected)
    assert p_against(values, 0)[0] == 1.0


def test_pool_joins_seeds_of_one_recipe_only(make_result, make_recipe):
    names = ("none", "a")
    better = [x - 0.2 - 0.01 * i for i, x in enumerate(BASE)]
    first = make_result({"none": BASE[:4], "a": better[:4]}, make_recipe(names, range(4), looks=2))
    second = make_result(
        {"none": BASE[4:], "a": better[4:]}, make_recipe(names, range(4, 8), looks=2)
    )
    whole = make_result({"none": BASE, "a": better}, make_recipe(names, range(8), looks=2))
    assert judge(pool([first, second])) == judge(whole)
    assert pool([first]) == first
    with pytest.raises(ArgumentError, match="seed 0, 1, 2, 3 is in more than one run"):
        pool([first, first])
    other = replace(second, recipe=replace(second.recipe, epochs=5))
    with pytest.raises(ArgumentError, match="follows another recipe"):
        pool([first, other])
    arms = (Arm("none"), Arm("a", {"fc2": 0.9}))
    with pytest.raises(ArgumentError, match="follows another recipe"):
        pool([first, replace(second, recipe=replace(second.recipe, arms=arms))])
    with pytest.raises(ArgumentError, match="at least one run"):
        pool([])


@pytest.mark.parametrize(
    ("name", "value", "text", "difference"),
    [
        ("val_accuracy", 0.8483, "84.8 %", "+84.83 points"),
        ("val_loss", 0.4821, "0.482", "+0.482"),
        ("val_loss", 0.00441, "0.0044", "+0.004"),
        ("val_loss", 0.00041, "0.0004", "+0.0004"),
        ("val_loss", 12.345, "12.3", "+12.3"),
        ("val_loss", 234.5, "234", "+234"),
        ("val_loss", -0.00001, "0.0000", "0.0000"),
        ("gap", -0.01, "−1.0 points", "−1.00 points"),
        ("val_loss", math.nan, "not a number", "not a number"),
        ("val_loss", -math.inf, "−∞", "−∞"),
    ],
)
def test_numbers_as_people_read_them(name, value, text, difference):
    assert METRICS[name].text(value) == text
    assert METRICS[name].difference(value) == difference


def test_metric_parts():
    loss = METRICS["val_loss"]
    assert loss.better(0.1, 0.2)
    assert METRICS["val_accuracy"].better(0.2, 0.1)
    assert loss.interval(-math.inf, 0.25) == "−∞ to +0.250"
    assert METRICS["gap"].interval(-0.01, 0.02) == "−1.00 to +2.00 points"
    assert loss.size(math.inf) == "any size"
    assert METRICS["gap"].size(-0.012) == "1.20 points"
    assert METRICS["gap"].spread(0.0123) == "1.23"
    assert loss.spread(math.nan) == "–"
    assert [duration(s) for s in (0.5, 59.6, 61, 3601)] == [
        "0.5 s",
        "1 min 0 s",
        "1 min 1 s",
        "1 h 0 min",
    ]
