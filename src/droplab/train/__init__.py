"""Training: the specification of the step, its executors, and what they measure."""

from __future__ import annotations

from droplab.train._accumulate import Accumulation
from droplab.train._deciding import Deciding
from droplab.train._execution import ExecutionPlan, Tried, choose_device
from droplab.train._executor import Batched, Executor, Single
from droplab.train._fit import Diverged, Epoch, EpochResult, fit
from droplab.train._population import Population, check_factory
from droplab.train._rates import RateOfStep
from droplab.train._scheduler import Scheduler
from droplab.train._step import EagerStep, UnsupportedError
from droplab.train.schedules import RateSchedule, hugging_face_callback, lightning_callback
from droplab.train.scoring import evaluate
from droplab.train.streams import batch_order, initial_model

__all__ = [
    "Accumulation",
    "Batched",
    "Deciding",
    "Diverged",
    "EagerStep",
    "Epoch",
    "EpochResult",
    "ExecutionPlan",
    "Executor",
    "Population",
    "RateOfStep",
    "RateSchedule",
    "Scheduler",
    "Single",
    "Tried",
    "UnsupportedError",
    "batch_order",
    "check_factory",
    "choose_device",
    "evaluate",
    "fit",
    "hugging_face_callback",
    "initial_model",
    "lightning_callback",
]
