"""Runs taken together carry words only where so many looks were planned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from droplab.verdict import judge, pool

LOSSES = {"none": [0.5] * 8, "a": [0.4 + 0.001 * i for i in range(8)], "b": [0.6] * 8}


@pytest.fixture
def runs(make_result):
    def make(count: int, looks: int):
        first = make_result(LOSSES)
        first = replace(first, recipe=replace(first.recipe, looks=looks))
        found = []
        for i in range(count):
            seeds = tuple(8 * i + seed for seed in range(8))
            moved = {
                name: tuple(replace(row, seed=row.seed + 8 * i) for row in getattr(first, name))
                for name in ("rows", "members")
            }
            found.append(replace(first, recipe=replace(first.recipe, seeds=seeds), **moved))
        return found

    return make


def test_planned_looks_are_spoken(runs):
    for count, looks in ((1, 1), (1, 2), (2, 2)):
        verdict = judge(pool(runs(count, looks)))
        assert verdict.headline.startswith("Dropout helps")
        assert [arm.word for arm in verdict.arms] == [None, "helps", "hurts"]


@pytest.mark.parametrize(("count", "looks"), [(2, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("question", [None, "budget"])
def test_added_seeds_are_shown_without_a_word(runs, count, looks, question):
    verdict = judge(pool(runs(count, looks)), question=question)
    spent = {1: "the first verdict has", 2: "the first two looks have"}[looks]
    assert verdict.headline.startswith(
        f"No verdict: with looks = {looks}, {spent} spent the 5 %. Over {8 * count} seeds, after 4 "
        "epochs validation loss is 0.500 without dropout and 0.4"
    )
    assert [arm.word for arm in verdict.arms] == [None, "seeds added", "seeds added"]
    for arm in verdict.arms[1:]:
        for found in arm.differences.values():
            ends = (found.low, found.high, found.p, found.better)
            assert ends == (-math.inf, math.inf, 1, None)
            assert found.n == 8 * count
        mean = {"a": -0.0965, "b": 0.1}[arm.name]
        assert arm.differences["val_loss"].mean == pytest.approx(mean)
    assert verdict.best is not None
    assert verdict.best.sentence == "'a' has the best validation loss, 0.404."
    everything = str(verdict)
    for word in ("helps", "hurts", "does not help", "told apart", "interval excludes", "p ="):
        assert word not in everything
    assert "judge their run alone, as a new experiment" in everything


def test_pooling_in_steps_counts_every_run(runs):
    first, second, third = runs(3, 2)
    assert judge(pool([first, second])).arm("a").word == "helps"
    assert judge(pool([pool([first, second]), third])).arm("a").word == "seeds added"
    assert judge(pool([pool([first]), second])).arm("a").word == "helps"
