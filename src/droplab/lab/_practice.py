"""The exercises: shown, hinted at, answered; only shipped snippets are ever run."""

from __future__ import annotations

import threading
from typing import Annotated, Any

from pydantic import Field

from droplab import practice
from droplab.errors import ArgumentError, DroplabError
from droplab.lab._body import Body
from droplab.lab._limits import Refusal
from droplab.practice import Exercise, Progress, Runner

WAITING = 4
"""Answers that may wait for their run."""


class Answer(Body):
    """An answer to an exercise: the letters of some of its options."""

    answer: Annotated[str, Field(max_length=50)]


class PracticeRoom:
    """One runner for all answers, which take turns."""

    def __init__(self) -> None:
        self._runner = Runner()
        self._turns = threading.BoundedSemaphore(WAITING)
        self._closed = False

    def listing(self) -> dict[str, Any]:
        """Return every exercise, and whether it was ever answered rightly."""
        progress = Progress()
        solved = progress.solved
        return {
            "exercises": [
                {**item.to_dict(), "done": item.name in solved} for item in practice.exercises()
            ],
            "topics": list(practice.topics()),
            "levels": {str(number): words for number, words in practice.LEVELS.items()},
            "warning": progress.warning or None,
        }

    def hint(self, number: int, place: int) -> dict[str, Any]:
        """Return one hint, counted from 1."""
        hints = self._find(number).hints
        if not 1 <= place <= len(hints):
            raise Refusal(404, f"exercise {number} has hints 1 to {len(hints)}")
        return {"hint": hints[place - 1]}

    def answer(self, number: int, answer: str) -> dict[str, Any]:
        """Run every option of an exercise, and return what happened."""
        exercise = self._find(number)
        try:
            letters = "".join(exercise.letters_of(answer))
        except ArgumentError as error:
            raise Refusal(400, str(error)) from None
        if self._closed or not self._turns.acquire(blocking=False):
            raise Refusal(429, "other answers are being run; wait for them")
        try:
            result = self._runner.run(exercise, letters)
        except DroplabError as error:
            raise Refusal(503, str(error)) from None
        finally:
            self._turns.release()
        progress = Progress()
        progress.add(result)
        return {**result.to_dict(), "warning": progress.warning or None}

    def close(self) -> None:
        """End the process that runs the snippets."""
        self._closed = True
        self._runner.close()

    @staticmethod
    def _find(number: int) -> Exercise:
        try:
            return practice.find(number)
        except ArgumentError as error:
            raise Refusal(404, str(error)) from None
