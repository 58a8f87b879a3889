"""`droplab practice`: questions about dropout whose answers are run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from droplab import practice
from droplab.cli._exercise import ExerciseView
from droplab.cli._practice_session import Session
from droplab.errors import ArgumentError
from droplab.practice import Exercise, Progress


@click.command("practice")
@click.option("--topic", help="Only the exercises about this; --list shows the topics.")
@click.option("--level", type=int, help="Only the exercises of level 1, 2 or 3.")
@click.option("--list", "wants_list", is_flag=True, help="List the exercises and your progress.")
@click.option("--show", metavar="N", help="Show exercise N.")
@click.option("--hint", metavar="N", help="Show the hints of exercise N.")
@click.option(
    "--answer",
    "answers",
    metavar="N=X",
    multiple=True,
    help="Answer exercise N with option X, as in 3=B; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    topic: str | None,
    level: int | None,
    wants_list: bool,
    show: str | None,
    hint: str | None,
    answers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Practise: answer a question, then see every option run.

    Without an option it asks one question after the other, on a terminal. N is an exercise's
    number or name.
    """
    given = [
        name
        for name, value in {
            "--list": wants_list,
            "--show": show,
            "--hint": hint,
            "--answer": answers,
        }.items()
        if value
    ]
    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} do not go together; choose one")
    if given and given != ["--list"] and (topic or level is not None):
        raise click.UsageError(
            f"--topic and --level choose among the exercises, and {given[0]} names one; leave "
            "one of them out"
        )
    console = Console()
    if answers:
        _answer(answers, console, as_json=as_json)
    elif hint is not None:
        _hint(practice.find(hint), console, as_json=as_json)
    elif show is not None:
        _show(practice.find(show), console, as_json=as_json)
    else:
        chosen = practice.exercises(topic=topic, level=level)
        if wants_list or as_json or not (sys.stdin.isatty() and console.is_terminal):
            _list(chosen, console, as_json=as_json)
        else:
            Session(chosen, console).run()


def _list(chosen: Sequence[Exercise], console: Console, *, as_json: bool) -> None:
    progress = Progress()
    if as_json:
        records = progress.to_dict()["exercises"]
        _print_json(
            {
                "exercises": [
                    {
                        **item.to_dict(),
                        "solved": item.name in progress.solved,
                        "progress": records.get(item.name),
                    }
                    for item in chosen
                ],
                "topics": list(practice.topics()),
                "levels": {str(number): words for number, words in practice.LEVELS.items()},
                "progress": {"file": str(progress.path), "warning": progress.warning or None},
            }
        )
        return
    _warn(progress)
    ExerciseView(console).list(chosen, progress)
    solved = sum(item.name in progress.solved for item in chosen)
    console.print(f"{solved} of {len(chosen)} solved.", highlight=False)
    first = next((item for item in chosen if item.name not in progress.solved), chosen[0])
    console.print(
        f"Read one: droplab practice --show {first.number}\n"
        f"Answer it: droplab practice --answer {first.number}={first.letters[0]}\n"
        "One after the other, on a terminal: droplab practice",
        highlight=False,
        soft_wrap=True,
    )


def _show(exercise: Exercise, console: Console, *, as_json: bool) -> None:
    if as_json:
        _print_json(exercise.to_dict())
        return
    view = ExerciseView(console)
    view.title(exercise)
    view.question(exercise)
    several = ", or several" if exercise.several else ""
    console.print(
        f"\nAnswer with one of the letters{several}: droplab practice --answer "
        f"{exercise.number}={exercise.letters[0]}",
        highlight=False,
        soft_wrap=True,
    )


def _hint(exercise: Exercise, console: Console, *, as_json: bool) -> None:
    if as_json:
        _print_json({"number": exercise.number, "name": exercise.name, "hints": exercise.hints})
        return
    view = ExerciseView(console)
    view.title(exercise)
    for text in exercise.hints:
        view.hint(text)


def _answer(answers: Sequence[str], console: Console, *, as_json: bool) -> None:
    chosen = [_parsed(answer) for answer in answers]
    progress = Progress()
    _warn(progress)
    view = ExerciseView(console)
    results = list[dict[str, Any]]()
    with practice.Runner() as runner:
        for index, (exercise, letters) in enumerate(chosen):
            if as_json:
                result = runner.run(exercise, letters)
            else:
                if index:
                    console.print()
                view.title(exercise)
                view.question(exercise, code=False)
                console.print()
                with console.status("running all options"):
                    result = runner.run(exercise, letters)
                view.result(result)
            progress.add(result)
            results.append(result.to_dict())
    _warn(progress)
    if as_json:
        _print_json(
            {
                "answers": results,
                "progress": {
                    "file": str(progress.path),
                    "warning": progress.warning or None,
                    "solved": sorted(progress.solved),
                },
            }
        )


def _parsed(answer: str) -> tuple[Exercise, str]:
    key, equals, letters = answer.partition("=")
    if not equals or not key.strip():
        raise ArgumentError(
            f"--answer: expected an exercise and an option, such as 3=B, got '{answer}'"
        )
    exercise = practice.find(key)
    return exercise, "".join(exercise.letters_of(letters))


def _warn(progress: Progress) -> None:
    if progress.warning:
        click.echo(f"warning: {progress.warning}", err=True)


def _print_json(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
