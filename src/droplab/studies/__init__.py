"""Experiments: a recipe's names resolved, its arms and seeds run, its rows on disk."""

from __future__ import annotations

from droplab.studies._averaging import average_model, compare_averaging
from droplab.studies._design import parse_rates, sweep_recipe
from droplab.studies._experiment import Experiment
from droplab.studies._folders import default_folder, free_folder, weights_path_in
from droplab.studies._forecast import Forecast, forecast
from droplab.studies._loop_trial import Trial
from droplab.studies._observer import Observer, Observers, named
from droplab.studies._own_model import own_experiment
from droplab.studies._planning import choose_plan
from droplab.studies._rescored import rescored
from droplab.studies._resolve import assemble, resolve
from droplab.studies._run import run
from droplab.studies._script import FreeTrial, trial
from droplab.studies._stored_plans import read_plan
from droplab.studies._study import Study, study
from droplab.studies._sweep import SweepResult, sweep
from droplab.studies._trained import trained_model
from droplab.studies.cluster import RayCluster

__all__ = [
    "Experiment",
    "Forecast",
    "FreeTrial",
    "Observer",
    "Observers",
    "RayCluster",
    "Study",
    "SweepResult",
    "Trial",
    "assemble",
    "average_model",
    "choose_plan",
    "compare_averaging",
    "default_folder",
    "forecast",
    "free_folder",
    "named",
    "own_experiment",
    "parse_rates",
    "read_plan",
    "rescored",
    "resolve",
    "run",
    "study",
    "sweep",
    "sweep_recipe",
    "trained_model",
    "trial",
    "weights_path_in",
]
