"""The schedules that an arm can name are those of `droplab.nn`, with their arguments."""

from __future__ import annotations

import inspect

import pytest

from droplab.nn import schedules
from droplab.recipe import Arm, ScheduleSpec
from droplab.recipe._schedules import SCHEDULES
from droplab.studies._arms import rate_of_step

ARGUMENTS = {
    "early": {"steps": 4},
    "late": {"start": 4},
    "linear": {"steps": 4},
    "curriculum": {"steps": 4, "sharpness": 2.0},
}


def test_every_schedule_over_time_has_its_row():
    # one is of depth, and one does not change
    assert set(SCHEDULES) == set(schedules.__all__) - {"by_depth", "constant"} == set(ARGUMENTS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_arguments_are_those_of_the_function(name):
    to = "end" if name == "linear" else "p"
    known = inspect.signature(getattr(schedules, name)).parameters
    assert {*SCHEDULES[name].arguments, "step", to} == set(known)
    needed = {n for n, each in known.items() if each.default is inspect.Parameter.empty}
    optional = {"start"} if name == "linear" else set()
    assert {*SCHEDULES[name].needed, "step", to} == needed - optional


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_is_what_the_function_says_and_none_stays_none(name):
    rate = rate_of_step(ScheduleSpec(name, ARGUMENTS[name]))
    function = getattr(schedules, name)
    given = {"end": 0.4, "start": 0.0} if name == "linear" else {"p": 0.4}
    for step in range(8):
        assert rate(step, 0.4) == function(step, **given, **ARGUMENTS[name])
        assert rate(step, 0.0) == 0.0
    assert len({rate(step, 0.4) for step in range(8)}) > 1


def test_an_arm_says_its_schedule_in_words():
    arm = Arm("a", {"fc2": 0.3}, schedule=ScheduleSpec("early", {"steps": 5, "decay": True}))
    assert str(arm.schedule) == "early, steps 5, decay true"
