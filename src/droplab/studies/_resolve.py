"""From a recipe to an experiment: names are resolved, and everything is tried on what it meets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from droplab import data
from droplab.data import Split, Splits
from droplab.errors import ArgumentError, DataError, RecipeError
from droplab.recipe import Recipe
from droplab.studies._arms import Own, drops_branches, site_rates
from droplab.studies._experiment import BuildModel, BuildOptimizer, Experiment, scheduler_of
from droplab.studies._folds import check_folds
from droplab.studies._from_data import model_from_data, with_task
from droplab.studies._rows import deciding_measure
from droplab.train import check_factory, initial_model
from droplab.train.calling import example_of
from droplab.train.model_check import check_further, check_model, check_training
from droplab.train.optimizers import MakeOptimizer, check_optimizer
from droplab.train.outputs import find_part, probabilities_note
from droplab.train.tasks import KINDS, MetricFunction, Task, check_split, is_balanced, resolve_loss


def resolve(
    recipe: Recipe, *, progress: Callable[[str, int, int | None], None] | None = None
) -> Experiment:
    """Resolve the names in a recipe, load its data, and check that everything fits.

    Args:
        recipe: The recipe.
        progress: Called with (what, bytes done, bytes in all or None) while data is fetched.

    Returns:
        The experiment, of which nothing has been trained.

    Raises:
        ArgumentError: If the optimizer or the model is unknown or refuses its arguments, a rate
            matches no site, the batch is larger than the data, or the model does not take the
            data.
        DataError: If the data cannot be had.

    Example:
        >>> from droplab.recipe import load
        >>> experiment = resolve(load("digits"))
        >>> experiment.steps_an_epoch > 0
        True
    """
    if recipe.loop is not None:
        raise ArgumentError(
            f"{recipe.name}: expected a recipe of droplab's own engine, got that of a study, whose "
            f"training loop is its user's ({recipe.loop.train or 'of a script'}); run that again"
        )
    recipe, dataset = model_from_data(recipe, progress)
    build = BuildModel(recipe.model)
    model = _checked_model(build, recipe.seeds[0])
    make_optimizer = BuildOptimizer.of(recipe.optimizer, model)
    _check_scheduler(recipe, check_optimizer(make_optimizer, model))
    rates = site_rates(recipe, model)
    if dataset is None:  # the rest of the recipe is checked before anything is fetched
        dataset = data.load(recipe.data, task=recipe.task, progress=progress)
    splits = data.carve(dataset, recipe.data)
    recipe, splits = with_task(recipe, dataset.task, splits)
    about = {"name": dataset.name, "source": dataset.source, "checksum": dataset.checksum}
    return _checked(
        Experiment(recipe, splits, about, dataset.classes, rates, build, make_optimizer)
    )


def assemble(
    recipe: Recipe,
    splits: Splits,
    about: Mapping[str, str],
    classes: tuple[str, ...],
    build: Callable[[], nn.Module],
    make_optimizer: MakeOptimizer,
    own_loss: Callable[..., Tensor] | None = None,
    own_metrics: Mapping[str, MetricFunction] | None = None,
) -> Experiment:
    """Return an experiment on a model and data that are at hand, with the checks of `resolve`."""
    model = _checked_model(build, recipe.seeds[0])
    _check_scheduler(recipe, check_optimizer(make_optimizer, model))
    rates = site_rates(recipe, model)
    own = own_loss, own_metrics
    return _checked(Experiment(recipe, splits, about, classes, rates, build, make_optimizer, *own))


def _check_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
    """Check a scheduler as far as can be done before the number of steps is known."""
    scheduler = scheduler_of(recipe)
    if scheduler is not None and scheduler.every == "epoch":
        scheduler.over(recipe.epochs, 1).table(optimizer, recipe.epochs)


def _checked_model(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    model = initial_model(build, seed)
    check_factory([model, initial_model(build, seed)])
    return model


def _checked(experiment: Experiment) -> Experiment:
    """Return the experiment, with what is odd about its data, if the model fits its data."""
    experiment = experiment.of_seeds(experiment.recipe.seeds[:1])
    recipe, train = experiment.recipe, experiment.splits.train
    if recipe.batch_size > len(train):
        raise RecipeError(
            f"batch_size: expected at most the {len(train)} training examples, got "
            f"{recipe.batch_size}"
        )
    notes = experiment.splits.notes
    if experiment.scheduler is not None:
        scheduler = experiment.scheduler.over(recipe.epochs, experiment.steps_an_epoch)
        model = initial_model(experiment.build, recipe.seeds[0])
        scheduler.table(experiment.make_optimizer(model.parameters()), 1)
        notes += scheduler.doubts(recipe.epochs, experiment.steps_an_epoch)
    classes = len(experiment.classes)
    task = KINDS[recipe.task or "classification"](weighted=experiment.weighted)
    if task.name == "binary" and classes not in (0, 2):
        raise DataError(
            f"data: expected targets 0 and 1, for task = 'binary', got {classes} classes; give "
            "task = 'classification'"
        )
    for name in ("train", "validation", "test"):
        if name == "validation" and experiment.splits.of_seed is not None:
            continue  # `check_folds` looks at that of every seed
        split = getattr(experiment.splits, name)
        if isinstance(split, Split):
            check_split(task.name, split.targets, name)
        if split is not None and (getattr(split, "weights", None) is None) != (
            task.weighted is None
        ):
            raise DataError(
                f"data: expected a weight for each example of every split, or of none; {name} and "
                "train differ in this"
            )
        if isinstance(split, Split) and split.weights is not None and not split.weights.any():
            raise DataError(
                f"data.weights: expected examples that weigh more than 0 in every split, got "
                f"{len(split)} that weigh 0 in {name}; leave out those that count for nothing, or "
                "draw the splits otherwise"
            )
    experiment, said = _with_part(experiment, classes, task)
    model = experiment.new_model(recipe.seeds[0])
    outputs = check_model(model, train, classes=classes, task=task)
    targets = train.targets if isinstance(train, Split) else None
    resolved = resolve_loss(recipe, experiment.classes, outputs, targets)
    if experiment.splits.of_seed is None or not is_balanced(recipe):
        recipe = resolved
    experiment = dataclasses.replace(experiment, recipe=recipe, outputs=outputs)
    task = experiment.task
    check_model(model, train, classes=classes, task=task)
    check_further(model, experiment.splits.validation, task)
    note = probabilities_note(model, train, task)
    said += (note,) if note else ()
    check_training(model, train, recipe.batch_size, classes=classes, task=task)
    names, schedule = experiment.classes, experiment.scheduler
    said_of_folds, why_no_blocks = check_folds(
        recipe, experiment.splits, names, model, task, schedule, outputs
    )
    notes += said_of_folds
    if deciding_measure(recipe) is not None:
        notes += (why_no_blocks,) if why_no_blocks else ()
        blocks = not why_no_blocks and experiment.splits.stopping is None
        experiment = dataclasses.replace(experiment, blocks=blocks)
    with torch.random.fork_rng(devices=[]):
        inputs, _ = next(train.batches(torch.arange(min(2, len(train))), 2))
    example = example_of(model, inputs)
    experiment = dataclasses.replace(experiment, own=Own.of(recipe, model, example))
    if any(map(drops_branches, recipe.arms)):
        experiment = dataclasses.replace(experiment, rates=site_rates(recipe, model, example))
    splits = dataclasses.replace(experiment.splits, notes=notes + said)
    if task.name == "binary":
        outputs = 2  # one logit tells two classes
    return dataclasses.replace(experiment, splits=data.doubts(splits, outputs, experiment.classes))


def _with_part(
    experiment: Experiment, classes: int, task: Task
) -> tuple[Experiment, tuple[str, ...]]:
    """Return the experiment with what is found out of its model's call, and a note on it."""
    train, recipe = experiment.splits.train, experiment.recipe
    model = initial_model(experiment.build, recipe.seeds[0])
    part, note = find_part(model, train, recipe.batch_size, classes, task)
    with torch.random.fork_rng(devices=[]):
        inputs, _ = next(train.batches(torch.arange(1), 1))
    several = not isinstance(inputs, Tensor)
    return dataclasses.replace(experiment, part=part, several=several), (note,) if note else ()
