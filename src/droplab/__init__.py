"""droplab: dropout, done right, for PyTorch.

The public names below are loaded when they are first used, so that `import droplab` is instant.
"""

from __future__ import annotations

import importlib
import logging
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
    from droplab.results import RunResult
    from droplab.results import load as load_run
    from droplab.study import run, sweep
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
    "Recipe": "recipe",
    "RunResult": "results",
    "SchedulerSpec": "recipe",
    "Site": "placement",
    "Target": "recipe",
    "Verdict": "verdict",
    "disabled": "placement",
    "examine": "doctor",
    "examine_loop": "doctor",
    "frozen_masks": "ops",
    "judge": "verdict",
    "load": "recipe",
    "load_run": "results.load",
    "override": "recipe",
    "plan": "placement",
    "rates": "placement",
    "render": "report",
    "run": "study",
    "selftest": "ops",
    "set_rate": "placement",
    "sites": "placement",
    "source_patch": "placement",
    "sweep": "study",
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
    "Recipe",
    "RunResult",
    "SchedulerSpec",
    "Site",
    "Target",
    "Verdict",
    "disabled",
    "examine",
    "examine_loop",
    "frozen_masks",
    "judge",
    "load",
    "load_run",
    "override",
    "plan",
    "rates",
    "render",
    "run",
    "selftest",
    "set_rate",
    "sites",
    "source_patch",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'droplab' has no attribute '{name}'{nearest(name, __all__)}")
    room, _, other_name = home.partition(".")
    value = getattr(importlib.import_module(f"droplab.{room}"), other_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
