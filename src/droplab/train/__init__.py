"""Training: the specification of the step, its executors, and what they measure."""

from __future__ import annotations

from droplab.ops import mask_key
from droplab.train._accumulate import Accumulation
from droplab.train._call import call, example_of
from droplab.train._capture import can_capture, is_stateless, why_not_compiled
from droplab.train._checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from droplab.train._deciding import Deciding
from droplab.train._evaluate import EVAL_BATCH, Batches, evaluate, evaluating
from droplab.train._execution import ExecutionPlan, Tried, choose_device
from droplab.train._executor import Batched, Executor, Single
from droplab.train._fit import Diverged, Epoch, EpochResult, fit
from droplab.train._model_check import check_further, check_model, check_training
from droplab.train._optimizer import Group, MakeOptimizer, build_optimizer, check_optimizer
from droplab.train._outputs import Part, find_part, probabilities_note
from droplab.train._parameter_groups import find_groups
from droplab.train._population import Population, check_factory
from droplab.train._precision import check_precision, compute_in_bfloat16
from droplab.train._rates import RateOfStep
from droplab.train._scheduler import Scheduler
from droplab.train._state_file import load_state
from droplab.train._step import EagerStep, UnsupportedError
from droplab.train._streams import batch_order, initial_model, scored_examples
from droplab.train.compiled import compiler
from droplab.train.schedules import RateSchedule, hugging_face_callback, lightning_callback
from droplab.train.tasks import Score, Task

__all__ = [
    "EVAL_BATCH",
    "Accumulation",
    "Batched",
    "Batches",
    "Deciding",
    "Diverged",
    "EagerStep",
    "Epoch",
    "EpochResult",
    "ExecutionPlan",
    "Executor",
    "Group",
    "MakeOptimizer",
    "Part",
    "Population",
    "RateOfStep",
    "RateSchedule",
    "Scheduler",
    "Score",
    "Single",
    "Task",
    "Tried",
    "UnsupportedError",
    "batch_order",
    "build_optimizer",
    "call",
    "can_capture",
    "check_factory",
    "check_further",
    "check_model",
    "check_optimizer",
    "check_precision",
    "check_training",
    "choose_device",
    "compiler",
    "compute_in_bfloat16",
    "evaluate",
    "evaluating",
    "example_of",
    "find_groups",
    "find_part",
    "fit",
    "hugging_face_callback",
    "initial_model",
    "is_stateless",
    "lightning_callback",
    "load_checkpoint",
    "load_state",
    "load_weights",
    "mask_key",
    "probabilities_note",
    "save_checkpoint",
    "save_weights",
    "scored_examples",
    "why_not_compiled",
]
