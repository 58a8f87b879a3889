"""Exercises made for tests, one runner for all of them, and a progress file of one's own."""

from __future__ import annotations

import os

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


@pytest.fixture
def light(tmp_path, monkeypatch):
    """Let processes that are not of `runner` find, in place of torch, what loads in no time."""
    lines = ("__version__ = 'none'", "manual_seed = set_num_threads = lambda number: None")
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "torch.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path / "light")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "light"), prepend=os.pathsep)
