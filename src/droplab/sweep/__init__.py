"""Experiments: a recipe's names resolved, its arms and seeds run, its rows on disk.

The room is callable: `droplab.sweep(model_factory, train, validation, ...)` is
`droplab.sweep.sweep(...)`, whether or not `import droplab.sweep` came before.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from droplab.sweep import _sweep
from droplab.sweep._design import parse_rates, sweep_arms, sweep_recipe
from droplab.sweep._experiment import Experiment, Replica, resolve
from droplab.sweep._folders import default_folder, free_folder
from droplab.sweep._observer import Observer, named
from droplab.sweep._planning import choose_plan
from droplab.sweep._run import run, run_experiment
from droplab.sweep._stored_plans import read_plan
from droplab.sweep._sweep import SweepResult

if TYPE_CHECKING:
    from droplab.sweep._sweep import sweep

__all__ = [
    "Experiment",
    "Observer",
    "Replica",
    "SweepResult",
    "choose_plan",
    "default_folder",
    "free_folder",
    "named",
    "parse_rates",
    "read_plan",
    "resolve",
    "run",
    "run_experiment",
    "sweep",
    "sweep_arms",
    "sweep_recipe",
]


class _Room(ModuleType):
    """A module that can be called, as the function of the same name."""

    __signature__ = inspect.signature(_sweep.sweep)

    def __call__(self, *args: Any, **kwargs: Any) -> SweepResult:
        """See `droplab.sweep._sweep.sweep`."""
        return _sweep.sweep(*args, **kwargs)


_room = sys.modules[__name__]
_room.__class__ = _Room
if not TYPE_CHECKING:
    sweep = _room
