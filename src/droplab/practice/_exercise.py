"""An exercise: a snippet, a question, and options that are run to see which of them hold."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from droplab.errors import ArgumentError

LEVELS = {1: "first steps", 2: "in practice", 3: "in depth"}
LETTERS = "ABCDEF"
PLACEHOLDER = "...  # one of the options goes here"


@dataclass(frozen=True)
class Code:
    """An option that is code: it runs after the snippet, and the exercise's check judges it.

    Args:
        text: The lines, as the reader sees them.
    """

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _code(self.text))


@dataclass(frozen=True)
class Claim:
    """An option in words, with the check that confirms or refutes it.

    Args:
        text: What is claimed.
        check: Python that runs after the snippet and sees its names; its last line is an
            expression, true if the claim holds.
        saw: One sentence with what was found, with names of the snippet or the check in braces,
            as in "{zeros:.1%} of y is zero". Without one, the exercise's own is used.
    """

    text: str
    check: str
    saw: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _flow(self.text))
        object.__setattr__(self, "check", _code(self.check))


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A question about dropout that a run answers.

    Which option is right is written nowhere in it. The options are either all code or all words.

    Args:
        number: Its number for the reader; given once and kept.
        name: One word for files and addresses, such as "eval-mode"; progress is kept by it.
        title: A few words.
        topic: The topic it belongs to, for choosing.
        level: 1, 2 or 3, see `LEVELS`.
        question: What is asked.
        options: Two to six, lettered from A.
        snippet: Python that runs before every option.
        then: Python that runs after an option that is code, as part of it: an error in it is the
            option's own.
        check: For options that are code: Python whose last line is an expression, true if the
            option does what the question asks for.
        saw: See `Claim`.
        hints: From vague to clear, shown one at a time.
        explanation: Why it is so.
        mistakes: What people commonly get wrong here.
        several: Whether more than one option may hold; otherwise exactly one must.
        seconds: Time limit of the snippet and an option after it, together.

    Raises:
        ArgumentError: If a field is missing, out of range, or does not fit the others.

    Example:
        >>> exercise = Exercise(
        ...     number=1, name="sums", title="Sums", topic="numbers", level=1, question="1 + 1?",
        ...     snippet="total = 1 + 1", saw="the total is {total}",
        ...     options=(Claim("2", "total == 2"), Claim("3", "total == 3")),
        ...     hints=("Count.",), explanation="It is.", mistakes=("Counting twice.",),
        ... )
        >>> exercise.letters
        'AB'
    """

    number: int
    name: str
    title: str
    topic: str
    level: int
    question: str
    options: Sequence[Code] | Sequence[Claim]
    hints: tuple[str, ...]
    explanation: str
    mistakes: tuple[str, ...]
    snippet: str = ""
    then: str = ""
    check: str = ""
    saw: str = ""
    several: bool = False
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("snippet", "then", "check"):
            object.__setattr__(self, name, _code(getattr(self, name)))
        for name in ("question", "explanation"):
            object.__setattr__(self, name, _flow(getattr(self, name)))
        for name in ("hints", "mistakes"):
            if isinstance(getattr(self, name), str):
                raise ArgumentError(
                    f"exercise {self.number}: expected a tuple of {name}, got a string; a tuple "
                    "of one needs a comma"
                )
            object.__setattr__(self, name, tuple(_flow(text) for text in getattr(self, name)))
        object.__setattr__(self, "options", tuple(self.options))
        problem = self._problem()
        if problem:
            raise ArgumentError(f"exercise {self.number}, '{self.title}': {problem}")

    @property
    def letters(self) -> str:
        """The letters of its options."""
        return LETTERS[: len(self.options)]

    @property
    def kind(self) -> Literal["code", "words"]:
        """What its options are."""
        return "code" if isinstance(self.options[0], Code) else "words"

    @property
    def listing(self) -> str:
        """The code that the reader sees, with a placeholder where an option's code goes."""
        if self.kind == "words":
            return self.snippet
        return "\n\n".join(part for part in (self.snippet, PLACEHOLDER, self.then) if part)

    def letters_of(self, answer: str) -> tuple[str, ...]:
        """Return the letters of an answer such as "B", "b" or, where several may hold, "A,C".

        Raises:
            ArgumentError: If it names no option, an option that is not there, or more than one
                where one is asked for.
        """
        where = f"exercise {self.number}"
        given = re.sub(r"[\s,+]+", "", answer).upper()
        ends = f"{self.letters[0]} to {self.letters[-1]}"
        if not given:
            raise ArgumentError(f"{where}: expected an option, {ends}, and got none")
        for letter in given:
            if letter not in self.letters:
                raise ArgumentError(f"{where}: expected an option, {ends}, got '{answer.strip()}'")
        letters = tuple(sorted(set(given)))
        if len(letters) > 1 and not self.several:
            raise ArgumentError(
                f"{where}: expected one option, {ends}, got {len(letters)} ('{answer.strip()}')"
            )
        return letters

    def to_dict(self) -> dict[str, Any]:
        """Return what may be shown before it is answered, for JSON and for pages."""
        return {
            "number": self.number,
            "name": self.name,
            "title": self.title,
            "topic": self.topic,
            "level": self.level,
            "question": self.question,
            "code": self.listing,
            "kind": self.kind,
            "several": self.several,
            "options": {
                letter: option.text
                for letter, option in zip(self.letters, self.options, strict=True)
            },
            "hints": len(self.hints),
        }

    def _problem(self) -> str | None:
        missing = [
            name
            for name in ("name", "title", "topic", "question", "hints", "explanation", "mistakes")
            if not getattr(self, name)
        ]
        if missing:
            return f"expected a {missing[0]}, got none"
        if self.level not in LEVELS:
            return f"expected a level of {', '.join(map(str, LEVELS))}, got {self.level!r}"
        if not 2 <= len(self.options) <= len(LETTERS):
            return f"expected 2 to {len(LETTERS)} options, got {len(self.options)}"
        if len({type(option) for option in self.options}) != 1:
            return "expected options that are all Code or all Claim, got both"
        if self.kind == "code" and not self.check:
            return "expected a check, as its options are code, got none"
        if self.kind == "words" and (self.check or self.then):
            return "expected no check and no then, as each Claim has a check of its own"
        if not self.saw and not all(getattr(option, "saw", None) for option in self.options):
            return "expected what was seen (saw), of the exercise or of each option, got none"
        return None


def _code(text: str) -> str:
    """Take away the indentation that all lines share, and empty lines around them."""
    return textwrap.dedent(text).strip("\n").rstrip()


def _flow(text: str) -> str:
    """Join the lines of each paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))
