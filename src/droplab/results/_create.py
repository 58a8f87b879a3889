"""How a run's folder comes to be: complete, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from droplab.errors import RunError
from droplab.results import _schema
from droplab.results._whole_file import remove_temporary, whole_file

FOLDERS = ("weights", "checkpoints")


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        RunError: If it does.
    """
    if (folder / _schema.DATABASE).exists():
        raise RunError(f"{folder}: already holds a run; resume it, or choose another folder")


def create_folder(
    folder: Path,
    values: Mapping[str, str],
    members: Sequence[tuple[str, int]],
    notes: Mapping[str, str],
) -> None:
    """Write recipe.toml, an empty run.sqlite and the folders beside them.

    The database is made under another name and renamed, so that a driver killed here leaves
    nothing that looks like a run.

    Args:
        folder: Where.
        values: The rows of table `run`, "recipe" among them.
        members: (arm, seed) of every replica.
        notes: Texts by name.
    """
    check_free(folder)
    database = folder / _schema.DATABASE
    if not members or len(set(members)) != len(members):
        raise RunError(f"{folder}: expected each (arm, seed) once, got {list(members)!r}")
    created = datetime.now(UTC).isoformat(timespec="seconds")
    recipe_toml = values["recipe"]
    recipe = folder / _schema.RECIPE
    try:
        if recipe.exists() and recipe.read_bytes() != recipe_toml.encode():
            raise RunError(
                f"{recipe}: is there already and is not the recipe of this run, it would be "
                "overwritten; choose another folder with --out"
            )
        prepare_folders(folder)
        with whole_file(recipe) as part:
            part.write_bytes(recipe_toml.encode())
        with whole_file(database) as part, _schema.plain_errors(database):
            _write(part, {**values, "created": created}, members, notes)
    except OSError as error:
        raise RunError(
            f"{folder}: the run cannot be created ({error.strerror or error}); "
            "choose another folder with --out"
        ) from error


def prepare_folders(folder: Path) -> None:
    """Make the folders of a run, and remove what a killed driver left half written.

    Raises:
        RunError: One of them cannot be made, or is a link: files of somebody else may lie behind
            it, or the checkpoints of another run, which have the same names.
    """
    for path in (folder / name for name in FOLDERS):
        if path.is_symlink():
            raise RunError(
                f"{path}: expected a folder of this run alone, found a link; put a folder in its "
                "place, or keep the whole run elsewhere with --out"
            )
        try:
            path.mkdir(exist_ok=True)
            remove_temporary(path)
        except OSError as error:
            raise RunError(
                f"{path}: expected a folder that can be written to ({error.strerror or error}); "
                "check what is there and its permissions"
            ) from error
    remove_temporary(folder)


def _write(
    path: Path,
    values: Mapping[str, str],
    members: Sequence[tuple[str, int]],
    notes: Mapping[str, str],
) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        _schema.create_tables(connection)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO run VALUES (?, ?)", values.items())
        connection.executemany(
            "INSERT INTO members (position, arm, seed) VALUES (?, ?, ?)",
            [(i, arm, seed) for i, (arm, seed) in enumerate(members)],
        )
        connection.executemany("INSERT INTO notes VALUES (?, ?)", notes.items())
        connection.execute("COMMIT")
    finally:
        connection.close()
