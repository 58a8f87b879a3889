"""The exercises themselves: each is run, and the run must single out its answer."""

from __future__ import annotations

import dataclasses
import functools
import pkgutil
import textwrap
from pathlib import Path

import pytest

from droplab.practice import LEVELS, Code, catalogue, exercises, find, topics

REQUIRED = {
    "purpose": "what dropout is for",
    "writing": "how the layer is written for 30 %",
    "eval-mode": "what comes out in eval mode",
    "no-effect": "why a layer has no effect in training",
    "on-and-off": "when dropout is on and off",
    "scale": "the scale 1 / (1 - p)",
    "expectation": "expectation",
    "relu": "dropout and ReLU commute",
    "placement": "where it goes",
    "batchnorm": "BatchNorm",
    "batch-order": "the batch-order confound",
    "train-accuracy": "train accuracy with dropout on",
    "gap": "reading a gap",
    "rate": "choosing a rate",
    "mc-dropout": "MC dropout",
}
ALL = exercises()
# A snippet is seeded; this moves all its seeds, and with them all that is random in it.
OTHER_SEEDS = """
import torch as _torch
_seed = _torch.manual_seed
_torch.manual_seed = lambda seed: _seed(seed + {0})
_torch.manual_seed(0)
"""


def by_name(exercise):
    return exercise.name


@functools.cache
def result_of(runner, exercise):
    return runner.run(exercise)


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_the_run_singles_out_the_answer(exercise, runner):
    """Every option is run; none of the checks may fail, and exactly one option holds.

    Where several may hold, at least one must, and one must not. Nothing here is random: the
    snippets are seeded, and what they check of random numbers has five standard deviations to
    spare.
    """
    result = result_of(runner, exercise)
    assert result.undecided == ""
    assert all(item.happened for item in result.outcomes)
    if exercise.several:
        assert 0 < len(result.right) < len(exercise.options)
    else:
        assert len(result.right) == 1
    assert dataclasses.replace(result, answer=result.right).correct is True


@pytest.mark.slow
@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_the_answer_does_not_hang_on_the_seed(exercise, runner):
    expected = result_of(runner, exercise).right
    for shift in (1000, 2000):
        snippet = OTHER_SEEDS.format(shift) + exercise.snippet
        other = runner.run(dataclasses.replace(exercise, snippet=snippet))
        assert (other.undecided, other.right) == ("", expected)


def test_the_answer_comes_from_the_run(runner):
    """The same question about another snippet or measurement has another answer, or none."""
    thirty = find("thirty-percent")
    right = runner.run(thirty).right
    seventy = runner.run(dataclasses.replace(thirty, check=thirty.check.replace("0.3", "0.7")))
    texts = dict(zip(thirty.letters, thirty.options, strict=True))
    assert "p=0.3" in texts[right[0]].text
    assert "p=0.7" in texts[seventy.right[0]].text

    eval_mode = find("eval-mode")
    training = dataclasses.replace(
        eval_mode, snippet=eval_mode.snippet.replace("layer.eval()", "layer.train()")
    )
    result = runner.run(training, "C")
    assert result.right == ()
    assert "none of the options" in result.undecided
    assert result.correct is None


def test_there_are_enough_of_every_level_and_topic():
    assert len(ALL) >= 15
    for level in LEVELS:
        assert len(exercises(level=level)) >= 4
    assert set(REQUIRED) <= set(topics())


def test_numbers_names_and_files_agree():
    assert [item.number for item in ALL] == list(range(1, len(ALL) + 1))
    files = {item.name.replace("_", "-") for item in pkgutil.iter_modules(catalogue.__path__)}
    names = [item.name for item in ALL]
    assert set(names) == files
    assert len({item.title for item in ALL}) == len(names)


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_it_fits_a_terminal_of_80_columns(exercise):
    code = [exercise.snippet, exercise.then]
    code += [option.text for option in exercise.options if isinstance(option, Code)]
    assert max(len(line) for part in code for line in part.splitlines()) <= 76


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_no_hint_names_a_letter(exercise):
    for text in (exercise.question, exercise.explanation, *exercise.hints, *exercise.mistakes):
        assert not any(f"option {letter}" in text for letter in exercise.letters)


def test_the_page_names_every_topic_and_its_example_runs(runner):
    page = (Path(__file__).parents[3] / "docs" / "practice.md").read_text(encoding="utf-8")
    assert not [topic for topic in topics() if f"`{topic}`" not in page]
    example = page[page.index("    EXERCISE = Exercise(") :].split("\n\n- ")[0]
    names = {}
    exec(f"from droplab.practice import *\n{textwrap.dedent(example)}", names)
    assert names["EXERCISE"].number == len(ALL) + 1
    assert runner.run(names["EXERCISE"]).right == ("A",)
