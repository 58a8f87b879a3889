"""How an exercise and its outcome look on a terminal, and in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from droplab.practice import LEVELS, Exercise, Progress, Result

VERDICTS = {True: ("yes", "green"), False: ("no", "red"), None: ("unknown", "yellow")}


class ExerciseView:
    """Prints exercises.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def list(self, exercises: Sequence[Exercise], progress: Progress) -> None:
        """Print a line for each exercise, level by level."""
        for level, words in LEVELS.items():
            chosen = [item for item in exercises if item.level == level]
            if not chosen:
                continue
            self._console.print(Text(f"Level {level}: {words}", "bold"))
            table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
            table.add_column(justify="right", width=4)
            table.add_column()
            table.add_column(style="dim")
            table.add_column()
            for item in chosen:
                record = progress.records.get(item.name)
                state = Text("")
                if item.name in progress.solved:
                    state = Text("solved", "green")
                elif record:
                    state = Text("tried", "yellow")
                table.add_row(str(item.number), item.title, item.topic, state)
            self._console.print(table)
            self._console.print()

    def title(self, exercise: Exercise) -> None:
        """Print the exercise's number, title, topic and level."""
        line = Text.assemble(
            (f"{exercise.number}. {exercise.title}", "bold"),
            (f"   {exercise.topic}, level {exercise.level}", "dim"),
        )
        self._console.print(line)

    def question(self, exercise: Exercise, *, code: bool = True) -> None:
        """Print what is asked, with its options, but for the code if that is not wanted."""
        if code and exercise.listing:
            self._console.print()
            self._console.print(Padding(_python(exercise.listing), (0, 0, 0, 4)))
        self._console.print()
        self._console.print(self._prose(exercise.question))
        self._console.print()
        table = _rows()
        for letter, option in zip(exercise.letters, exercise.options, strict=True):
            shown: RenderableType = self._prose(option.text)
            if exercise.kind == "code":
                # A blank line sets pieces of code apart that are longer than one line.
                below = 1 if "\n" in option.text else 0
                shown = Padding(_python(option.text), (0, 0, below, 0))
            table.add_row(Text(letter, "bold"), shown)
        self._console.print(table)

    def hint(self, text: str) -> None:
        """Print a hint."""
        self._console.print(self._prose(f"Hint: {text}"))

    def result(self, result: Result) -> None:
        """Print what the run found, whether the answer was right, and why it is so."""
        self._verdict(result)
        if result.printed.strip():
            self._console.print(Text("\nThe code printed", "bold"))
            self._console.print(Padding(Text(result.printed.rstrip()), (0, 0, 0, 4)))
        self._console.print(Text("\nWhat happened", "bold"))
        seen = {item.happened for item in result.outcomes}
        # One and the same finding decides all the claims: it is told once, below them.
        common = len(seen) == 1 and result.exercise.kind == "words"
        table = _rows(verdicts=True)
        for item in result.outcomes:
            word, colour = VERDICTS[item.holds]
            told: RenderableType = Text(item.happened)
            if common:
                told = self._prose(item.text)
            elif item.printed.strip():
                told = Group(told, Text(item.printed.strip(), "dim"))
            table.add_row(Text(item.letter, "bold"), Text(word, colour), told)
        self._console.print(table)
        if common:
            self._console.print(Padding(Text(f"Seen: {seen.pop()}."), (0, 0, 0, 2)))
        self._console.print(Text("\nWhy", "bold"))
        self._console.print(self._prose(result.exercise.explanation))
        self._console.print(Text("\nCommon mistakes", "bold"))
        table = _rows()
        for mistake in result.exercise.mistakes:
            table.add_row("-", self._prose(mistake))
        self._console.print(table)

    def _verdict(self, result: Result) -> None:
        answer = _words(result.answer)
        if result.undecided:
            line = Text.assemble(
                (f"Your answer {answer} could not be judged: ", "bold yellow"),
                f"{result.undecided} (torch {result.torch or 'unknown'}).",
            )
        elif result.correct:
            line = Text(f"{answer}: right.", "bold green")
        else:
            be = "is" if len(result.right) == 1 else "are"
            line = Text(f"{answer}: not right. It {be} {_words(result.right)}.", "bold red")
        self._console.print(line)

    def _prose(self, text: str) -> Text:
        """Set what stands in backticks apart; a terminal needs no backticks for that."""
        if not self._console.is_terminal:
            return Text(text)
        shown = Text()
        for index, part in enumerate(re.split(r"`([^`]*)`", text)):
            shown.append(part, "cyan" if index % 2 else "")
        return shown


def _rows(*, verdicts: bool = False) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=3, justify="right")
    if verdicts:
        table.add_column(no_wrap=True)
    table.add_column()
    return table


def _python(code: str) -> Syntax:
    return Syntax(code, "python", theme="ansi_dark", background_color="default", word_wrap=True)


def _words(letters: Sequence[str]) -> str:
    *most, last = letters
    return f"{', '.join(most)} and {last}" if most else last
