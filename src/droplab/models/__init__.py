"""The networks that recipes need, and the way to a user's own."""

from __future__ import annotations

from droplab.models.build import BUILTIN, build, check_module
from droplab.models.mlp import MLP
from droplab.models.tabular import FROM_DATA, Tabular, filled, fitted

__all__ = [
    "BUILTIN",
    "FROM_DATA",
    "MLP",
    "Tabular",
    "build",
    "check_module",
    "filled",
    "fitted",
]
