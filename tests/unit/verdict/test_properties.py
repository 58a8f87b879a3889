"""What must hold of every verdict, whatever the rows are."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.errors import RunError
from droplab.recipe import load
from droplab.results import TestRow
from droplab.verdict import RunMetrics, compare, compare_skewed, judge
from droplab.verdict._arms import sees_text
from droplab.verdict._method import OverSeeds
from droplab.verdict._signflip import p_against, smallest_p
from droplab.verdict._target import condition_text, judge_target, reached_text
from droplab.verdict._types import ConditionVerdict

METRICS = RunMetrics.of(load("digits")).epoch
BAD = (math.nan, math.inf, -math.inf)
SOUND = settings(max_examples=40, deadline=None, derandomize=True)


def rough(rng: np.random.Generator, arms: int, seeds: int = 8) -> np.ndarray:
    effects = rng.choice([0.0, -0.1, 0.1, -1.0], size=arms)
    return rng.normal(0, 0.05, size=(arms, seeds)) + effects[:, None]


@pytest.mark.parametrize("test", [compare, compare_skewed])
@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(2, 5), kept=st.integers(0, 5))
def test_an_arm_with_too_few_seeds_is_as_if_it_were_not_there(test, seed, arms, kept):
    rng = np.random.default_rng(seed)
    table = rough(rng, arms)
    few = table.copy()
    few[1, rng.permutation(8)[kept:]] = math.nan
    with_it, without = test(few), test(np.delete(few, 1, axis=0))
    assert [found for i, found in enumerate(with_it) if i != 1] == list(without)
    assert with_it[1].p > 0.05
    assert with_it[1].low == -math.inf
    assert with_it[1].high == math.inf
    for all_seeds, now in zip(test(table), with_it, strict=True):
        if now is not with_it[1]:
            assert now.p <= all_seeds.p, "fewer arms to ask about, and yet less is told"


@SOUND
@given(seed=st.integers(0, 10**6), what=st.sampled_from(["few", *BAD]))
def test_no_arm_silences_another(make_result, seed, what):
    """Seeds taken from arm b, or an arm b that breaks, never change a word about arm a."""
    rng = np.random.default_rng(seed)
    values = 2 + rough(rng, 4)
    losses = dict(zip(("none", "a", "b", "c"), values.tolist(), strict=True))
    if what == "few":
        losses["b"][3:] = [None] * 5
    else:
        losses["b"][3] = what
    verdict = judge(make_result(losses))
    alone = judge(make_result({name: each for name, each in losses.items() if name != "b"}))
    assert verdict.arm("b").word == ("too few seeds" if what == "few" else "unstable")
    for arm in ("a", "c"):
        assert verdict.arm(arm).differences == alone.arm(arm).differences
        assert verdict.arm(arm).word == alone.arm(arm).word
    assert verdict.best == alone.best
    assert verdict.chosen == alone.chosen
    assert verdict.arm("b").sentence[:-1] in " ".join(verdict.caveats)


def test_pairs_with_few_seeds_do_not_hide_the_best():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(3, 8)) + np.array([0.0, 4.0, 2.0])[:, None]
    values[2, 3:] = math.nan
    assert p_against(values, 0)[1] == p_against(values[:2], 0)[1] < 0.05
    assert p_against(values, 0)[2] == 1.0


BROKEN = st.dictionaries(
    st.tuples(st.integers(0, 2), st.integers(0, 7), st.integers(1, 4), st.sampled_from([
        "val_loss", "train_loss", "val_ece", "val_accuracy", "train_loss_running",
    ])),
    st.sampled_from(BAD),
    min_size=1,
    max_size=6,
)  # fmt: skip


@SOUND
@given(broken=BROKEN, primary=st.sampled_from(["val_loss", "val_accuracy", "train_loss"]))
def test_what_is_not_finite_is_treated_as_nan_and_flatters_nobody(make_result, broken, primary):
    rng = np.random.default_rng(9)
    losses = dict(zip(("none", "a", "b"), (2 + rough(rng, 3)).tolist(), strict=True))
    names = tuple(losses)
    result = make_result(losses, tests=tuple(
        TestRow({"loss": 0.5 + rng.normal(), "accuracy": 0.8,
                 "ece": broken.get((i, seed, 4, "val_ece"), 0.1)}, arm, seed)
        for i, arm in enumerate(("none", "a")) for seed in range(8)
    ))  # fmt: skip

    def changed(value: float | None):
        def row(r):
            mine = {
                place[3]: bad if value is None else value
                for place, bad in broken.items()
                if (names[place[0]], place[1], place[2]) == (r.arm, r.seed, r.epoch)
            }
            return replace(r, values={**r.values, **mine})

        tests = result.tests
        if value is not None:
            tests = tuple(
                replace(t, values={**t.values, "ece": t.ece if math.isfinite(t.ece) else value})
                for t in tests
            )
        return replace(result, rows=tuple(map(row, result.rows)), tests=tests)

    try:
        verdict = judge(changed(None), primary=primary)
    except RunError:
        with pytest.raises(RunError):
            judge(changed(math.nan), primary=primary)
        return
    assert verdict.to_dict() == judge(changed(math.nan), primary=primary).to_dict()
    text = json.dumps(verdict.to_dict(), allow_nan=False)
    assert "not a number" not in text
    assert "∞ against" not in text
    for i, name in enumerate(names[1:], start=1):
        arm = verdict.arm(name)
        if any(place[0] == i and place[3] in ("val_loss", primary) for place in broken):
            assert arm.word == "unstable"
            assert verdict.chosen != name
        for each in METRICS:
            at_last = any(p[0] == i and p[2:] == (4, each) for p in broken)
            if at_last and arm.word != "unstable":
                assert math.isnan(arm.metrics[each].mean)
                assert arm.differences[each].n == 0


@SOUND
@given(
    seed=st.integers(0, 10**6),
    arms=st.integers(1, 4),
    name=st.sampled_from(["val_loss", "val_accuracy"]),
)
def test_seeds_see_improvements_from_where_they_say(seed, arms, name):
    """Moved there, the same differences are an improvement; a hair before, they are none."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(arms, 8))
    found = compare(table)[0]
    write = METRICS[name]
    reach = found.mean - found.low if write.higher_is_better else found.high - found.mean
    better = 1 if write.higher_is_better else -1
    for slack, seen in ((1e-6, True), (-1e-6, False)):
        moved = table.copy()
        moved[0] += better * (reach + slack) - found.mean
        p = compare(moved)[0].p
        assert (p <= 0.05) == seen
    assert write.size(reach) in sees_text([found], write, OverSeeds(0.95))  # type: ignore[list-item]


@SOUND
@given(
    name=st.sampled_from(["val_accuracy", "gap", "val_loss"]),
    bound=st.integers(1, 9999).map(lambda n: n / 10_000),
    off=st.sampled_from([0.0, 1e-16, 1e-12, 1e-6, -1e-6, 4e-5, -4e-5, 3e-4, -3e-4, 0.01, -0.01]),
    op=st.sampled_from(["<", "<=", ">", ">="]),
)
def test_the_number_and_the_word_on_a_target_agree(make_recipe, name, bound, off, op):
    from droplab.recipe import Condition, Target
    from droplab.verdict._types import ArmVerdict, Summary

    recipe = make_recipe(("none", "a"), target=Target((Condition(name, op, bound),)))
    arm = ArmVerdict("a", {}, (), {name: Summary(bound + off, 0.0, 8)}, {}, "helps", "", 0.0)
    found = judge_target(recipe, RunMetrics.of(recipe), [arm], "a")
    assert found is not None
    (condition,) = found.arms["a"]

    def read(text: str) -> float:
        words = text.replace("−", "-").split()
        return float(next(w for w in words if w[-1].isdigit()))

    number, limit = (
        read(reached_text(METRICS[name], condition)),
        read(condition_text(METRICS[name], op, bound)),
    )
    holds = {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}
    assert holds[op] == condition.met == found.met
    assert reached_text(METRICS[name], condition) in found.sentence


def test_a_bound_just_missed_shows_why():
    missed = ConditionVerdict("val_accuracy", ">=", 0.85, 0.84961, False)
    assert reached_text(METRICS["val_accuracy"], missed) == "84.96 %"
    assert reached_text(METRICS["val_accuracy"], replace(missed, reached=0.91234)) == "91.2 %"
    assert (
        reached_text(METRICS["val_accuracy"], replace(missed, reached=math.nan))
        == "without a finite number"
    )


def words_of(sentences: Sequence[str]) -> str:
    return " ".join(sentences).lower()


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(1, 4), seeds=st.integers(1, 9))
def test_absence_is_never_claimed(make_result, seed, arms, seeds):
    rng = np.random.default_rng(seed)
    values = (2 + rough(rng, arms + 1, seeds)).round(rng.integers(0, 4))
    names = ("none", *"abcd"[:arms])
    verdict = judge(make_result(dict(zip(names, values.tolist(), strict=True))))
    said = words_of([verdict.headline, verdict.also, *(a.sentence for a in verdict.arms)])
    for claim in ("no difference", "does not help", "no effect", "not a number"):
        assert claim not in said
    for arm in verdict.arms[1:]:
        shown = arm.differences["val_loss"].p <= 0.05 and smallest_p(seeds) <= 0.05
        assert (arm.word in ("helps", "hurts")) == shown
        assert str(arm.word) in arm.sentence or arm.word == "too few seeds"
    if verdict.headline.startswith("Dropout hurts"):
        assert all(arm.word == "hurts" for arm in verdict.arms[1:])


@SOUND
@given(seed=st.integers(0, 10**6), gone=st.sets(st.tuples(st.integers(0, 1), st.integers(0, 7))))
def test_values_and_their_difference_are_of_the_same_seeds(make_result, seed, gone):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 10.0 ** -rng.integers(0, 5), size=(2, 8))
    values = (2 + noise).tolist()
    for arm, place in gone:
        values[arm][place] = None
    if not any(x is not None for x in values[0]):
        return
    verdict = judge(make_result(dict(zip(("none", "a"), values, strict=True))))
    found = verdict.arm("a").differences["val_loss"]
    both = [(x, y) for x, y in zip(*values, strict=True) if x is not None and y is not None]
    assert found.n == len(both)
    if both:
        assert found.after - found.before == pytest.approx(found.mean, abs=1e-12)
        assert found.before == pytest.approx(np.mean([x for x, _ in both]))
        before, after = METRICS["val_loss"].apart(found.before, found.after)
        assert before != after, "a change that cannot be seen in its numbers"
        assert f"is {before} without dropout and {after} with 'a'" in verdict.headline
