"""A recipe that plans a second look has every verdict at half of the 5 %."""

from __future__ import annotations

from dataclasses import replace

import pytest

from droplab.verdict import compare, judge

NOISE = [0.020, -0.013, 0.015, -0.022, 0.005, 0.001, -0.014, 0.011]


def judged(make_result, looks, seeds=8, effect=0.0):
    losses = {"none": [0.5] * seeds, "a": [0.5 - effect + d for d in NOISE[:seeds]]}
    result = make_result(losses)
    return judge(replace(result, recipe=replace(result.recipe, looks=looks)))


def test_intervals_and_words_are_at_its_level(make_result):
    once, twice = (judged(make_result, looks, effect=0.013) for looks in (1, 2))
    assert (once.level, twice.level) == (0.95, 0.975)
    found = twice.arm("a").differences["val_loss"]
    differences = [[d - 0.013 for d in NOISE]]
    assert found.low == pytest.approx(compare(differences, level=0.975)[0].low)
    assert found.high == pytest.approx(compare(differences, level=0.975)[0].high)
    assert found.low < once.arm("a").differences["val_loss"].low
    assert "97.5 % interval" in f"{twice.headline} {twice.arm('a').sentence}"


def test_a_word_needs_seven_seeds(make_result):
    six = judged(make_result, 2, seeds=6, effect=0.3)
    assert six.arm("a").word == "too few seeds"
    assert any("at least 7" in caveat for caveat in six.caveats)
    assert judged(make_result, 1, seeds=6, effect=0.3).arm("a").word == "helps"
    assert judged(make_result, 2, seeds=7, effect=0.3).arm("a").word == "helps"
