"""Training a population: K replicas, epoch by epoch, in batched steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.data import Split, to_float
from droplab.errors import ArgumentError
from droplab.train._execution import ExecutionPlan
from droplab.train._fit import Diverged, EpochResult, check_model
from droplab.train._meter import Score
from droplab.train._population import Population
from droplab.train._population_meter import PopulationEvaluation
from droplab.train._population_step import PopulationStep
from droplab.train._rates import RateOfStep, SiteRates
from droplab.train._scheduler import Scheduler, begin_schedule, set_epoch
from droplab.train._streams import batch_order, scored_examples

_WINDOW = 64
"""Steps between two looks at the losses."""

_CHUNK = 1 << 19
"""About how many numbers are gathered together: two megabytes of floats stay in the cache."""


@dataclasses.dataclass(frozen=True)
class PopulationEpoch:
    """What one epoch measured for all members.

    Attributes:
        epoch: Number of the epoch, from 1.
        results: One for each member; None for those that are frozen.
        diverged: Members whose loss became NaN or infinite in this epoch, and where.
    """

    epoch: int
    results: tuple[EpochResult | None, ...]
    diverged: dict[int, Diverged]


def fit_population(
    population: Population,
    train: Split,
    validation: Split,
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    plan: ExecutionPlan,
    start: int = 0,
    clip: float | None = None,
    scheduler: Scheduler | None = None,
    rates: RateOfStep | None = None,
    log_every: int = 0,
    on_log: Callable[[int, int, float], None] | None = None,
    on_steps: Callable[[int], None] | None = None,
) -> Iterator[PopulationEpoch]:
    """Train all members and yield one `PopulationEpoch` after each epoch.

    Every member takes the steps that `fit` would take with its seed and rates: the same batches,
    the same masks, the same updates, within float rounding. A member whose loss becomes NaN or
    infinite is frozen; the others go on as if it were not there. Given the same arguments and
    plan, the results are the same bits, wherever the run was interrupted.

    Args:
        population: The replicas, as they are before epoch `start + 1`.
        train: Training examples, in memory.
        validation: Validation examples, in memory.
        seeds: The seed of the batch order for each of the population's seeds.
        epochs: How many epochs the whole run has.
        batch_size: Examples a step and member; the last step of an epoch takes what is left.
        plan: How the steps are executed. Its settings are active while an epoch runs.
        start: Epochs that were done before, when resuming.
        clip: Largest norm of each member's gradient, above which it is scaled down; None not to
            clip.
        scheduler: Sets the learning rate of each epoch; None to leave it as it is.
        rates: Dropout rates that change: a function of (step over all epochs, p) which returns the
            rate of a site that has rate p in the plan, for example
            `lambda step, p: early(step, p=p, steps=500)`; None for constant rates.
        log_every: Mini-batches whose mean loss is reported together; 0 for none.
        on_log: Called with (member, steps done over all epochs, mean loss of the last `log_every`).
        on_steps: Called now and then with the number of batched steps done since the last call.

    Yields:
        The results of epochs `start + 1` to `epochs`.

    Raises:
        ArgumentError: If the batch is larger than the data, or the model's output does not fit.
        PlacementError: If a planned site did not fire in the first step.

    Randomness:
        Streams (seed, "order", epoch); masks as the population's keys say.
    """
    count = len(train)
    if batch_size > count:
        raise ArgumentError(
            f"batch_size: expected at most the {count} training examples, got {batch_size}"
        )
    if len(seeds) != population.seeds:
        raise ArgumentError(
            f"seeds: expected {population.seeds}, one for each model of the population, got "
            f"{len(seeds)}"
        )
    check_model(population.template, train)
    steps = -(-count // batch_size)
    population.template.train()
    table = begin_schedule(scheduler, population.optimizer, epochs, captured=plan.captured)
    step = PopulationStep(population, captured=plan.captured, clip=clip)
    site_rates = SiteRates(population.p, rates)
    evaluation = PopulationEvaluation(population, captured=plan.captured)
    scored = scored_examples(count, plan.score_train)
    source = SeedBatches(train, population.device)
    for epoch in range(start + 1, epochs + 1):
        began = perf_counter()
        if table is not None:
            set_epoch(population.optimizer, table[epoch - 1])
        step.refresh()
        with plan.active(), site_rates.driven():
            number = (epoch - 1) * steps
            window = _Window(population, epoch, number, log_every, on_log)
            orders = torch.stack([batch_order(seed, epoch, count) for seed in seeds])
            for inputs, targets in source.batches(orders, batch_size):
                population.set_step(number)
                site_rates.set_step(number)
                logits = step(inputs, targets)
                if number == start * steps:
                    population.applied.check_fired()
                number += 1
                if window.add(logits, targets):
                    _tell(on_steps, window.flush())
            _tell(on_steps, window.flush())
            part = scored if epoch < epochs else None
            scores = (
                evaluation(train, part, batch_size=plan.score_batch),
                evaluation(validation, batch_size=plan.score_batch),
            )
        seconds = (perf_counter() - began) / population.members
        yield PopulationEpoch(
            epoch, tuple(window.results(epoch, *scores, seconds)), window.diverged
        )


class SeedBatches:
    """The batches of several seeds side by side, gathered for many steps at a time.

    Args:
        split: Examples in memory.
        device: Where the batches are wanted.
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self._inputs = split.inputs.to(device)
        self._targets = split.targets.to(device)
        self._numbers = split.inputs[0].numel()

    def batches(self, orders: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs (S, B, ...) and targets (S, B), for `orders` of shape (S, N)."""
        seeds, count = orders.shape
        orders = orders.to(self._inputs.device)
        chunk = max(1, min(_WINDOW, _CHUNK // (seeds * batch_size * self._numbers)))
        whole = count // batch_size
        for first in range(0, whole, chunk):
            steps = min(chunk, whole - first)
            part = orders[:, first * batch_size : (first + steps) * batch_size]
            yield from self._gather(part.view(seeds, steps, batch_size).transpose(0, 1))
        if count % batch_size:
            yield from self._gather(orders[:, whole * batch_size :][None])

    def _gather(self, index: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        flat = index.reshape(-1)
        inputs = to_float(self._inputs.index_select(0, flat))
        inputs = inputs.view(*index.shape, *self._inputs.shape[1:])
        targets = self._targets.index_select(0, flat).view(index.shape)
        yield from zip(inputs.unbind(0), targets.unbind(0), strict=True)


class _Window:
    """Running losses and accuracies of an epoch for all members, looked at every few steps."""

    def __init__(
        self,
        population: Population,
        epoch: int,
        first: int,
        log_every: int,
        on_log: Callable[[int, int, float], None] | None,
    ) -> None:
        self._population = population
        self._epoch = epoch
        self._first = first
        self._every = log_every if on_log else 0
        self._on_log = on_log
        self._logged: list[list[float]] = []
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._steps = self._examples = 0
        members = population.members
        self._loss = torch.zeros(members, dtype=torch.float64)
        self._correct = torch.zeros(members, dtype=torch.float64)
        self.diverged: dict[int, Diverged] = {}

    def add(self, logits: Tensor, targets: Tensor) -> bool:
        """Keep a step's output; return whether it is time to flush."""
        self._logits.append(logits)
        self._targets.append(targets)
        return len(self._logits) == _WINDOW

    def flush(self) -> int:
        """Score the kept steps, and return how many they were."""
        steps = len(self._logits)
        if not steps:
            return 0
        sizes = [logits.shape[2] for logits in self._logits]
        logits = torch.cat(self._logits, dim=2).float()  # (S, A, all examples, C)
        targets = torch.cat(self._targets, dim=1)[:, None].expand(logits.shape[:3])
        with torch.inference_mode():
            flat = logits.flatten(0, 2), targets.reshape(-1)
            losses = F.cross_entropy(*flat, reduction="none").double()
            losses = losses.view(self._population.members, -1)
            means = torch.stack([part.mean(1) for part in losses.split(sizes, dim=1)]).cpu()
            self._loss += losses.sum(1).cpu()
            right = (flat[0].argmax(1) == flat[1]).view(self._population.members, -1)
            self._correct += right.sum(1).cpu()
        self._freeze(means)
        self._log(means)
        self._examples += sum(sizes)
        self._steps += steps
        self._logits.clear()
        self._targets.clear()
        return steps

    def _freeze(self, means: Tensor) -> None:
        broken = ~means.isfinite()
        if not bool(broken.any()):
            return
        for member in broken.any(0).nonzero().flatten().tolist():
            if self._population.alive[member]:
                step = int(broken[:, member].int().argmax())
                value = means[step, member].item()
                self.diverged[member] = Diverged(self._epoch, self._steps + step + 1, value)
                self._population.freeze(member)

    def _log(self, means: Tensor) -> None:
        if not self._every or self._on_log is None:
            return
        for row in means.tolist():
            self._logged.append(row)
            if len(self._logged) == self._every:
                done = self._first + self._logged_before + self._every
                self._logged_before += self._every
                for member, alive in enumerate(self._population.alive):
                    if alive:
                        total = sum(losses[member] for losses in self._logged)
                        self._on_log(member, done, total / self._every)
                self._logged.clear()

    _logged_before = 0

    def results(
        self, epoch: int, train: list[Score], validation: list[Score], seconds: float
    ) -> Iterator[EpochResult | None]:
        """Yield what the epoch measured for each member, None for a frozen one."""
        losses, correct = (self._loss / self._examples), (self._correct / self._examples)
        for member, alive in enumerate(self._population.alive):
            if not alive:
                yield None
                continue
            running = losses[member].item(), correct[member].item()
            scores = train[member], validation[member]
            yield EpochResult(epoch, *running, *scores, seconds)


def _tell(on_steps: Callable[[int], None] | None, steps: int) -> None:
    if on_steps is not None and steps:
        on_steps(steps)
