"""Training: the specification of the step, its executors, and what they measure."""

from __future__ import annotations

from droplab.ops import mask_key
from droplab.train._agreement import (
    OneByOne,
    Stacked,
    comparison_batches,
    disagreement,
    why_not_stacked,
)
from droplab.train._agreement_members import Member
from droplab.train._capture import CapturedStep, build_step, can_capture, is_stateless
from droplab.train._checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from droplab.train._evaluate import EVAL_BATCH, Batches, evaluate, evaluating
from droplab.train._execution import (
    Candidate,
    ExecutionPlan,
    choose_device,
    fastest,
    own_seconds,
    plan_variants,
    time_turns,
    usable_threads,
    wait_for,
)
from droplab.train._executor import Batched, Executor, Single
from droplab.train._fit import Diverged, Epoch, EpochResult, fit
from droplab.train._meter import ECE_BINS, Meter, Score
from droplab.train._model_check import check_model, check_training
from droplab.train._optimizer import (
    MakeOptimizer,
    build_optimizer,
    check_optimizer,
    optimizer_names,
)
from droplab.train._population import (
    Population,
    check_factory,
)
from droplab.train._population_memory import (
    available_bytes,
    evaluation_bytes,
    is_out_of_memory,
    member_bytes,
)
from droplab.train._population_step import PopulationStep, population_gradients
from droplab.train._recordable import why_not_recorded, why_not_recorded_together
from droplab.train._scheduler import Scheduler, scheduler_names
from droplab.train._stacked_optimizer import why_not_elementwise
from droplab.train._step import EagerStep, Step, UnsupportedError
from droplab.train._streams import (
    batch_order,
    global_generators,
    initial_model,
    scored_examples,
)
from droplab.train.compiled import compiler
from droplab.train.schedules import RateSchedule, hugging_face_callback, lightning_callback

__all__ = [
    "ECE_BINS",
    "EVAL_BATCH",
    "Batched",
    "Batches",
    "Candidate",
    "CapturedStep",
    "Diverged",
    "EagerStep",
    "Epoch",
    "EpochResult",
    "ExecutionPlan",
    "Executor",
    "MakeOptimizer",
    "Member",
    "Meter",
    "OneByOne",
    "Population",
    "PopulationStep",
    "RateSchedule",
    "Scheduler",
    "Score",
    "Single",
    "Stacked",
    "Step",
    "UnsupportedError",
    "available_bytes",
    "batch_order",
    "build_optimizer",
    "build_step",
    "can_capture",
    "check_factory",
    "check_model",
    "check_optimizer",
    "check_training",
    "choose_device",
    "comparison_batches",
    "compiler",
    "disagreement",
    "evaluate",
    "evaluating",
    "evaluation_bytes",
    "fastest",
    "fit",
    "global_generators",
    "hugging_face_callback",
    "initial_model",
    "is_out_of_memory",
    "is_stateless",
    "lightning_callback",
    "load_checkpoint",
    "load_weights",
    "mask_key",
    "member_bytes",
    "optimizer_names",
    "own_seconds",
    "plan_variants",
    "population_gradients",
    "save_checkpoint",
    "save_weights",
    "scheduler_names",
    "scored_examples",
    "time_turns",
    "usable_threads",
    "wait_for",
    "why_not_elementwise",
    "why_not_recorded",
    "why_not_recorded_together",
    "why_not_stacked",
]
