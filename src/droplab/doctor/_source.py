"""A source file as text: encoding, lines, offsets, notebook cells."""

from __future__ import annotations

import ast
import bisect
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from droplab.doctor._notebook import Cell, cells_of

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class UnreadableError(Exception):
    """A file that is not text, or a notebook that is not one; `line` is 1 unless known."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Source:
    """The text of a file, with the arithmetic between syntax positions and characters.

    Args:
        text: The whole text; of a notebook, its code cells one after the other.
        path: How the file was named.
        package: Dotted package that the file lies in, for relative imports.
        encoding: How to write it back.
        cells: The cells of a notebook; empty for a plain file.
    """

    text: str
    path: str = "<text>"
    package: str = ""
    encoding: str = "utf-8"
    cells: list[Cell] = field(default_factory=list[Cell])

    @property
    def notebook(self) -> bool:
        """Whether the text came from a notebook."""
        return bool(self.cells)

    @cached_property
    def lines(self) -> list[str]:
        """The lines with their ends, split where Python's parser splits them."""
        return _LINE.findall(self.text)

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [], 0
        for line in self.lines:
            starts.append(at)
            at += len(line)
        starts.append(at)
        return starts

    def line(self, number: int) -> str:
        """Return line `number` (from 1) without its end."""
        return self.lines[number - 1].rstrip("\r\n") if 0 < number <= len(self.lines) else ""

    def offset(self, line: int, byte: int) -> int:
        """Return the offset in characters of a syntax position, whose columns count bytes."""
        if line > len(self.lines):
            return len(self.text)
        text = self.lines[line - 1]
        start = self._starts[line - 1]
        if text.isascii():
            return start + min(byte, len(text))
        return start + len(text.encode("utf-8", "surrogatepass")[:byte].decode("utf-8", "ignore"))

    def place(self, offset: int) -> tuple[int, int]:
        """Return (line, column), both from 1 and in characters, of an offset in the text."""
        line = max(bisect.bisect_right(self._starts[:-1], offset), 1)
        return line, offset - self._starts[line - 1] + 1

    def position(self, line: int, byte: int) -> tuple[int, int]:
        """Return (line, column from 1 in characters) of a syntax position."""
        start = self._starts[min(line, len(self._starts)) - 1]
        return line, self.offset(line, byte) - start + 1

    def span(self, node: Any) -> tuple[int, int]:
        """Return the offsets of a syntax node's first character and of the one after its last."""
        return (
            self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset),
        )

    def cell(self, line: int) -> int:
        """Return the number of the notebook cell that a line of the text belongs to, or 0."""
        return self._cell(line).number if self.cells else 0

    def cell_line(self, line: int) -> int:
        """Return the line within its cell, or the line itself outside notebooks."""
        return line - self._cell(line).first + 1 if self.cells else line

    def _cell(self, line: int) -> Cell:
        at = bisect.bisect_right([cell.first for cell in self.cells], line) - 1
        return self.cells[max(at, 0)]

    def parse(self) -> ast.Module:
        """Return the syntax tree; raises SyntaxError as Python's parser does."""
        return ast.parse(self.text, filename=self.path)


def decode(data: bytes, path: str, *, notebook: bool = False, package: str = "") -> Source:
    """Make a source of raw bytes.

    Raises:
        UnreadableError: The bytes are not text in the declared encoding, or not a notebook.
    """
    if notebook:
        try:
            text, cells = cells_of(data)
        except ValueError as error:
            raise UnreadableError(f"not a notebook: {error}") from None
        return Source(text, path, package, cells=cells)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except SyntaxError as error:
        raise UnreadableError(str(error)) from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UnreadableError(f"not valid {error.encoding} text", line) from None
    except LookupError as error:
        raise UnreadableError(str(error)) from None
    return Source(text, path, package, encoding)


_packages: dict[Path, str] = {}


def package_of(path: Path) -> str:
    """Return the dotted package that a file lies in, or ""."""
    folder = path.parent
    known = _packages.get(folder)
    if known is None:
        parts: list[str] = []
        at = folder
        while (at / "__init__.py").is_file() and at.name:
            parts.append(at.name)
            at = at.parent
        known = _packages[folder] = ".".join(reversed(parts))
    return known
