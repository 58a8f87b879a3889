"""The networks that recipes need, and the way to a user's own."""

from __future__ import annotations

from droplab.models.build import BUILTIN, build, check_module
from droplab.models.mlp import MLP

__all__ = ["BUILTIN", "MLP", "build", "check_module"]
