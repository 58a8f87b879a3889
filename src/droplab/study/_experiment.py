"""A recipe with its names resolved: data in memory, a model to build, sites that exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from droplab import data, models, placement
from droplab.data import Split, Splits
from droplab.errors import ArgumentError, DataError, RecipeError
from droplab.placement import Applied, Plan
from droplab.recipe import Arm, ModelSpec, OptimizerSpec, Recipe
from droplab.study._folds import check_folds
from droplab.study._from_data import model_from_data, with_task
from droplab.train import (
    Batched,
    ExecutionPlan,
    Executor,
    MakeOptimizer,
    Population,
    Scheduler,
    Single,
    Task,
    build_optimizer,
    can_capture,
    check_factory,
    check_further,
    check_model,
    check_optimizer,
    check_training,
    initial_model,
    is_stateless,
    mask_key,
)
from droplab.train.tasks import KINDS, MetricFunction, check_split, resolve_loss, task_of


@dataclasses.dataclass(frozen=True)
class BuildModel:
    """Makes the model of a recipe; an object rather than a function, so that it can be pickled."""

    spec: ModelSpec

    def __call__(self) -> nn.Module:
        """Return a new model."""
        return models.build(self.spec)


@dataclasses.dataclass(frozen=True)
class BuildOptimizer:
    """Makes the optimizer of a recipe."""

    spec: OptimizerSpec

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a new optimizer over `parameters`."""
        return build_optimizer(self.spec.name, self.spec.arguments, parameters)


@dataclasses.dataclass(frozen=True)
class Replica:
    """One model of the experiment, ready to be trained.

    Attributes:
        model: With the initial weights of its seed, its sites applied and seeded.
        optimizer: Over its parameters.
        applied: The sites at work.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    applied: Applied


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a recipe means on this machine.

    Attributes:
        recipe: The recipe.
        splits: Training, validation and, if it is kept for the end, test examples; with folds,
            those of the first seed.
        dataset: Name, source and checksum of the data.
        classes: Names of the classes.
        rates: For each arm, the rate at every site that any arm uses.
        build: Makes a new model, with weights from the global generators.
        make_optimizer: Makes an optimizer over some parameters.
        own_loss: The loss of one's own that the recipe names, where it is at hand.
        own_metrics: Functions of the metrics of one's own by name, likewise.
    """

    recipe: Recipe
    splits: Splits
    dataset: Mapping[str, str]
    classes: tuple[str, ...]
    rates: Mapping[str, Mapping[str, float]]
    build: Callable[[], nn.Module]
    make_optimizer: MakeOptimizer
    own_loss: Callable[..., Tensor] | None = None
    own_metrics: Mapping[str, MetricFunction] | None = None

    def of_seeds(self, seeds: Sequence[int]) -> Experiment:
        """Return the experiment as these seeds have it: with folds, on the rows of that seed.

        What the training rows tell (the units of a network for tables) is told by its own.

        Raises:
            ArgumentError: With folds, if there are several seeds: no two have the same rows.
        """
        if self.splits.of_seed is None:
            return self
        if len(seeds) != 1:
            raise ArgumentError(
                f"seeds: expected one, since each has folds of its own, got {len(seeds)}"
            )
        splits = self.splits.of_seed(seeds[0])
        test = splits.test if isinstance(splits.test, Split) else self.splits.test
        splits = dataclasses.replace(splits, notes=self.splits.notes, test=test)
        build, train = self.build, splits.train
        if isinstance(build, BuildModel) and self.recipe.task == "regression":
            assert isinstance(train, Split)  # folds are made of nothing else
            build = BuildModel(models.fitted(self.recipe.model, train.targets))
        return dataclasses.replace(self, splits=splits, build=build)

    @property
    def task(self) -> Task:
        """What is learned: its loss, and what is measured."""
        return task_of(self.recipe, self.own_loss, self.own_metrics)

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return -(-len(self.splits.train) // self.recipe.batch_size)

    @property
    def scheduler(self) -> Scheduler | None:
        """What changes the learning rate, if anything."""
        return _scheduler(self.recipe)

    def replica(
        self, arm: Arm, seed: int, device: str = "cpu", *, channels_last: bool = False
    ) -> Replica:
        """Return the replica of `arm` and `seed` on `device`, as it is before its first step.

        Every arm carries the same sites, at p = 0 where it has none, so that all arms run the
        same code. Keys depend on seed and site alone.
        """
        model = initial_model(self.build, seed).to(device)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] # torch takes it alone
        applied = placement.plan(model, self.rates[arm.name], kind=arm.kind).apply()
        applied.seed({name: mask_key(seed, name) for name in applied.names})
        return Replica(model, self.make_optimizer(model.parameters()), applied)

    def population(
        self, arms: Sequence[Arm], seeds: Sequence[int], device: str = "cpu"
    ) -> Population:
        """Return the replicas of `arms` x `seeds` as one population, before their first step.

        Raises:
            ArgumentError: If the model's factory returns the same object twice, or another
                architecture per call; or the optimizer cannot be stacked.
        """
        models_of_seeds = [initial_model(self.build, seed) for seed in seeds]
        check_factory(models_of_seeds)
        kind = next((arm.kind for arm in arms if not arm.is_baseline), None)
        template = models_of_seeds[0]
        applied = placement.plan(template, self.rates[arms[0].name], kind=kind).apply()
        applied.seed({name: mask_key(seeds[0], name) for name in applied.names})
        rates = [[self.rates[arm.name][name] for name in applied.names] for arm in arms]
        keys = [[mask_key(seed, name) for name in applied.names] for seed in seeds]
        return Population(
            models_of_seeds,
            applied,
            torch.tensor(rates, dtype=torch.float64),
            torch.tensor(keys, dtype=torch.int64),
            self.make_optimizer,
            device=torch.device(device),
        )

    def executor(self, arms: Sequence[Arm], seeds: Sequence[int], plan: ExecutionPlan) -> Executor:
        """Return what trains the replicas of `arms` x `seeds`, before their first step.

        Where the plan trains replicas by themselves there is one arm and one seed.
        """
        clip, task = self.recipe.clip, self.task
        if plan.group > 1:
            population = self.population(arms, seeds, plan.device)
            return Batched(population, captured=plan.captured, clip=clip, task=task)
        (arm,), (seed,) = arms, seeds
        replica = self.replica(arm, seed, plan.device, channels_last=plan.channels_last)
        return Single(replica.model, replica.optimizer, replica.applied, plan, clip, task)

    @property
    def is_known(self) -> bool:
        """Whether the model is made of layers of torch and networks of droplab alone."""
        model = self.replica(self.recipe.baseline, self.recipe.seeds[0]).model
        return all(is_stateless(module) for module in model.modules())

    @property
    def capturable(self) -> bool:
        """Whether the step of these replicas may be recorded and replayed."""
        replica = self.replica(self.recipe.baseline, self.recipe.seeds[0])
        allowed = self.has_recordable_schedule(together=False)
        return allowed and can_capture(replica.model, replica.optimizer)

    def has_recordable_schedule(self, *, together: bool) -> bool:
        """Whether a recorded step can follow the learning rates; see `Scheduler.recordable`."""
        scheduler, recipe = self.scheduler, self.recipe
        if scheduler is None:
            return True
        optimizer = self.replica(recipe.baseline, recipe.seeds[0]).optimizer
        return scheduler.recordable(optimizer, update=not together)


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
    recipe, dataset = model_from_data(recipe, progress)
    build, make_optimizer = BuildModel(recipe.model), BuildOptimizer(recipe.optimizer)
    model = _checked_model(build, recipe.seeds[0])
    _check_scheduler(recipe, check_optimizer(make_optimizer, model))
    rates = _rates(recipe, model)
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
    rates = _rates(recipe, model)
    own = own_loss, own_metrics
    return _checked(Experiment(recipe, splits, about, classes, rates, build, make_optimizer, *own))


def _scheduler(recipe: Recipe) -> Scheduler | None:
    found = recipe.scheduler
    return None if found is None else Scheduler(found.name, found.arguments, found.unit)


def _check_scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
    """Check a scheduler as far as can be done before the number of steps is known."""
    scheduler = _scheduler(recipe)
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
    model = initial_model(experiment.build, recipe.seeds[0])
    notes = experiment.splits.notes
    if experiment.scheduler is not None:
        scheduler = experiment.scheduler.over(recipe.epochs, experiment.steps_an_epoch)
        scheduler.table(experiment.make_optimizer(model.parameters()), 1)
        notes += scheduler.doubts(recipe.epochs, experiment.steps_an_epoch)
    classes = len(experiment.classes)
    task = KINDS[recipe.task or "classification"]()
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
    outputs = check_model(model, train, classes=classes, task=task)
    recipe = resolve_loss(recipe, experiment.classes, outputs, _targets(experiment.splits))
    experiment = dataclasses.replace(experiment, recipe=recipe)
    if recipe.loss is not None:
        check_model(model, train, classes=classes, task=experiment.task)
    check_further(model, experiment.splits.validation, experiment.task)
    check_training(model, train, recipe.batch_size, classes=classes, task=task)
    names, schedule = experiment.classes, experiment.scheduler
    notes += check_folds(recipe, experiment.splits, names, model, task, schedule)
    splits = dataclasses.replace(experiment.splits, notes=notes)
    if task.name == "binary":
        outputs = 2  # one logit tells two classes
    return dataclasses.replace(experiment, splits=data.doubts(splits, outputs, experiment.classes))


def _targets(splits: Splits) -> Tensor | None:
    """The targets that a loss is balanced by: with folds, of all rows, as it is one for all seeds.

    None where they are streamed.
    """
    train, validation = splits.train, splits.validation
    if not isinstance(train, Split):
        return None
    if splits.of_seed is None or not isinstance(validation, Split):
        return train.targets
    return torch.cat([train.targets, validation.targets])


def _rates(recipe: Recipe, model: nn.Module) -> dict[str, dict[str, float]]:
    """The rates of every arm at every site that some arm uses, in the order of the model."""
    chosen: dict[str, dict[str, float]] = {}
    for arm in recipe.arms:
        if not arm.rates:
            chosen[arm.name] = {}
            continue
        try:
            plan: Plan = placement.plan(model, dict(arm.rates), kind=arm.kind)
        except ArgumentError as error:
            raise type(error)(f"arms.{arm.name}: {error}") from error
        chosen[arm.name] = dict(plan.rates)
    used = {site for rates in chosen.values() for site in rates}
    order = [site.name for site in placement.sites(model) if site.name in used]
    return {arm: {site: own.get(site, 0.0) for site in order} for arm, own in chosen.items()}
