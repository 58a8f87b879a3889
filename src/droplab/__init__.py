"""droplab: dropout, done right, for PyTorch.

The public names below are loaded when they are first used, so that `import droplab` is instant.
"""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from droplab.errors import nearest

if TYPE_CHECKING:
    from droplab.doctor import Finding, examine, examine_loop
    from droplab.ops import frozen_masks, selftest
    from droplab.placement import (
        Plan,
        Ramp,
        Site,
        disabled,
        plan,
        rates,
        set_rate,
        sites,
        source_patch,
    )
    from droplab.recipe import (
        Arm,
        DataSpec,
        LossSpec,
        ModelSpec,
        OptimizerSpec,
        Recipe,
        SchedulerSpec,
        Target,
        load,
        override,
    )
    from droplab.report import render
    from droplab.results import RunResult, load_rows
    from droplab.results import load as load_run
    from droplab.searches import search
    from droplab.studies import RayCluster, Study, Trial, run, study, sweep, trial
    from droplab.verdict import Verdict, judge

__version__ = "0.1.0"

_HOMES = {
    "Arm": "recipe",
    "DataSpec": "recipe",
    "Finding": "doctor",
    "LossSpec": "recipe",
    "ModelSpec": "recipe",
    "OptimizerSpec": "recipe",
    "Plan": "placement",
    "Ramp": "placement",
    "RayCluster": "studies",
    "Recipe": "recipe",
    "RunResult": "results",
    "SchedulerSpec": "recipe",
    "Site": "placement",
    "Study": "studies",
    "Target": "recipe",
    "Trial": "studies",
    "Verdict": "verdict",
    "disabled": "placement",
    "examine": "doctor",
    "examine_loop": "doctor",
    "frozen_masks": "ops",
    "judge": "verdict",
    "load": "recipe",
    "load_rows": "results",
    "load_run": "results.load",
    "override": "recipe",
    "plan": "placement",
    "rates": "placement",
    "render": "report",
    "run": "studies",
    "search": "searches",
    "selftest": "ops",
    "set_rate": "placement",
    "sites": "placement",
    "source_patch": "placement",
    "study": "studies",
    "sweep": "studies",
    "trial": "studies",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "Arm",
    "DataSpec",
    "Finding",
    "LossSpec",
    "ModelSpec",
    "OptimizerSpec",
    "Plan",
    "Ramp",
    "RayCluster",
    "Recipe",
    "RunResult",
    "SchedulerSpec",
    "Site",
    "Study",
    "Target",
    "Trial",
    "Verdict",
    "disabled",
    "examine",
    "examine_loop",
    "frozen_masks",
    "judge",
    "load",
    "load_rows",
    "load_run",
    "override",
    "plan",
    "rates",
    "render",
    "run",
    "search",
    "selftest",
    "set_rate",
    "sites",
    "source_patch",
    "study",
    "sweep",
    "trial",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None and not name.startswith("_") and find_spec(f"droplab.{name}"):
        return importlib.import_module(f"droplab.{name}")  # as droplab.nn, without an import
    if home is None:
        raise AttributeError(f"module 'droplab' has no attribute '{name}'{nearest(name, __all__)}")
    room, _, other_name = home.partition(".")
    value = getattr(importlib.import_module(f"droplab.{room}"), other_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
