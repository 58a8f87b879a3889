"""Experiments: a recipe's names resolved, its arms and seeds run, its rows on disk."""

from __future__ import annotations

from droplab.study._design import parse_rates, sweep_arms, sweep_recipe
from droplab.study._experiment import Experiment, Replica
from droplab.study._folders import default_folder, free_folder
from droplab.study._observer import Observer, named
from droplab.study._planning import choose_plan
from droplab.study._resolve import resolve
from droplab.study._run import run
from droplab.study._stored_plans import read_plan
from droplab.study._sweep import SweepResult, sweep

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
    "sweep",
    "sweep_arms",
    "sweep_recipe",
]
