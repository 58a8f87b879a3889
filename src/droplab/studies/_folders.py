"""Where runs go, and what the files of a replica are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from droplab.recipe import Recipe
from droplab.results import RunStore

RUNS = Path("runs")
"""Parent of the folders that runs choose for themselves, in the working directory."""


def default_folder(recipe: Recipe, *, existing: bool = False) -> Path:
    """Return `runs/<name>-<digest>`, numbered: the next free one, or the newest that exists.

    Args:
        recipe: The recipe.
        existing: Return the newest existing folder of this very recipe, to resume it; the first
            name when there is none.

    Example:
        >>> from droplab.recipe import load
        >>> default_folder(load("digits"), existing=True).name.startswith("digits-")
        True
    """
    first = RUNS / f"{slug(recipe.name)}-{recipe.digest[:8]}"
    free = free_folder(first)
    if not existing or free == first:
        return free
    number = int(free.name.rpartition("-")[2]) - 1
    return first if number == 1 else first.with_name(f"{first.name}-{number}")


def free_folder(first: Path) -> Path:
    """Return `first` if nothing is there, else the first of `first-2`, `first-3` ... that is free.

    Example:
        >>> free_folder(Path("surely/not/there")).name
        'there'
    """
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def slug(name: str) -> str:
    """Return `name` as it can stand in a file name.

    Example:
        >>> slug("input 0.2, 0.3-0.2")
        'input-0.2-0.3-0.2'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "x"


def file_stem(recipe: Recipe, arm: str, seed: int) -> str:
    """Return the beginning of the file names of one replica.

    The number of the arm keeps two arms apart whose names differ in nothing a file name can hold.
    """
    number = [other.name for other in recipe.arms].index(arm)
    return f"{number}-{slug(arm)}-seed{seed}"


def weights_path(store: RunStore, recipe: Recipe, arm: str, seed: int, which: str) -> Path:
    """Return where the "last" or "best" weights of a replica are, those of its stopped epoch."""
    return weights_path_in(store.folder, recipe, arm, seed, which)


def weights_path_in(folder: Path, recipe: Recipe, arm: str, seed: int, which: str) -> Path:
    """Return the same for the folder of a run that may be finished."""
    return folder / "weights" / f"{file_stem(recipe, arm, seed)}-{which}.safetensors"


def checkpoint_name(recipe: Recipe, members: Sequence[tuple[str, int]], epoch: int) -> str:
    """Return the name of the checkpoint of replicas (arm, seed) that are trained together."""
    count = f"-{len(members)}-replicas" if len(members) > 1 else ""
    return f"{file_stem(recipe, *members[0])}{count}-epoch{epoch}.safetensors"
