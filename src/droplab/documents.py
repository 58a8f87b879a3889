"""TOML and JSON from outside: files and texts of any size and shape, read or refused."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from droplab.limits import DEPTH, TEXT_BYTES

_LONG_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){{{2 * DEPTH}}}")
"""A dotted key of very many parts, on which tomllib spends the square of their number."""


class DocumentError(ValueError):
    """A text is no document of its kind; the message completes "expected TOML, got ..."."""


def read_text(path: Path) -> str:
    """Return the text of a file that people write, in UTF-8.

    Raises:
        DocumentError: If it is no ordinary file (a pipe would be waited for), too large, not
            readable or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise DocumentError("no ordinary file")
        with path.open("rb") as file:
            content = file.read(TEXT_BYTES + 1)
    except DocumentError:
        raise
    except (OSError, ValueError) as error:
        raise DocumentError(f"a file that cannot be read: {error}") from None
    if len(content) > TEXT_BYTES:
        raise DocumentError(f"more than {TEXT_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"other bytes than UTF-8: {error.reason} at {error.start}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table that a TOML text describes.

    Raises:
        DocumentError: If it is not TOML, has a number that is too long, or is nested too deeply.

    Example:
        >>> parse_toml("lr = 0.1")
        {'lr': 0.1}
        >>> parse_toml(f"x = {'[' * 5000}")
        Traceback (most recent call last):
        droplab.documents.DocumentError: tables or lists that are nested more than 32 deep
    """
    if len(text) > TEXT_BYTES:
        raise DocumentError(f"more than {TEXT_BYTES // 2**20} MiB")
    if _LONG_KEY.search(text):
        raise DocumentError(_TOO_DEEP)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None
    except ValueError as error:  # a number of thousands of digits is a plain one
        raise DocumentError(str(error)) from None
    return _shallow(document)


def parse_json(text: str) -> Any:
    """Return what a JSON text describes.

    Raises:
        DocumentError: If it is not JSON, has a number that is too long, or is nested too deeply.

    Example:
        >>> parse_json('{"lr": [0.1]}')
        {'lr': [0.1]}
    """
    try:
        document = json.loads(text)
    except RecursionError:
        raise DocumentError(_TOO_DEEP) from None
    except ValueError as error:
        raise DocumentError(str(error)) from None
    return _shallow(document)


_TOO_DEEP = f"tables or lists that are nested more than {DEPTH} deep"


def _shallow(document: Any) -> Any:
    """Return the document if whoever walks through it may do so by recursion."""
    level: list[Any] = [document]
    for _ in range(DEPTH + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, (dict, list))
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return document
    raise DocumentError(_TOO_DEEP)
