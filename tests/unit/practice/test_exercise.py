"""An exercise says at once what is wrong with it, and reads answers."""

from __future__ import annotations

import dataclasses

import pytest

from droplab.errors import ArgumentError
from droplab.practice import Claim, Code


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level": 4}, "expected a level of 1, 2, 3, got 4"),
        ({"hints": ()}, "expected a hints, got none"),
        ({"hints": "no comma"}, "expected a tuple of hints, got a string"),
        ({"mistakes": ()}, "mistakes"),
        ({"check": ""}, "expected a check"),
        ({"saw": ""}, "what was seen"),
        ({"options": [Code("good = 1")]}, "expected 2 to 6 options, got 1"),
        ({"options": [Code("x")] * 7}, "expected 2 to 6 options, got 7"),
        ({"options": [Code("x"), Claim("x", "True")]}, "got both"),
        ({"options": [Claim("x", "True"), Claim("y", "True")]}, "expected no check"),
    ],
)
def test_a_malformed_exercise_is_refused(make, fields, message):
    good = make("good = 1", "good = 2")
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(good, **fields)


def test_answers_are_read_leniently(make):
    one = make("good = 1", "good = 2")
    assert one.letters_of(" b ") == ("B",)
    assert one.letters_of("BB") == ("B",)
    several = make("good = 1", "good = 2", "good = 3", several=True)
    assert several.letters_of("c, a") == ("A", "C")


@pytest.mark.parametrize("answer", ["", "  ", "C", "1", "AB", "A B", "Ä"])
def test_answers_that_name_no_option_are_refused(make, answer):
    with pytest.raises(ArgumentError, match=r"exercise 99: expected .* A to B"):
        make("good = 1", "good = 2").letters_of(answer)


def test_copies_keep_their_code(make):
    """The indentation is taken away once, and a copy has nothing left to take."""
    exercise = make(
        "good = 1", "good = 2", then="with a:\n    b\n", snippet="\n    x = 1\n    y = 2"
    )
    copy = dataclasses.replace(exercise, number=100)
    assert copy.snippet == exercise.snippet == "x = 1\ny = 2"
    assert copy.then == "with a:\n    b"


def test_what_may_be_shown_before_the_answer(make):
    shown = make("good = 1", "good = 2", snippet="x = 1", then="y = 2").to_dict()
    assert shown["options"] == {"A": "good = 1", "B": "good = 2"}
    assert shown["code"] == "x = 1\n\n...  # one of the options goes here\n\ny = 2"
    assert not {"right", "check", "explanation", "saw"} & set(shown)
