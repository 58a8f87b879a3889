"""False words and coverage of both questions, absence and looks, by simulation with fixed seeds."""

from __future__ import annotations

import math

import pytest

from tools import calibrate_questions as calibrate

COUNT = 150
_, HEAVY, SKEWED, NOISIER = calibrate.LAWS


def most(rate: float, count: int = COUNT) -> float:
    """A bound that a right test passes once in 30 000 times."""
    return rate + 4 * math.sqrt(rate * (1 - rate) / count)


@pytest.mark.parametrize(("law", "arms"), [(NOISIER, 4), (SKEWED, 2)])
def test_both_questions_are_one_family(law, arms):
    found = calibrate.simulate(law, arms, 8, 1.5, COUNT)
    assert found.alarmed <= most(0.05)
    assert found.covered >= 1 - most(0.06)
    assert found.apart >= found.alarmed
    assert found.alone >= found.found


@pytest.mark.parametrize("law", [HEAVY, NOISIER])
def test_absence_at_the_margin_is_said_in_five_per_cent(law):
    said = calibrate.absence(law, 4, 8, at_margin=True, count=800)
    assert said <= most(0.05, 800)
    assert calibrate.absence(law, 2, 8, at_margin=False, count=COUNT) > 2 * said


@pytest.mark.parametrize("share", [1.0, 2.0])
def test_the_wide_interval_covers_the_population(share):
    """Seeds alone cover far less, which is what the second interval is for."""
    alone, wide = calibrate.population(8, share, 800)
    assert wide >= 1 - most(0.06, 800)
    assert alone < 0.90


def test_two_looks_at_half_the_level_say_nothing_false_more_often():
    assert calibrate.looks(7, 0.975, 800) <= most(0.05, 800)
    assert calibrate.looks(7, 0.95, 400) > 0.05
