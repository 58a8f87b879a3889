"""The events of a run, numbered, so that a page that was away gets what it missed."""

from __future__ import annotations

import itertools
import json
import secrets
from collections import deque
from typing import Any

KEPT = 400
"""Events that are kept: more than a minute of them at full speed."""

_logs = itertools.count(1)


class EventLog:
    """The latest events; each has an id that no other log of any server has had.

    Example:
        >>> log = EventLog()
        >>> known = log.newest
        >>> log.add("state", {"state": "done"})
        >>> [name for _, name, _ in log.since(known)], log.since("unknown")
        (['state'], None)
    """

    def __init__(self) -> None:
        self._name = f"{secrets.token_hex(4)}-{next(_logs)}"
        self._events: deque[tuple[int, str, str]] = deque(maxlen=KEPT)
        self._count = 0

    @property
    def newest(self) -> str:
        """The id of the latest event, or of the beginning."""
        return f"{self._name}-{self._count}"

    def add(self, event: str, content: dict[str, Any]) -> None:
        """Add an event."""
        self._count += 1
        self._events.append((self._count, event, dumps(content)))

    def since(self, known: str) -> list[tuple[str, str, str]] | None:
        """Return (id, event, content) of what came after `known`.

        None if the id is of another log, or so old that events are missing: then only a snapshot
        will do.
        """
        name, _, number = known.rpartition("-")
        if name != self._name or not number.isdecimal() or len(number) > 15:
            return None
        last = int(number)
        oldest = self._events[0][0] if self._events else self._count + 1
        if not oldest - 1 <= last <= self._count:
            return None
        return [(f"{name}-{at}", event, text) for at, event, text in self._events if at > last]


def dumps(content: Any) -> str:
    """Return compact JSON on one line."""
    return json.dumps(content, allow_nan=False, separators=(",", ":"))
