"""The recall of each class: what is named, and what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.results import AnswersRow, RunResult
from droplab.verdict import compare, judge, pool

SEEDS = 8
SIZES = (100, 40, 60)
NAMES = ["cat", "dog", "owl"]
BINS = ((0, 0.0, 0),) * 15


def found(rng, low=0, high=6, base=30) -> np.ndarray:
    return base + rng.integers(low, high, SEEDS)


@pytest.fixture
def counted(make_result):
    """A run whose replicas find so many of each class: arm -> (classes, seeds)."""

    def make(right: Mapping[str, np.ndarray], **changes) -> RunResult:
        result = make_result({arm: [0.5] * SEEDS for arm in right})
        rows = tuple(
            AnswersRow(arm, seed, BINS, tuple(zip(SIZES, each[:, seed].tolist(), strict=True)))
            for arm, each in right.items()
            for seed in range(SEEDS)
        )
        notes = {"data": json.dumps({"classes": NAMES})}
        return replace(result, answers=rows, notes=notes, **changes)

    return make


def test_a_class_that_pays_for_the_others_is_named(counted):
    rng = np.random.default_rng(0)
    none = np.stack([found(rng, base=70), found(rng), found(rng, base=40)])
    paid = none + np.stack([found(rng, base=8), found(rng, base=-12), found(rng, -2, 3, base=0)])
    verdict = judge(counted({"none": none, "a": paid}))
    cat, dog, owl = verdict.recalls
    assert [each.label for each in verdict.recalls] == NAMES
    assert [each.examples for each in verdict.recalls] == list(SIZES)
    assert (cat.difference.better, dog.difference.better) == (True, False)
    assert owl.difference.better is None
    shares = [(paid[i] - none[i]) / SIZES[i] for i in range(3)]
    for each, expected in zip(verdict.recalls, compare(shares), strict=True):
        ends = (each.difference.low, each.difference.high, each.difference.p)
        assert ends == pytest.approx((expected.low, expected.high, expected.p))
    assert paid[1].mean() / 0.4 == pytest.approx(57.8125)
    assert none[1].mean() / 0.4 == pytest.approx(83.75)
    assert (
        "Recall falls after 4 epochs, over all classes and arms at once: with 'a' that of 'dog' "
        "(83.8 % to 57.8 %, "
    ) in verdict.also
    assert verdict.also.endswith(f"points, of {SIZES[1]} examples).")
    assert "cat" not in verdict.also
    assert "owl" not in verdict.also


def test_all_arms_and_classes_are_one_family(counted):
    rng = np.random.default_rng(1)
    right = {arm: np.stack([found(rng) for _ in SIZES]) for arm in ("none", "a", "b")}
    verdict = judge(counted(right))
    rows = [(right[arm][i] - right["none"][i]) / SIZES[i] for i in range(3) for arm in ("a", "b")]
    assert [(each.label, each.difference.arm) for each in verdict.recalls[:2]] == [
        ("cat", "a"),
        ("cat", "b"),
    ]
    expected = [each.p for each in compare(rows)]
    assert [each.difference.p for each in verdict.recalls] == pytest.approx(expected)
    alone = [compare([row])[0].p for row in rows]
    assert all(p >= q for p, q in zip(expected, alone, strict=True))
    assert any(p > q for p, q in zip(expected, alone, strict=True))


def test_many_falls_are_counted(counted):
    rng = np.random.default_rng(2)
    none = np.stack([found(rng) for _ in SIZES])
    right = {"none": none, **{name: none - 15 + rng.integers(0, 2, none.shape) for name in "abcd"}}
    said = judge(counted(right)).also
    assert said.count("that of 'cat'") + said.count("that of 'dog'") == 3
    assert said.endswith("with 1 more arm that of some class.")


def test_what_the_run_does_not_know_is_not_said(counted, make_result):
    rng = np.random.default_rng(3)
    none = np.stack([found(rng) for _ in SIZES])
    result = counted({"none": none, "a": none - 15})
    assert judge(result).recalls
    unnamed = judge(replace(result, notes={}))
    assert [each.label for each in unnamed.recalls] == ["0", "1", "2"]
    for less in (
        replace(result, answers=()),  # an earlier version
        replace(result, answers=tuple(replace(row, classes=()) for row in result.answers)),
        replace(result, recipe=replace(result.recipe, epochs=9)),  # not finished
    ):
        assert judge(less).recalls == ()
        assert "Recall" not in judge(less).also


def test_a_class_that_nobody_has_and_a_replica_that_is_missing(counted):
    rng = np.random.default_rng(4)
    none = np.stack([found(rng) for _ in SIZES])
    result = counted({"none": none, "a": none - 15})
    rows = [
        replace(row, classes=(row.classes[0], (0, 0), row.classes[2])) for row in result.answers
    ]
    _, absent, _ = judge(replace(result, answers=tuple(rows))).recalls
    assert (absent.examples, absent.difference.n, absent.difference.better) == (0, 0, None)
    kept = tuple(row for row in result.answers if (row.arm, row.seed) != ("a", 7))
    assert [each.difference.n for each in judge(replace(result, answers=kept)).recalls] == [7] * 3


def test_runs_taken_together_have_all_answers(counted):
    rng = np.random.default_rng(5)
    none = np.stack([found(rng) for _ in SIZES])
    first = counted({"none": none, "a": none})
    first = replace(first, recipe=replace(first.recipe, looks=2))
    other = replace(first, recipe=replace(first.recipe, seeds=tuple(range(8, 16))))
    moved = {
        name: tuple(replace(row, seed=row.seed + 8) for row in getattr(first, name))
        for name in ("rows", "members", "answers")
    }
    both = judge(pool([first, replace(other, **moved)]))
    assert {each.difference.n for each in both.recalls} == {16}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_no_class_is_named_unless_its_interval_excludes_none(make_result, seed):
    rng = np.random.default_rng(seed)
    result = make_result({"none": [0.5] * SEEDS, "a": [0.5] * SEEDS})
    shift = rng.integers(-3, 4, (3, 1))
    rows = tuple(
        AnswersRow(arm, s, BINS, tuple((50, int(n)) for n in each))
        for arm in ("none", "a")
        for s in range(SEEDS)
        for each in [(25 + rng.integers(-2, 3, (3, 1)) + shift * (arm == "a")).ravel()]
    )
    verdict = judge(replace(result, answers=rows))
    named = {each.label for each in verdict.recalls if f"'{each.label}' (" in verdict.also}
    assert named == {each.label for each in verdict.recalls if each.difference.high < 0}
