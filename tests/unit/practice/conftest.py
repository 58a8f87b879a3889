"""Exercises made for tests, one runner for all of them, and a progress file of one's own."""

from __future__ import annotations

import pytest

from droplab.practice import Claim, Code, Exercise, Runner


@pytest.fixture(autouse=True)
def progress_file(tmp_path, monkeypatch):
    """The file that droplab.practice takes for the reader's."""
    path = tmp_path / "progress" / "practice.json"
    monkeypatch.setenv("DROPLAB_PROGRESS", str(path))
    return path


@pytest.fixture(scope="session")
def runner():
    """One process with torch for all tests: to start it takes a second or more."""
    with Runner() as runner:
        yield runner


@pytest.fixture
def make():
    """Make an exercise of code options (strings) or of claims (pairs of words and check)."""

    def exercise(*options, **fields):
        given = [Code(option) if isinstance(option, str) else Claim(*option) for option in options]
        known = {
            "number": 99,
            "name": "made",
            "title": "Made for a test",
            "topic": "tests",
            "level": 1,
            "question": "Which?",
            "hints": ("Look.",),
            "explanation": "It is so.",
            "mistakes": ("To think otherwise.",),
            "saw": "seen",
            "seconds": 5.0,
        }
        if isinstance(given[0], Code):
            known["check"] = "good == 1"
        return Exercise(options=given, **(known | fields))

    return exercise
