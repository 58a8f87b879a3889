"""Jupyter notebooks as Python text; they are read, never written."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any, cast

_SHELL = re.compile(r"^(\s*)(?:[%!]|\?|\S+\?{1,2}\s*$)")
_ASSIGNED = re.compile(r"^(\s*)([A-Za-z_]\w*(?:\s*,\s*\w+)*)\s*=\s*[%!].*$")


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell: its number among all cells (from 1) and its first line in the joined text."""

    number: int
    first: int


def cells_of(data: bytes) -> tuple[str, list[Cell]]:
    """Return the code cells of a notebook as one text, and where each begins.

    Magics and shell lines become `pass` or `None`, so that lines keep their numbers. A cell that
    still does not parse (another language, a half-written line) is left out; the others are
    checked.

    Raises:
        ValueError: The bytes are not a notebook.
    """
    try:
        document = json.loads(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    content = cast("dict[str, Any]", document)
    cells = content.get("cells")
    if cells is None and isinstance(content.get("worksheets"), list):
        # Version 3 keeps its cells in worksheets.
        sheets = [sheet for sheet in content["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets for cell in sheet.get("cells") or ()]
    if not isinstance(cells, list):
        raise ValueError("it has no list of cells")
    texts: list[str] = []
    found: list[Cell] = []
    line = 1
    for number, cell in enumerate(cast("list[Any]", cells), 1):
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        text = python_of(_joined(cell.get("source", cell.get("input", ""))))
        if not _parses(text):
            continue
        text = text.rstrip("\n") + "\n"
        found.append(Cell(number, line))
        texts.append(text)
        line += text.count("\n")
    # A notebook without code still is one: an empty text with one empty cell.
    return "".join(texts), found or [Cell(1, 1)]


def python_of(text: str) -> str:
    r"""Return a cell's text with magics and shell lines replaced, line for line.

    Example:
        >>> print(python_of("%matplotlib inline\nfiles = !ls\nx = 1"))
        pass
        files = None
        x = 1
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip().startswith("%%"):
        first = text.lstrip().splitlines()[0]
        if not re.match(r"%%(time|timeit|capture|prun)\b", first):
            return "\n" * text.count("\n")
    if _parses(text):
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        assigned = _ASSIGNED.match(line)
        shell = _SHELL.match(line)
        if assigned:
            lines.append(f"{assigned[1]}{assigned[2]} = None")
        elif shell:
            lines.append(f"{shell[1]}pass")
        else:
            lines.append(line)
    return "\n".join(lines)


def _joined(source: object) -> str:
    if isinstance(source, list):
        return "".join(str(part) for part in cast("list[object]", source))
    return str(source)


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
