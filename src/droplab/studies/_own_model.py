"""An experiment of a model, data and optimizer that are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from droplab.data.given import Examples, data_spec, read_given
from droplab.errors import ArgumentError, quote
from droplab.limits import USUAL_FOLDS, USUAL_SEEDS
from droplab.models import check_module
from droplab.recipe import (
    Arm,
    LossSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    SchedulerSpec,
    TaskName,
)
from droplab.recipe.data import stops_on_fold
from droplab.recipe.target import MetricName
from droplab.studies._experiment import BuildOptimizer, Experiment
from droplab.studies._from_data import guessed_note
from droplab.studies._resolve import assemble
from droplab.train import initial_model
from droplab.train.optimizers import MakeOptimizer, check_optimizer
from droplab.train.tasks import MetricFunction, check_split

Better = Literal["higher", "lower"]


@dataclasses.dataclass(frozen=True)
class _Build:
    """The caller's factory, with a check of what it returns."""

    maker: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        return check_module(self.maker(), where="model_factory").train()


def own_experiment(
    model_factory: Callable[[], nn.Module],
    train: Examples | Mapping[str, Examples],
    validation: Examples | None = None,
    *,
    folds: int | Literal[True] | None = None,
    stop_on_fold: bool | None = None,
    arms: Callable[[nn.Module], Sequence[Arm]] = lambda _: (Arm("none"),),
    title: str = "an experiment",
    seeds: int | Sequence[int] | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    accumulate: int = 1,
    precision: Literal["bfloat16"] | None = None,
    optimizer: str | OptimizerSpec | MakeOptimizer = "Adam",
    clip: float | None = None,
    scheduler: SchedulerSpec | None = None,
    primary: MetricName = "val_loss",
    task: TaskName | None = None,
    loss: str | LossSpec | Callable[..., Tensor] | None = None,
    also_measure: Sequence[str | MetricSpec | tuple[MetricFunction, Better]] = (),
    name: str = "own",
) -> Experiment:
    """Return an experiment of a model, data and optimizer of your own, for `search` or `run`.

    Args:
        model_factory: Returns a new, bare model at each call, as for `droplab.sweep`, which says
            what the settings are that are not named here.
        train: Training examples, or all splits by their names,
            `{"train": ..., "validation": ..., "test": ...}`.
        validation: Validation examples; None with `folds`, or where `train` has all.
        folds: Cross-validate in so many folds of `train`; True: 10.
        stop_on_fold: With folds, stop early by the next one; None: with at least 5.
        arms: What is compared, of a model; the baseline alone, unless it is given.
        title: What it is called on pages, after the name of the model.
        seeds: How many, or which; None: 8, or with folds one repeat.
        epochs: As for `droplab.sweep`, like all that follow.
        batch_size: As there.
        accumulate: As there.
        precision: As there.
        optimizer: As there.
        clip: As there.
        scheduler: As there.
        primary: As there.
        task: As there.
        loss: As there.
        also_measure: As there.
        name: What runs are called.

    Raises:
        ArgumentError: If something does not fit.
        DataError: If the examples cannot be read.

    Example:
        >>> inputs, targets = torch.randn(90, 4), torch.randint(0, 2, (90,))
        >>> factory = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> mine = own_experiment(factory, (inputs[:70], targets[:70]), (inputs[70:], targets[70:]))
        >>> mine.recipe.seeds, [arm.name for arm in mine.recipe.arms]
        ((0, 1, 2, 3, 4, 5, 6, 7), ['none'])
    """
    if not callable(model_factory) or isinstance(model_factory, nn.Module):
        raise ArgumentError(
            "model_factory: expected a function that returns a new model at each call, got "
            f"{type(model_factory).__name__}; wrap it: lambda: Net(...)"
        )

    build = _Build(model_factory)
    folds = USUAL_FOLDS if folds is True else folds
    if seeds is None:
        seeds = folds or USUAL_SEEDS
    chosen_seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if folds is not None:
        stop_on_fold = stops_on_fold(stop_on_fold, folds, primary)
    given = read_given(train, validation, folds, task, check=check_split, stop_on_fold=stop_on_fold)
    task = given.task
    model = initial_model(build, chosen_seeds[0] if chosen_seeds else 0)
    make_optimizer, optimizer_spec = _optimizer(optimizer, model)
    loss_spec = _loss(loss)
    further, own_metrics = _further(also_measure)
    recipe = Recipe(
        name=name,
        title=f"{type(model).__name__}: {title}",
        data=data_spec(folds, stop_on_fold=stop_on_fold),
        model=ModelSpec(_path(model_factory)),
        optimizer=optimizer_spec,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        precision=precision,
        seeds=chosen_seeds,
        arms=tuple(arms(model)),
        primary=primary,
        clip=clip,
        scheduler=scheduler,
        task=None if given.guessed and task == "classification" else task,
        loss=loss_spec,
        also_measure=further or None,
    )
    splits = given.splits
    if given.guessed and task != "classification":
        splits = dataclasses.replace(splits, notes=(*splits.notes, guessed_note(task)))
    about = {"name": "data of the caller", "source": "in memory", "checksum": given.checksum}
    own_loss = None if isinstance(loss, (str, LossSpec)) else loss
    own = own_loss, own_metrics
    return assemble(recipe, splits, about, given.classes, build, make_optimizer, *own)


def _optimizer(
    optimizer: str | OptimizerSpec | MakeOptimizer, model: nn.Module
) -> tuple[MakeOptimizer, OptimizerSpec]:
    if isinstance(optimizer, (str, OptimizerSpec)):
        spec = OptimizerSpec(optimizer) if isinstance(optimizer, str) else optimizer
        make = BuildOptimizer.of(spec, model)
        check_optimizer(make, model)
        return make, spec
    if isinstance(optimizer, torch.optim.Optimizer) or not callable(optimizer):
        raise ArgumentError(
            "optimizer: expected a name in torch.optim or a function of parameters, got "
            f"{type(optimizer).__name__}; write lambda p: torch.optim.AdamW(p, lr=3e-4)"
        )
    made = check_optimizer(optimizer, model)
    plain = {k: v for k, v in made.defaults.items() if isinstance(v, (bool, int, float, str))}
    return optimizer, OptimizerSpec(type(made).__name__, plain)


def _loss(loss: str | LossSpec | Callable[..., Tensor] | None) -> LossSpec | None:
    if loss is None or isinstance(loss, LossSpec):
        return loss
    if isinstance(loss, str):
        return LossSpec(loss)
    if isinstance(loss, type) or not callable(loss):
        raise ArgumentError(
            "loss: expected a name, a LossSpec or a function of outputs and targets, got "
            f"{loss.__name__ if isinstance(loss, type) else type(loss).__name__}"
        )
    return LossSpec(_path(loss, "loss"))


def _further(
    given: Sequence[str | MetricSpec | tuple[MetricFunction, Better]],
) -> tuple[tuple[MetricSpec, ...], dict[str, MetricFunction]]:
    """Return metrics as a recipe has them, and the functions among them by their names."""
    specs: list[MetricSpec] = []
    functions: dict[str, MetricFunction] = {}
    for each in given:
        if isinstance(each, MetricSpec):
            specs.append(each)
        elif isinstance(each, str):
            specs.append(MetricSpec(each))
        elif isinstance(each, tuple) and len(each) == 2 and callable(each[0]):
            function, better = each
            name = getattr(function, "__name__", "").strip("<_>").lower()
            specs.append(MetricSpec(name, _path(function, name), better))
            functions[name] = function
        else:
            raise ArgumentError(
                "also_measure: expected names, or functions of outputs and targets with which way "
                f"is better, [(error, 'lower')], got {quote(each)}"
            )
    return tuple(specs), functions


def _path(factory: Callable[..., Any], otherwise: str = "model_factory") -> str:
    """An import path for the record: that of the factory if it has one."""
    module = getattr(factory, "__module__", "") or ""
    name = getattr(factory, "__qualname__", "") or ""
    sound = all(part.isidentifier() for part in (*module.split("."), *name.split(".")))
    return f"{module}:{name}" if sound else f"__main__:{otherwise}"
