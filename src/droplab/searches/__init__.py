"""Searches over plans: Optuna proposes, the engine trains, and the verdict is on fresh ground."""

from __future__ import annotations

from droplab.searches._asked import Asked
from droplab.searches._begin import default_folder
from droplab.searches._observer import SearchObserver
from droplab.searches._search import SearchResult, search
from droplab.searches._spec import read_space

__all__ = [
    "Asked",
    "SearchObserver",
    "SearchResult",
    "default_folder",
    "read_space",
    "search",
]
