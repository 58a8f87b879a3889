"""A sweep over dropout rates for a model, data and optimizer that are at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from droplab.data.given import Examples
from droplab.recipe import (
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    SchedulerSpec,
    TaskName,
)
from droplab.recipe.target import MetricName
from droplab.results import RunResult
from droplab.studies._design import best_rates, check_rates, parse_rates, sweep_arms
from droplab.studies._folders import weights_path_in
from droplab.studies._observer import Observer
from droplab.studies._own_model import Better, own_experiment
from droplab.studies._run import run
from droplab.studies.cluster import RayCluster
from droplab.train import ExecutionPlan, initial_model
from droplab.train.checkpoint import load_weights
from droplab.train.optimizers import MakeOptimizer
from droplab.train.tasks import MetricFunction
from droplab.verdict import Verdict, judge

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

    def __repr__(self) -> str:
        """Name the arm that was found, where it drops, and the run."""
        drops = {**self.plan, **self.existing}
        return f"SweepResult(arm={self.arm!r}, drops={drops}, run={self.run!r})"

    def __str__(self) -> str:
        """Write the verdict and what limits it, a line each."""
        return str(self.verdict)


def sweep(
    model_factory: Callable[[], nn.Module],
    train: Examples | Mapping[str, Examples],
    validation: Examples | None = None,
    *,
    folds: int | Literal[True] | None = None,
    stop_on_fold: bool | None = None,
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
        stop_on_fold: With folds, stop early by the next fold, which is then not trained on. None:
            with at least 5 folds; False: by halves of the fold that is validated on.
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
        >>> import tempfile, torch
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
    experiment = own_experiment(
        model_factory,
        train,
        validation,
        folds=folds,
        stop_on_fold=stop_on_fold,
        arms=lambda model: sweep_arms(
            model, values, sites=sites, independent=independent, kind=kind, existing=existing
        ),
        title="a sweep over dropout rates",
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        precision=precision,
        optimizer=optimizer,
        clip=clip,
        scheduler=scheduler,
        primary=primary,
        task=task,
        loss=loss,
        also_measure=also_measure,
        name=name,
    )
    recipe = experiment.recipe
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
    trained = initial_model(experiment.build, recipe.seeds[0])
    experiment.own.write(trained, arm)
    load_weights(trained, weights_path_in(result.path, recipe, arm, recipe.seeds[0], "last"))
    changed = experiment.own.existing.get(arm, {})
    return SweepResult(result, verdict, arm, best_rates(recipe, arm), trained.eval(), changed)
