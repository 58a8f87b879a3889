"""What of a file the patch of a class can rest on: all but functions that nothing there names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_MARK = b"#droplab:"
_PLACE = re.compile(rb"(?<![^\r\n])" + _MARK + rb"(\d+)")


def outline(data: bytes, tree: ast.Module, name: str) -> bytes:
    """Return a file with a comment in place of each line that cannot matter to a class.

    Those are lines of functions at its top that neither `name` nor any class or other statement
    needs. LibCST takes milliseconds for a hundred lines, and most scripts train in the same file.
    Every line that is left keeps its number.

    Args:
        data: The file.
        tree: The same, parsed.
        name: What stands at its top and is asked for.
    """
    if _MARK in data:
        return data
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in tree.body if isinstance(node, kinds)]
    used = {name}.union(*[_names(node) for node in tree.body if not isinstance(node, kinds)])
    while needed := [node for node in functions if node.name in used or _is_global(node)]:
        used = used.union(*map(_names, needed))
        functions = [node for node in functions if node not in needed]
    lines = data.splitlines(keepends=True)
    for node in functions:
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        for at in range(first - 1, node.end_lineno or 0):
            end = lines[at][len(lines[at].rstrip(b"\r\n")) :]
            lines[at] = _MARK + str(at).encode() + end
    return b"".join(lines)


def filled_in(changed: bytes, data: bytes) -> bytes:
    """Return what became of an outline, with the lines that it left out.

    Args:
        changed: The outline, with a change.
        data: The file that it was made of.
    """
    if _MARK in data:
        return changed
    lines = data.splitlines()
    return _PLACE.sub(lambda found: lines[int(found[1])], changed)


def _names(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _is_global(node: ast.AST) -> bool:
    """Whether a function may set what others read."""
    return any(isinstance(each, ast.Global) for each in ast.walk(node))
