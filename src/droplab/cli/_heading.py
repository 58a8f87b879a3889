"""What is printed of an experiment first: its size, and what its seeds will see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from droplab.recipe import Recipe
    from droplab.results import RunResult
    from droplab.verdict import Foresight

_NEWEST = 20
"""Folders that are looked at for an earlier run."""


def print_heading(
    console: Console, recipe: Recipe, arms: Sequence[str], foresight: Foresight
) -> None:
    """Print what an experiment is, and what its seeds will see."""
    from rich.markup import escape

    from droplab.verdict import units_text

    counts = (
        _count(len(arms), "arm"),
        units_text(len(recipe.seeds), recipe.data.folds),
        _count(recipe.epochs, "epoch"),
    )
    console.print(
        f"[bold]{escape(recipe.title or recipe.name)}[/bold]\n{' x '.join(counts)}"
        f"\n{escape(foresight.sentence)}",
        highlight=False,
        soft_wrap=True,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def earlier_run(recipe: Recipe) -> RunResult | None:
    """Return the newest run of a recipe in `runs` that tells of its spread, whatever its arms."""
    from droplab.errors import DroplabError
    from droplab.results import load
    from droplab.verdict import foresee

    try:
        folders = [each for each in Path("runs").iterdir() if (each / "run.sqlite").is_file()]
        folders.sort(key=lambda each: (each / "run.sqlite").stat().st_mtime, reverse=True)
    except OSError:
        return None
    for folder in folders[:_NEWEST]:
        try:
            result = load(folder)
            foresee(recipe, None, result)
        except DroplabError:  # of another recipe, still without rows, or not readable
            continue
        return result
    return None
