"""A sweep over dropout rates for a model, data and optimizer that are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from droplab.data import DataSet, Split, Splits, StreamedSplit, carve
from droplab.data._items import array_tensor, normal_dtype
from droplab.data._labels import name_classes, whole_numbers
from droplab.data._memory import as_split, guess_items
from droplab.data._targets import CLASSES_OF, guess_task, read_targets
from droplab.data.dataset import content_checksum
from droplab.errors import ArgumentError, DataError, nearest, quote
from droplab.limits import USUAL_SEEDS
from droplab.models import check_module
from droplab.recipe import (
    TASKS,
    DataSpec,
    LossSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    SchedulerSpec,
)
from droplab.recipe._values import Task as TaskName
from droplab.recipe.target import MetricName
from droplab.results import RunResult
from droplab.study._design import best_rates, check_rates, parse_rates, sweep_arms
from droplab.study._experiment import BuildOptimizer, assemble
from droplab.study._folders import weights_path_in
from droplab.study._from_data import guessed_note
from droplab.study._observer import Observer
from droplab.study._run import run_experiment
from droplab.train import (
    ExecutionPlan,
    MakeOptimizer,
    check_optimizer,
    initial_model,
    load_weights,
)
from droplab.train.tasks import MetricFunction, check_split
from droplab.verdict import Verdict, judge

Better = Literal["higher", "lower"]
Examples = Split | StreamedSplit | tuple[Any, Any] | Any
"""A split, a pair (inputs, targets) of tensors or arrays, or a map-style data set."""

DEFAULT_RATES = "0:0.8:0.1"


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What `droplab.sweep` returns.

    Attributes:
        run: Every row, as `droplab.load_run` reads it again from `run.path`.
        verdict: What the rows show, in numbers and in words.
        arm: Name of the arm with the best mean of the primary metric; it may be "none".
        plan: Where that arm has dropout and how much: site -> rate, empty for none. Place it with
            `droplab.plan(model, result.plan)`.
        model: The trained model of that arm and the first seed, in eval mode, an ordinary module.
    """

    run: RunResult
    verdict: Verdict
    arm: str
    plan: Mapping[str, float]
    model: nn.Module


@dataclasses.dataclass(frozen=True)
class _Build:
    """The caller's factory, with a check of what it returns."""

    factory: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        return check_module(self.factory(), where="model_factory").train()


def sweep(
    model_factory: Callable[[], nn.Module],
    train: Examples,
    validation: Examples | None = None,
    *,
    folds: int | None = None,
    rates: str | Sequence[float] = DEFAULT_RATES,
    sites: Sequence[str] | None = None,
    independent: bool = False,
    kind: str | None = None,
    seeds: int | Sequence[int] | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    optimizer: str | MakeOptimizer = "Adam",
    clip: float | None = None,
    scheduler: SchedulerSpec | None = None,
    primary: MetricName = "val_loss",
    task: TaskName | None = None,
    loss: str | LossSpec | Callable[..., Tensor] | None = None,
    also_measure: Sequence[str | MetricSpec | tuple[MetricFunction, Better]] = (),
    name: str = "sweep",
    out: str | Path | None = None,
    resume: bool = False,
    changed_code: bool = False,
    execution: ExecutionPlan | None = None,
    device: str | None = None,
    observer: Observer | None = None,
) -> SweepResult:
    """Train a model with many dropout rates, every seed each, and say which one helps.

    All replicas are trained together where the model allows it. Rows go to a folder, as in
    `droplab.run`.

    Args:
        model_factory: Returns a new, bare model at each call, with weights from torch's default
            generator. It maps inputs of shape (B, ...) to what the task asks for: of classes,
            logits (B, classes); of a regression, predictions (B,), (B, 1) or (B, outputs).
        train: Training examples: (inputs, targets), a map-style data set, or a `Split`.
        validation: Validation examples, in the same forms; None with `folds`.
        folds: Cross-validate in so many folds of `train`, in place of `validation`: a seed is then
            one fold of one repeat (see `droplab.recipe.DataSpec`).
        rates: "start:stop:step", or drop probabilities; 0 is always compared with.
        sites: Names or patterns of sites; None for every hidden one.
        independent: Every combination of rates over the sites, instead of one rate for all.
        kind: Kind of dropout; None for what suits each site.
        seeds: How many, or which; None: 8, or with folds one repeat, a seed for each fold.
        epochs: Passes over the training examples.
        batch_size: Examples a step.
        optimizer: A name in `torch.optim`, with its defaults; or a function that takes parameters,
            such as `lambda p: torch.optim.AdamW(p, lr=3e-4)`.
        clip: Largest norm of a model's gradient, above which it is scaled down; None: none.
        scheduler: How the learning rate changes from epoch to epoch, for example
            `SchedulerSpec("StepLR", {"step_size": 5})`; None: it does not.
        primary: The metric that decides, one of the task's.
        task: "classification", "binary", "multilabel", "regression" or "tokens"; None: the
            training targets tell, if they leave no doubt.
        loss: A name of `droplab.recipe.LOSSES`, or one with arguments, such as
            `LossSpec("cross_entropy", {"weight": "balanced"})`; or a function (outputs, targets) ->
            one number for each example. None: the usual loss of the task.
        also_measure: Metrics beside those of the task: names of `droplab.recipe.FURTHER`, a
            `MetricSpec`, or a function (outputs, targets) -> number over the whole split with
            which way is better, such as `(median_error, "lower")`.
        name: What the run is called.
        out: The run's folder; None chooses `runs/<name>-<digest>`.
        resume: Go on with the run in that folder, with what it began with.
        changed_code: Resume although your source, or a version of torch or droplab, has changed.
        execution: How steps are executed; None measures a few.
        device: "cpu" or "cuda"; None takes a CUDA device if there is one.
        observer: Told of everything as it happens.

    Returns:
        The rows, the verdict, the best plan and its trained model.

    Raises:
        ArgumentError: If something does not fit: no rates, a percentage, a site that the model
            does not have, a factory that returns the same object twice or builds another
            architecture per call, a batch larger than the data.
        DataError: If the examples cannot be read.
        RunError: If the folder cannot be used, or no replica could be trained.

    Randomness:
        As `droplab.run`: weights, batches and masks come from named streams of each seed.

    Example:
        >>> import tempfile
        >>> inputs, targets = torch.randn(80, 4), torch.randint(0, 2, (80,))
        >>> factory = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with tempfile.TemporaryDirectory() as place:
        ...     found = sweep(factory, (inputs[:60], targets[:60]), (inputs[60:], targets[60:]),
        ...                   rates=[0.5], seeds=2, epochs=2, batch_size=20, out=place)
        >>> len(found.run.rows), type(found.model).__name__
        (8, 'Sequential')
    """
    values = parse_rates(rates) if isinstance(rates, str) else check_rates(rates)
    if not callable(model_factory) or isinstance(model_factory, nn.Module):
        raise ArgumentError(
            "model_factory: expected a function that returns a new model at each call, got "
            f"{type(model_factory).__name__}; wrap it: lambda: Net(...)"
        )

    build = _Build(model_factory)
    splits, task, guessed = _splits(train, validation, folds, task)
    if seeds is None:
        seeds = folds or USUAL_SEEDS
    chosen_seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    model = initial_model(build, chosen_seeds[0] if chosen_seeds else 0)
    make_optimizer, optimizer_spec = _optimizer(optimizer, model)
    loss_spec = _loss(loss)
    further, own_metrics = _further(also_measure)
    recipe = Recipe(
        name=name,
        title=f"{type(model).__name__}: a sweep over dropout rates",
        data=DataSpec(function="__main__:train_and_validation", folds=folds),
        model=ModelSpec(_path(model_factory)),
        optimizer=optimizer_spec,
        epochs=epochs,
        batch_size=batch_size,
        seeds=chosen_seeds,
        arms=sweep_arms(model, values, sites=sites, independent=independent, kind=kind),
        primary=primary,
        clip=clip,
        scheduler=scheduler,
        task=None if guessed and task == "classification" else task,
        loss=loss_spec,
        also_measure=further or None,
    )
    classes, splits = _named(splits, task)
    if guessed and task != "classification":
        splits = dataclasses.replace(splits, notes=(*splits.notes, guessed_note(task)))
    kept = [part for part in (splits.train, splits.validation) if isinstance(part, Split)]
    checksum = content_checksum(*kept) if len(kept) == 2 else ""
    about = {"name": "data of the caller", "source": "in memory", "checksum": checksum}
    own_loss = None if isinstance(loss, (str, LossSpec)) else loss
    own = own_loss, own_metrics
    experiment = assemble(recipe, splits, about, classes, build, make_optimizer, *own)
    result = run_experiment(
        experiment,
        out,
        resume=resume,
        changed_code=changed_code,
        plan=execution,
        device=device,
        observer=observer,
        command="droplab.sweep(...)",
    )
    verdict = judge(result)
    arm = verdict.best.arm if verdict.best is not None else recipe.baseline.name
    trained = initial_model(build, recipe.seeds[0])
    load_weights(trained, weights_path_in(result.path, recipe, arm, recipe.seeds[0], "last"))
    return SweepResult(result, verdict, arm, best_rates(recipe, arm), trained.eval())


def _optimizer(
    optimizer: str | MakeOptimizer, model: nn.Module
) -> tuple[MakeOptimizer, OptimizerSpec]:
    if isinstance(optimizer, str):
        spec = OptimizerSpec(optimizer)
        check_optimizer(BuildOptimizer(spec), model)
        return BuildOptimizer(spec), spec
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


def _splits(
    train: Examples, validation: Examples | None, folds: int | None, task: TaskName | None
) -> tuple[Splits, TaskName, bool]:
    """Return the splits, the task that they are read for, and whether the targets told it."""
    if (validation is None) == (folds is None):
        raise ArgumentError(
            "validation: expected either validation examples or a number of folds, got "
            f"{'neither' if folds is None else 'both'}"
        )
    if task is not None and task not in TASKS:
        raise ArgumentError(f"task: expected a task, got {quote(task)}{nearest(str(task), TASKS)}")
    if isinstance(train, tuple) and len(train) == 2:
        own = task or cast("TaskName", guess_task(train[1], where="train"))
    elif isinstance(train, Split):
        own = task or cast("TaskName", guess_task(train.targets, where="train"))
    elif isinstance(train, StreamedSplit):
        own = task or cast("TaskName", train.task)
    elif task is None and hasattr(train, "__getitem__") and hasattr(train, "__len__"):
        own = cast("TaskName", guess_items(train, name="train")) if len(train) else None
    else:
        own = task
    own = own or "classification"
    whole = _split(train, "train", own)
    if folds is None:
        found = Splits(whole, _split(validation, "validation", own), None)
    else:
        spec = DataSpec(function="__main__:train_and_validation", folds=folds)
        about = DataSet("train", whole, None, (), "in memory", "", task=own)
        found = carve(about, spec)
    return found, own, task is None


def _split(examples: Examples, where: str, task: TaskName) -> Split | StreamedSplit:
    if isinstance(examples, StreamedSplit):
        return examples
    if isinstance(examples, Split):
        if task in CLASSES_OF or examples.targets.dtype == torch.float32:
            return examples
        return Split(examples.inputs, read_targets(examples.targets, task, where=where))
    if isinstance(examples, tuple) and len(examples) == 2:
        try:
            if task in CLASSES_OF:
                targets = whole_numbers(examples[1], where=where)
            else:
                targets = read_targets(examples[1], task, where=where)
            return Split(_inputs(examples[0], where), targets)
        except ArgumentError as error:
            raise ArgumentError(f"{where}: {error}") from None
    if not hasattr(examples, "__getitem__") or not hasattr(examples, "__len__"):
        raise ArgumentError(
            f"{where}: expected (inputs, targets) or a map-style data set, got "
            f"{type(examples).__name__}"
        )
    if not len(examples):
        raise ArgumentError(f"{where}: expected at least one example, got none")
    return as_split(
        examples,
        name=where,
        classes=0,
        in_memory="auto",
        progress=lambda what, done, total: None,
        task=task,
    )


def _inputs(inputs: Any, where: str) -> Tensor:
    if isinstance(inputs, Tensor):
        return normal_dtype(inputs.detach().cpu())
    try:
        array = np.asarray(inputs)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected inputs of one shape (N, ...): {error}") from None
    return array_tensor(array, where=f"{where} inputs")


def _named(splits: Splits, task: TaskName) -> tuple[tuple[str, ...], Splits]:
    """Return the names of the classes, none if labels are streamed, and what is to be noted."""
    parts = [("train", splits.train), ("validation", splits.validation)]
    kept = [(name, part) for name, part in parts if isinstance(part, Split)]
    if not isinstance(splits.train, Split) or task not in CLASSES_OF:
        return (), splits
    targets, where = [p.targets.numpy() for _, p in kept], [f"{name} labels" for name, _ in kept]
    if splits.of_seed is None:
        for name, part in kept:
            check_split(task, part.targets, name)
    else:  # each fold is looked at by itself
        targets, where = [np.concatenate(targets)], where[:1]
    names, notes = name_classes(targets, (), where=where)
    return names, dataclasses.replace(splits, notes=(*splits.notes, *notes))
