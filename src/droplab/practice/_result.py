"""What happened when the options of an exercise were run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from droplab.practice._exercise import Exercise

State = Literal["ran", "raised", "hung", "crashed"]


@dataclass(frozen=True)
class Outcome:
    """What happened to one option.

    Args:
        letter: Of the option.
        text: The option itself.
        holds: Whether it holds; None if the run could not tell.
        state: "ran" to the end, "raised" an error, "hung" until it was stopped, or "crashed".
        happened: One sentence for the reader.
        printed: What it printed.
    """

    letter: str
    text: str
    holds: bool | None
    state: State
    happened: str
    printed: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Result:
    """An exercise, the reader's answer if there was one, and what the run found.

    Args:
        exercise: What was run.
        outcomes: One for each option, in their order.
        answer: The letters that the reader chose; empty if it was run without an answer.
        printed: What the snippet printed.
        torch: The version of torch that ran it.
        seconds: How long it took.
    """

    exercise: Exercise
    outcomes: tuple[Outcome, ...]
    answer: tuple[str, ...]
    printed: str
    torch: str
    seconds: float

    @property
    def right(self) -> tuple[str, ...]:
        """The letters of the options that held in this run."""
        return tuple(item.letter for item in self.outcomes if item.holds)

    @property
    def undecided(self) -> str:
        """Why the run gives no verdict; empty if it gives one."""
        unknown = [item for item in self.outcomes if item.holds is None]
        if unknown:
            return f"option {unknown[0].letter}: {unknown[0].happened}"
        if not self.right:
            return "none of the options held on this machine"
        if len(self.right) > 1 and not self.exercise.several:
            return f"options {' and '.join(self.right)} both held on this machine"
        return ""

    @property
    def correct(self) -> bool | None:
        """Whether the answer is what the run found; None without an answer or a verdict."""
        if self.undecided or not self.answer:
            return None
        return self.answer == self.right

    def to_dict(self) -> dict[str, Any]:
        """Return all there is to tell after the answer, for JSON and for pages."""
        return {
            "exercise": self.exercise.to_dict(),
            "answer": list(self.answer),
            "correct": self.correct,
            "right": list(self.right),
            "undecided": self.undecided or None,
            "printed": self.printed,
            "options": [item.to_dict() for item in self.outcomes],
            "explanation": self.exercise.explanation,
            "mistakes": list(self.exercise.mistakes),
            "torch": self.torch,
            "seconds": round(self.seconds, 3),
        }
