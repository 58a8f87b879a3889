"""How library code tells of its progress without printing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""progress("fetching mnist", done, total): bytes or items; total is None while it is unknown."""


def silent(_what: str, _done: int, _total: int | None) -> None:
    """Tell nobody."""
