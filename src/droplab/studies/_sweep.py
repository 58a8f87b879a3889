"""A sweep over dropout rates for a model, data and optimizer that are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from droplab.data.given import Examples, data_spec, read_given
from droplab.errors import ArgumentError, quote
from droplab.limits import USUAL_FOLDS, USUAL_SEEDS
from droplab.models import check_module
from droplab.recipe import (
    LossSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    Recipe,
    SchedulerSpec,
    TaskName,
)
from droplab.recipe.target import MetricName
from droplab.results import RunResult
from droplab.studies._design import best_rates, check_rates, parse_rates, sweep_arms
from droplab.studies._experiment import BuildOptimizer
from droplab.studies._folders import weights_path_in
from droplab.studies._from_data import guessed_note
from droplab.studies._observer import Observer
from droplab.studies._resolve import assemble
from droplab.studies._run import run
from droplab.studies.cluster import RayCluster
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

DEFAULT_RATES = "0:0.8:0.1"


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What `droplab.sweep` returns.

    Attributes:
        run: Every row, as `droplab.load_run` reads it again from `run.path`.
        verdict: What the rows show, in numbers and in words.
        arm: Name of the arm with the best mean of the primary metric; it may be "none".
        plan: Where that arm adds dropout and how much: site -> rate, empty for none. Place it with
            `droplab.plan(model, result.plan)`.
        existing: The rates of the model's own dropout that it changes: name -> rate, for
            `droplab.set_rate`; empty for none.
        model: The trained model of that arm and the first seed, in eval mode, an ordinary module.
    """

    run: RunResult
    verdict: Verdict
    arm: str
    plan: Mapping[str, float]
    model: nn.Module
    existing: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])


@dataclasses.dataclass(frozen=True)
class _Build:
    """The caller's factory, with a check of what it returns."""

    factory: Callable[[], nn.Module]

    def __call__(self) -> nn.Module:
        return check_module(self.factory(), where="model_factory").train()


def sweep(
    model_factory: Callable[[], nn.Module],
    train: Examples | Mapping[str, Examples],
    validation: Examples | None = None,
    *,
    folds: int | Literal[True] | None = None,
    stop_on_fold: bool = False,
    rates: str | Sequence[float] = DEFAULT_RATES,
    sites: Sequence[str] | None = None,
    independent: bool = False,
    kind: str | None = None,
    existing: str | None = None,
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
    name: str = "sweep",
    out: str | Path | None = None,
    resume: bool = False,
    changed_code: bool = False,
    execution: ExecutionPlan | None = None,
    device: str | None = None,
    cluster: RayCluster | None = None,
    observer: Observer | None = None,
) -> SweepResult:
    """Train a model with many dropout rates, every seed each, and say which one helps.

    All replicas are trained together where the model allows it. Rows go to a folder, as in
    `droplab.run`.

    Args:
        model_factory: Returns a new, bare model at each call, with weights from torch's default
            generator. It maps inputs of shape (B, ...) to what the task asks for: of classes,
            logits (B, classes); of a regression, predictions (B,), (B, 1) or (B, outputs). Several
            inputs are given to it as its forward takes them: see docs/data.md.
        train: Training examples: (inputs, targets), a map-style data set, or a `Split`; several
            inputs are a tuple or a dict, `((a, b), targets)`. Or all splits by their names,
            `{"train": ..., "validation": ..., "test": ...}`.
        validation: Validation examples, in the same forms; None with `folds`.
        folds: Cross-validate in so many folds of `train`, in place of `validation`: a seed is then
            one fold of one repeat (see `droplab.recipe.DataSpec`). True: 10.
        stop_on_fold: With folds, stop early by the next fold, which is then not trained on.
        rates: "start:stop:step", or drop probabilities; 0 is always compared with.
        sites: Names or patterns of sites; None for every hidden one.
        independent: Every combination of rates over the sites, instead of one rate for all.
        kind: Kind of dropout; None for what suits each site; "path" for residual branches.
        existing: Name or pattern of dropout that the model has already, such as "*.dropout"; its
            rate is then what is swept, nothing is added, and the arms are compared with the model
            as it is built. The names are those that `droplab.rates(model, example)` lists.
        seeds: How many, or which; None: 8, or with folds one repeat, a seed for each fold.
        epochs: Passes over the training examples.
        batch_size: Examples that go through the model together.
        accumulate: How many such mini-batches a step of the optimizer has.
        precision: "bfloat16" to compute the model's forward so, by torch's autocast; None: all in
            float32.
        optimizer: A name in `torch.optim`, with its defaults; a `droplab.recipe.OptimizerSpec`,
            which may have groups of parameters; or a function that takes parameters, such as
            `lambda p: torch.optim.AdamW(p, lr=3e-4)`.
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
        cluster: Whose processes train; None for this machine's.
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
    values = parse_rates(rates) if isinstance(rates, str) else tuple(rates)
    if existing is None:
        values = check_rates(values)
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
    given = read_given(train, validation, folds, task, check=check_split, stop_on_fold=stop_on_fold)
    task = given.task
    model = initial_model(build, chosen_seeds[0] if chosen_seeds else 0)
    make_optimizer, optimizer_spec = _optimizer(optimizer, model)
    loss_spec = _loss(loss)
    further, own_metrics = _further(also_measure)
    recipe = Recipe(
        name=name,
        title=f"{type(model).__name__}: a sweep over dropout rates",
        data=data_spec(folds, stop_on_fold=stop_on_fold),
        model=ModelSpec(_path(model_factory)),
        optimizer=optimizer_spec,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        precision=precision,
        seeds=chosen_seeds,
        arms=sweep_arms(
            model, values, sites=sites, independent=independent, kind=kind, existing=existing
        ),
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
    experiment = assemble(recipe, splits, about, given.classes, build, make_optimizer, *own)
    result = run(
        experiment,
        out,
        resume=resume,
        changed_code=changed_code,
        plan=execution,
        device=device,
        cluster=cluster,
        observer=observer,
        command="droplab.sweep(...)",
    )
    verdict = judge(result)
    arm = verdict.best.arm if verdict.best is not None else recipe.baseline.name
    trained = initial_model(build, recipe.seeds[0])
    experiment.own.write(trained, arm)
    load_weights(trained, weights_path_in(result.path, recipe, arm, recipe.seeds[0], "last"))
    changed = experiment.own.existing.get(arm, {})
    return SweepResult(result, verdict, arm, best_rates(recipe, arm), trained.eval(), changed)


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
