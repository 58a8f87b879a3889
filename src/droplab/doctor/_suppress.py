"""Comments that silence a check: `# droplab: ignore[DRP001]`."""

from __future__ import annotations

import io
import re
import tokenize
from functools import cached_property

from droplab.doctor._codes import expand
from droplab.doctor._finding import Finding
from droplab.doctor._source import Source
from droplab.errors import ArgumentError

_COMMENT = re.compile(r"#\s*droplab:\s*(ignore(?:-file)?)\b(?:\[([^\]]*)\])?", re.IGNORECASE)
_NOQA = re.compile(
    r"#\s*noqa(?P<colon>\s*:\s*(?P<codes>[A-Z]+[0-9]+(?:[\s,]+[A-Z]+[0-9]+)*))?(?!\w)",
    re.IGNORECASE,
)
_ALL = frozenset({"ALL"})


class Suppressions:
    """Which codes are silenced in which lines of a file.

    `# droplab: ignore` silences every check in its line, `# droplab: ignore[DRP001, DRP014]` the
    named ones, `# droplab: ignore-file[...]` the same for the whole file. A code that does not
    exist silences nothing. `# noqa` and `# noqa: DRP001` mean what they mean to flake8 and ruff.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.whole: frozenset[str] = frozenset()

    @cached_property
    def lines(self) -> dict[int, frozenset[str]]:
        """The codes by line; read when the first finding asks for them, as most files have none."""
        found: dict[int, frozenset[str]] = {}
        source = self._source
        if "droplab:" not in source.text and "noqa" not in source.text.lower():
            return found
        for line, comment in _comments(source):
            other = _NOQA.search(comment)
            if other is not None:
                named = other["codes"]
                codes = _codes(re.sub(r"[\s,]+", ",", named) if named else None)
                found[line] = found.get(line, frozenset()) | codes
            match = _COMMENT.search(comment)
            if match is None:
                continue
            codes = _codes(match[2])
            if match[1].lower() == "ignore-file":
                self.whole |= codes
            else:
                found[line] = found.get(line, frozenset()) | codes
        return found

    def __call__(self, finding: Finding, first: int, last: int) -> bool:
        """Return whether a finding in the lines `first` to `last` is silenced."""
        lines = self.lines
        if self.whole & {finding.code, "ALL"}:
            return True
        return any(lines.get(line, frozenset()) & {finding.code, "ALL"} for line in {first, last})


def silenced_line(line: str, code: str) -> str:
    """Return a line with a comment that silences a check, beside what it silences already.

    Example:
        >>> silenced_line("drop = nn.Dropout(50)", "DRP011")
        'drop = nn.Dropout(50)  # noqa: DRP011'
        >>> silenced_line("drop = nn.Dropout(50)  # noqa: E501", "DRP011")
        'drop = nn.Dropout(50)  # noqa: E501, DRP011'
    """
    found = _NOQA.search(line)
    if found is not None and found["codes"]:
        return f"{line[: found.end()]}, {code}{line[found.end() :]}"
    return f"{line.rstrip()}  # noqa: {code}"


def _codes(text: str | None) -> frozenset[str]:
    if text is None:
        return _ALL
    found: frozenset[str] = frozenset()
    for item in text.split(","):
        try:
            found |= expand([item], where="comment") if item.strip() else frozenset()
        except ArgumentError:
            continue
    return found


def _comments(source: Source) -> list[tuple[int, str]]:
    try:
        tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
        return [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError, ValueError):
        return [
            (number, line[line.index("#") :])
            for number, line in enumerate(source.lines, 1)
            if "#" in line
        ]
