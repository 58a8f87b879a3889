"""Finding exercises."""

from __future__ import annotations

import pytest

from droplab.errors import ArgumentError
from droplab.practice import exercises, find


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("0", "a number from 1 to .* got '0'; `droplab practice --list` shows them"),
        (99, "got '99'"),
        ("-1", "got '-1'"),
        ("", "got ''"),
        ("evalmode", "did you mean 'eval-mode'?"),
        ("quantum", "--list"),
    ],
)
def test_an_unknown_exercise_is_refused(key, message):
    with pytest.raises(ArgumentError, match=message):
        find(key)


def test_names_and_numbers_find_the_same():
    assert find(" Eval-Mode ") is find(find("eval-mode").number)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"topic": "eval"}, "no exercise is about 'eval'"),
        ({"topic": "eval-mod"}, "did you mean 'eval-mode'?"),
        ({"level": 4}, r"expected one of 1 \(first steps\)"),
        ({"topic": "purpose", "level": 3}, "no exercise of level 3; it has them of level 1"),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(choice, message):
    with pytest.raises(ArgumentError, match=message):
        exercises(**choice)


def test_choices_narrow_it_down():
    assert {item.level for item in exercises(level=2)} == {2}
    both = exercises(topic="no-effect", level=3)
    assert [(item.topic, item.level) for item in both] == [("no-effect", 3)]
