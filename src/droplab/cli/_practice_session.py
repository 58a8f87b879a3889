"""One exercise after the other, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from droplab.cli._exercise import ExerciseView
from droplab.errors import ArgumentError
from droplab.practice import Exercise, Progress, Runner


class _Quit(Exception):  # no error: the reader has had enough
    pass


class Session:
    """Asks, runs, shows, and keeps the progress.

    Args:
        exercises: What to choose from; what is not solved yet comes first.
        console: A terminal.
    """

    def __init__(self, exercises: Sequence[Exercise], console: Console) -> None:
        self._exercises = exercises
        self._console = console
        self._view = ExerciseView(console)
        self._progress = Progress()
        self._warned = ""

    def run(self) -> None:
        """Go through the exercises until they are done or the reader quits."""
        self._warn()
        solved = self._progress.solved
        order = [item for item in self._exercises if item.name not in solved]
        if not order:
            self._console.print("You have solved all of these. Here they are again.\n")
            order = list(self._exercises)
        try:
            with Runner() as runner:
                wrong = self._round(order, runner)
                if wrong:
                    self._console.print("\nOnce more what was not right:")
                    self._round(wrong, runner)
        except _Quit:
            pass
        self._sum_up()

    def _round(self, order: Sequence[Exercise], runner: Runner) -> list[Exercise]:
        """Ask each once and return those whose answer was not right."""
        wrong = list[Exercise]()
        for index, exercise in enumerate(order):
            runner.warm(exercise)
            self._console.print(Rule(Text(f"{index + 1} of {len(order)}"), style="dim"))
            self._view.title(exercise)
            self._view.question(exercise)
            letters = self._ask(exercise)
            if not letters:
                continue
            with self._console.status("running all options"):
                result = runner.run(exercise, letters)
            self._progress.add(result)
            self._view.result(result)
            self._warn()
            if result.correct is False:
                wrong.append(exercise)
            self._read("\nEnter: go on   q: quit ")
        return wrong

    def _ask(self, exercise: Exercise) -> str:
        """Return the letters of an answer, or nothing if the exercise is skipped."""
        first, last = exercise.letters[0], exercise.letters[-1]
        wanted = f"one or more of {first} to {last}" if exercise.several else f"{first} to {last}"
        hints = iter(exercise.hints)
        while True:
            word = self._read(f"\nYour answer ({wanted};  h: hint   s: skip   q: quit) ")
            if word == "s":
                return ""
            if word == "h":
                self._view.hint(next(hints, "that was all; try one, and see what happens."))
                continue
            try:
                return "".join(exercise.letters_of(word))
            except ArgumentError as error:
                self._console.print(Text(str(error), "yellow"))

    def _read(self, prompt: str) -> str:
        try:
            word = self._console.input(Text(prompt, "bold")).strip().lower()
        except EOFError:
            self._console.print()
            raise _Quit from None
        if word in ("q", "quit", "exit"):
            raise _Quit
        return word

    def _sum_up(self) -> None:
        solved = sum(item.name in self._progress.solved for item in self._exercises)
        self._console.print(
            f"\n{solved} of {len(self._exercises)} solved. Your progress is in "
            f"{self._progress.path}",
            highlight=False,
            soft_wrap=True,
        )

    def _warn(self) -> None:
        """Say what is wrong with the progress file, once."""
        if self._progress.warning and self._progress.warning != self._warned:
            self._warned = self._progress.warning
            self._console.print(Text(f"warning: {self._warned}", "yellow"))
