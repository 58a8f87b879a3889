"""The verdict over folds on real learning, in which no arm is better than another."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tools import calibrate_folds as calibrate

PAGE = Path(__file__).parents[2] / "docs" / "verdict.md"
COUNT = 500


def named(problem: calibrate.Problem) -> str:
    return problem.name


@pytest.mark.parametrize("units", calibrate.UNITS)
@pytest.mark.parametrize("arms", [2, 4])
@pytest.mark.parametrize("problem", calibrate.PROBLEMS, ids=named)
def test_false_words_stay_at_five_per_cent(problem, arms, units):
    """At most 5 % + 4 standard errors of 500 tables: fails a right test once in 30 000."""
    share = calibrate.alarmed(problem, arms, units, COUNT)
    assert share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / COUNT)


def test_sign_flips_over_folds_do_not_hold():
    """What the corrected t is for: about 25 %; 100 tables show at most 10 % once in 5 000."""
    found = calibrate.alarmed(calibrate.PROBLEMS[0], 2, (10, 3), 100, calibrate.flipped)
    assert found > 0.10


def test_the_page_holds_what_the_command_makes():
    page = PAGE.read_text(encoding="utf-8")
    inside = page.partition(calibrate.BEGIN)[2].partition(calibrate.END)[0]
    rows = [line for line in inside.splitlines() if line.startswith("|") and "---" not in line]
    alarms = len(calibrate.PROBLEMS) * (len(calibrate.ARMS) + 2)
    assert len(rows) == 2 + alarms + 1 + len(calibrate.LARGEST)
    for units in calibrate.LARGEST:
        assert calibrate.visible_row(units) in rows
    made = calibrate.false_alarm_row(calibrate.PROBLEMS[1], 2)
    ours = list(map(float, re.findall(r"\d+\.\d", made)))
    theirs = next(row for row in rows if row.startswith("| share of wrong classes | 2 |"))
    assert ours == pytest.approx(list(map(float, re.findall(r"\d+\.\d", theirs))), abs=0.11)
