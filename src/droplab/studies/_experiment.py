"""A recipe with its names resolved: data in memory, a model to build, sites that exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from droplab import models, placement
from droplab.data import Split, Splits
from droplab.errors import ArgumentError
from droplab.importing import import_object
from droplab.ops import mask_key
from droplab.placement import Applied
from droplab.recipe import Arm, ModelSpec, OptimizerSpec, Recipe
from droplab.studies._arms import Own, kind_of_inputs, rate_of_step
from droplab.studies._rows import deciding_measure
from droplab.train import (
    Accumulation,
    Batched,
    Deciding,
    ExecutionPlan,
    Executor,
    Population,
    RateOfStep,
    Scheduler,
    Single,
    check_factory,
    initial_model,
)
from droplab.train.capture import can_capture, is_stateless, why_not_compiled
from droplab.train.optimizers import Group, MakeOptimizer, build_optimizer
from droplab.train.outputs import Part
from droplab.train.parameter_groups import find_groups
from droplab.train.precision import compute_in_bfloat16
from droplab.train.tasks import MetricFunction, Task, is_balanced, resolve_loss, task_of


@dataclasses.dataclass(frozen=True)
class BuildModel:
    """Makes the model of a recipe; an object rather than a function, so that it can be pickled."""

    spec: ModelSpec

    def __call__(self) -> nn.Module:
        """Return a new model."""
        return models.build(self.spec)

    @property
    def maker(self) -> object:
        """The class or function that the recipe names."""
        return import_object(self.spec.path, where="model.path")


@dataclasses.dataclass(frozen=True)
class BuildOptimizer:
    """Makes the optimizer of a recipe."""

    spec: OptimizerSpec
    groups: tuple[Group, ...] = ()

    @classmethod
    def of(cls, spec: OptimizerSpec, model: nn.Module) -> BuildOptimizer:
        """Return what makes the optimizer for models like this one, whose parameters have names.

        Raises:
            ArgumentError: If a group matches no parameter, or two groups one.
        """
        return cls(spec, find_groups(model, spec.groups or ()))

    def __call__(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return a new optimizer over `parameters`."""
        return build_optimizer(self.spec.name, self.spec.arguments, parameters, self.groups)


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
        own: What the model drops by itself, and what the arms make of it.
        part: The part of what a model returns that is its outputs; None: it returns them.
        several: Whether a model takes several inputs.
        blocks: Whether the metric that decides is kept on blocks of the validation examples.
        outputs: How many numbers the model returns for an example.
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
    own: Own = dataclasses.field(default_factory=Own)
    part: Part | None = None
    several: bool = False
    blocks: bool = False
    outputs: int = 0

    def of_seeds(self, seeds: Sequence[int]) -> Experiment:
        """Return the experiment as these seeds have it: on the rows of a seed that has its own.

        What the training rows tell (the units of a network for tables) is told by its own.

        Raises:
            ArgumentError: Where each seed has its own rows, if there are several seeds.
        """
        if self.splits.of_seed is None:
            return self
        if len(seeds) != 1:
            raise ArgumentError(
                f"seeds: expected one, since each has examples of its own, got {len(seeds)}"
            )
        splits = self.splits.of_seed(seeds[0])
        test = splits.test if isinstance(splits.test, Split) else self.splits.test
        splits = dataclasses.replace(splits, notes=self.splits.notes, test=test)
        build, train = self.build, splits.train
        if isinstance(build, BuildModel) and self.recipe.task == "regression":
            assert isinstance(train, Split)  # no other has rows to draw
            build = BuildModel(models.fitted(self.recipe.model, train.targets))
        return dataclasses.replace(self, splits=splits, build=build)

    @property
    def task(self) -> Task:
        """What is learned: its loss, and what is measured.

        Where each seed has its own examples, classes are balanced by those that it trains on.
        """
        recipe, train = self.recipe, self.splits.train
        if is_balanced(recipe):
            assert isinstance(train, Split)  # others are balanced once, for all seeds
            recipe = resolve_loss(recipe, self.classes, self.outputs, train.targets)
        return task_of(recipe, self.own_loss, self.own_metrics, self.weighted)

    @property
    def deciding(self) -> Deciding | None:
        """What is measured on blocks of the validation examples, if that is kept."""
        measure = deciding_measure(self.recipe) if self.blocks else None
        if measure is None:
            return None
        return Deciding(measure, torch.from_numpy(self.splits.blocks))

    @property
    def stops(self) -> bool:
        """Whether it is known where each replica would be stopped early."""
        return self.blocks or self.splits.stopping is not None

    @property
    def weighted(self) -> tuple[int, ...] | None:
        """The shape of a target, of data in which each example has a weight; None of other data."""
        train = self.splits.train
        if not isinstance(train, Split) or train.weights is None:
            return None
        return tuple(train.targets.shape[1:])

    @property
    def step_size(self) -> int:
        """Examples that a step of the optimizer is made of; the last one of an epoch may be less.

        Where the examples are fewer than that, a step is an epoch.
        """
        return min(self.recipe.step_size, len(self.splits.train))

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps of one epoch."""
        return -(-len(self.splits.train) // self.step_size)

    @property
    def scheduler(self) -> Scheduler | None:
        """What changes the learning rate, if anything."""
        return scheduler_of(self.recipe)

    def new_model(self, seed: int) -> nn.Module:
        """Return a model with the initial weights of a seed, which returns its outputs."""
        model = initial_model(self.build, seed)
        if self.part is not None:
            model.register_forward_hook(self.part)
        if self.recipe.precision is not None:
            compute_in_bfloat16(model)
        return model

    def replica(
        self, arm: Arm, seed: int, device: str = "cpu", *, channels_last: bool = False
    ) -> Replica:
        """Return the replica of `arm` and `seed` on `device`, as it is before its first step.

        Every arm carries the same sites, at p = 0 where it has none, so that all arms run the
        same code. Keys depend on seed and site alone, those of the model's own dropout, too.
        """
        model = self.new_model(seed).to(device)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] # torch takes it alone
        applied = self._applied(model, arm, kind_of_inputs(arm))
        applied.seed({name: mask_key(seed, name) for name in applied.streams})
        return Replica(model, self.make_optimizer(model.parameters()), applied)

    def _applied(self, model: nn.Module, arm: Arm, kind: str | None) -> Applied:
        """Make a model that of an arm: its own rates first, then the sites."""
        self.own.write(model, arm.name)
        plan = placement.plan(model, self.rates[arm.name], kind=kind)
        return plan.apply(own=self.own.drawing)

    def population(
        self, arms: Sequence[Arm], seeds: Sequence[int], device: str = "cpu"
    ) -> Population:
        """Return the replicas of `arms` x `seeds` as one population, before their first step.

        Raises:
            ArgumentError: If the model's factory returns the same object twice, or another
                architecture per call; the optimizer cannot be stacked; or the arms give the
                model's own dropout different rates, which all members share.
        """
        first = self.own.existing.get(arms[0].name, {})
        if any(self.own.existing.get(arm.name, {}) != first for arm in arms):
            raise ArgumentError(
                "population: expected arms that agree in the rates of existing dropout, got others"
            )
        models_of_seeds = [self.new_model(seed) for seed in seeds]
        check_factory(models_of_seeds)
        kind = next((kind_of_inputs(arm) for arm in arms if arm.places), None)
        template = models_of_seeds[0]
        applied = self._applied(template, arms[0], kind)
        applied.seed({name: mask_key(seeds[0], name) for name in applied.streams})
        rates = [[self.rates[arm.name][name] for name in applied.names] for arm in arms]
        keys = [[mask_key(seed, name) for name in applied.streams] for seed in seeds]
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
        recipe, task = self.recipe, self.task
        clip, count = recipe.clip, recipe.accumulate
        parts = None if count is None else Accumulation(count, recipe.batch_size)
        if plan.group > 1:
            population = self.population(arms, seeds, plan.device)
            return Batched(
                population, captured=plan.captured, clip=clip, task=task, accumulation=parts
            )
        (arm,), (seed,) = arms, seeds
        replica = self.replica(arm, seed, plan.device, channels_last=plan.channels_last)
        return Single(replica.model, replica.optimizer, replica.applied, plan, clip, task, parts)

    def rates_of_step(self, arms: Sequence[Arm]) -> list[RateOfStep | None] | None:
        """Return how the rates of each arm change with the step; None if none of them does."""
        found = [arm.schedule and rate_of_step(arm.schedule) for arm in arms]
        return found if any(found) else None

    @property
    def is_known(self) -> bool:
        """Whether the model is made of layers of torch and networks of droplab alone.

        With several inputs it is not known for that: torch's layers act on masks in Python.
        """
        if self.several:
            return False
        model = self.replica(self.recipe.baseline, self.recipe.seeds[0]).model
        return all(is_stateless(module) for module in model.modules())

    @property
    def why_apart(self) -> str:
        """Why replicas of any model could not train together; "" if nothing is against it."""
        scheduler = self.scheduler
        if scheduler is None or not scheduler.watches:
            return ""
        return f"the learning rate of each follows its own {self.recipe.primary}"

    @property
    def why_not_compiled(self) -> str:
        """Why steps cannot be compiled as C; "" if nothing is against it so far."""
        recipe = self.recipe
        if recipe.accumulate is not None:
            return "no C is known for steps of several mini-batches"
        if recipe.precision is not None:
            return f"no C is known for {recipe.precision}"
        return why_not_compiled(self.task)

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


def scheduler_of(recipe: Recipe) -> Scheduler | None:
    """Return what changes the learning rate of a recipe, if anything."""
    found = recipe.scheduler
    if found is None:
        return None
    return Scheduler(
        found.name,
        found.arguments,
        found.unit,
        higher=recipe.metrics[recipe.primary].higher_is_better,
        keep_ratio=recipe.optimizer.groups is not None,
    )
