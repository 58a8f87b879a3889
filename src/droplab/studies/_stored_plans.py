"""Execution plans on disk: those that were measured here before, and those that a user names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from torch import Tensor, nn

from droplab import results
from droplab.data import Inputs, Split
from droplab.data.tree import named
from droplab.errors import ArgumentError, DroplabError, RunError
from droplab.recipe import Arm
from droplab.results import environment, whole_file
from droplab.studies._experiment import Experiment
from droplab.studies._timed import first_batch
from droplab.studies._worker import can_send
from droplab.train import ExecutionPlan, Tried, choose_device
from droplab.train.capture import is_stateless
from droplab.train.compiled import compiler

PLAN_FILE = "plan.json"
"""Name of the file in a run's folder that holds its plan."""

_LARGEST = 1_000_000
"""Bytes of a file that may be a plan."""


def plans_folder() -> Path:
    """Return where measured plans are kept: DROPLAB_PLANS if it is set, else the user's cache."""
    given = os.environ.get("DROPLAB_PLANS")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("droplab") / "plans"


def plan_key(experiment: Experiment, arms: Sequence[Arm], device: str) -> str:
    """Return a digest of all that a plan is chosen by, but for the load of the machine."""
    recipe = experiment.recipe
    replica = experiment.replica(arms[-1], recipe.seeds[0])
    machine = environment()
    inputs, targets = first_batch(experiment)
    facts = {
        "machine": [machine[name] for name in ("cpu", "cores", "platform", "packages")],
        "device": device,
        "compiler": compiler(),
        "model": _model_facts(replica.model),
        "optimizer": [str(type(replica.optimizer)), _plain_groups(replica.optimizer.param_groups)],
        "batch": [*_shapes(inputs), list(targets.shape)],
        "batches": [len(experiment.splits.train), recipe.batch_size, recipe.epochs],
        "replicas": [[arm.kind for arm in arms], len(recipe.seeds)],
        "sites": sorted(experiment.rates[arms[-1].name]),
        "options": [recipe.clip is None, recipe.scheduler is None],
        "task": [recipe.task, recipe.loss.name if recipe.loss is not None else None],
        **({"folds": True} if recipe.data.of_seed else {}),
        **({"apart": True} if experiment.why_apart else {}),
        **({"accumulate": recipe.accumulate} if recipe.accumulate is not None else {}),
        **({"precision": recipe.precision} if recipe.precision is not None else {}),
        "elsewhere": [isinstance(experiment.splits.train, Split), can_send(experiment)],
    }
    if any(arm.existing for arm in arms):
        facts["existing"] = [sorted(arm.existing.items()) for arm in arms]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _shapes(inputs: Inputs) -> list[Any]:
    parts = [[at, list(x.shape), str(x.dtype)] for at, x in named(inputs)]
    return parts[0][1:] if isinstance(inputs, Tensor) else parts


def _model_facts(model: nn.Module) -> list[Any]:
    kinds = {type(module) for module in model.modules() if not is_stateless(module)}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        str(model),
        [[name, list(t.shape), str(t.dtype), t.requires_grad] for name, t in tensors],
        sorted(f"{kind.__module__}.{kind.__qualname__}\n{_source(kind)}" for kind in kinds),
    ]


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at run time: its name has to do
        return ""


def _plain_groups(groups: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [
        [len(group["params"]), sorted((k, str(v)) for k, v in group.items() if k != "params")]
        for group in groups
    ]


def remembered(key: str) -> ExecutionPlan | None:
    """Return the plan that was measured under this key; None if there is none that can be read."""
    try:
        return _parsed((plans_folder() / f"{key}.json").read_bytes())
    except (OSError, DroplabError):
        return None


def remember(key: str, plan: ExecutionPlan) -> None:
    """Keep a measured plan, whole or not at all; a folder that cannot be written is no error."""
    folder = plans_folder()
    with contextlib.suppress(OSError, RunError):
        folder.mkdir(parents=True, exist_ok=True)
        write_plan(folder / f"{key}.json", plan)


def write_plan(path: Path, plan: ExecutionPlan) -> None:
    """Write a plan as JSON, whole or not at all.

    Raises:
        RunError: If it cannot be written.
    """
    with whole_file(path) as part:
        part.write_text(json.dumps(plan.to_dict(), indent=2), encoding="utf-8")


def read_plan(path: str | Path, *, replicas: int) -> ExecutionPlan:
    """Return the plan of a run's folder or of a file, for a run of so many replicas.

    Raises:
        ArgumentError: If there is none, or it cannot be followed here.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     write_plan(Path(place) / "plan.json", ExecutionPlan(2))
        ...     read_plan(Path(place) / "plan.json", replicas=1).threads
        2
    """
    path = Path(path)
    try:
        plan = _read(path)
        choose_device(plan.device)
    except (DroplabError, OSError) as error:
        raise ArgumentError(f"{path}: {error}") from error
    if plan.group > replicas:
        raise ArgumentError(
            f"{path}: the plan trains {plan.group} replicas together, and this run has {replicas}; "
            "take a plan of a run with as many arms and seeds, or leave --plan out"
        )
    if plan.compiled and compiler() is None:
        raise ArgumentError(
            f"{path}: the plan compiles its steps, and there is no C compiler here: expected cc, "
            "gcc or clang on the path, or one in CC; install one, or leave --plan out"
        )
    return plan


def _read(path: Path) -> ExecutionPlan:
    if path.is_dir():
        if (path / PLAN_FILE).is_file():
            return _read(path / PLAN_FILE)
        return _plan_of(results.load(path).plan)
    if not path.is_file():
        raise ArgumentError("expected the folder of a run, or a plan as JSON; there is none")
    if path.stat().st_size > _LARGEST:
        raise ArgumentError(f"expected a plan of at most {_LARGEST:,} bytes")
    return _parsed(path.read_bytes())


def _parsed(text: bytes) -> ExecutionPlan:
    try:
        return _plan_of(json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DroplabError):
            raise
        raise ArgumentError("expected a plan as JSON, and this is none") from error


def _plan_of(data: Any) -> ExecutionPlan:
    """Return the plan that plain data holds, each of its values of the right kind."""
    if not isinstance(data, dict) or "threads" not in data:
        raise ArgumentError("expected a plan as JSON, a table with at least 'threads'")
    rows = data.get("tried", [])
    if not isinstance(rows, list):
        raise ArgumentError(f"tried: expected a list of tables, got {type(rows).__name__}")
    _check(ExecutionPlan(1), {**data, "tried": ()})
    for row in rows:
        if not isinstance(row, dict):
            raise ArgumentError(f"tried: expected a list of tables, got {type(row).__name__} in it")
        _check(Tried(), row)
    return ExecutionPlan.from_dict(data)


def _check(example: ExecutionPlan | Tried, data: Mapping[str, Any]) -> None:
    """Check that what is there is of the kinds that an example has."""
    for field in dataclasses.fields(example):
        usual = getattr(example, field.name)
        value, expected = data.get(field.name, usual), type(usual)
        if type(value) is not expected:
            raise ArgumentError(
                f"{field.name}: expected {expected.__name__}, got {type(value).__name__}"
            )
        if isinstance(value, int) and value > 1_000_000:
            raise ArgumentError(f"{field.name}: expected at most 1000000, got a larger number")
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise ArgumentError(f"{field.name}: expected a number from 0 on, got {value}")
