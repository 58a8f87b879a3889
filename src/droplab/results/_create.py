"""How a run's folder comes to be: complete, or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from droplab.errors import RunError
from droplab.results import _schema


def create_folder(
    folder: Path,
    recipe_toml: str,
    digest: str,
    environment: Mapping[str, Any],
    members: Sequence[tuple[str, int]],
) -> None:
    """Write recipe.toml, an empty run.sqlite and the folders beside them.

    The database is made under another name and renamed, so that a driver killed here leaves
    nothing that looks like a run.
    """
    database = folder / _schema.DATABASE
    if database.exists():
        raise RunError(f"{folder}: already holds a run; resume it, or choose another folder")
    if not members or len(set(members)) != len(members):
        raise RunError(f"{folder}: expected each (arm, seed) once, got {list(members)!r}")
    values = {
        "digest": digest,
        "recipe": recipe_toml,
        "environment": json.dumps(dict(environment), allow_nan=False),
        "plan": "{}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    part = folder / (_schema.DATABASE + ".part")
    try:
        for name in ("weights", "checkpoints"):
            (folder / name).mkdir(exist_ok=True)
        part.unlink(missing_ok=True)
        with _schema.plain_errors(part):
            _write(part, values, members)
        recipe = folder / (_schema.RECIPE + ".part")
        recipe.write_text(recipe_toml, encoding="utf-8")
        recipe.replace(folder / _schema.RECIPE)
        part.replace(database)
        _sync(folder)
    except OSError as error:
        raise RunError(
            f"{folder}: the run cannot be created ({error.strerror or error}); "
            "choose another folder with --out"
        ) from error


def _write(path: Path, values: Mapping[str, str], members: Sequence[tuple[str, int]]) -> None:
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
        connection.execute("COMMIT")
    finally:
        connection.close()


def _sync(folder: Path) -> None:
    """Make the renames lasting, where a folder can be synchronised at all."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
