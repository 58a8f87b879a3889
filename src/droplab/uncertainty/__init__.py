"""Uncertainty from dropout: Monte Carlo passes that drop what they should, and nothing else."""

from __future__ import annotations

from droplab.uncertainty._awake import Awake, NothingDrops, awake
from droplab.uncertainty._blocks import ROWS
from droplab.uncertainty._calibration import (
    Bin,
    calibration,
    calibration_by_chance,
    fit_noise,
    fit_temperature,
    noisy,
    tempered,
)
from droplab.uncertainty._export import Exported, export
from droplab.uncertainty._predict import Prediction, joined, predict
from droplab.uncertainty._sample import sample
from droplab.uncertainty._scores import coverage_at, score, separation

__all__ = [
    "ROWS",
    "Awake",
    "Bin",
    "Exported",
    "NothingDrops",
    "Prediction",
    "awake",
    "calibration",
    "calibration_by_chance",
    "coverage_at",
    "export",
    "fit_noise",
    "fit_temperature",
    "joined",
    "noisy",
    "predict",
    "sample",
    "score",
    "separation",
    "tempered",
]
