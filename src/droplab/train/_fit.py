"""Training replicas, epoch by epoch: one loop over any executor."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

import torch
from torch import Tensor

from droplab.errors import ArgumentError, DroplabError
from droplab.train._deciding import Deciding, Parts, parts_of
from droplab.train._execution import ExecutionPlan
from droplab.train._executor import Executor
from droplab.train._rates import RateOfStep, SiteRates
from droplab.train._scheduler import Schedule, Scheduler
from droplab.train.model_check import check_model
from droplab.train.scoring import Batches
from droplab.train.streams import batch_order, global_generators, scored_examples
from droplab.train.tasks import Answers, Score, Terms, total

_WINDOW = 64
"""Steps between two looks at the losses, which also moves the progress bar."""


class Diverged(DroplabError):
    """The loss of a replica became NaN or infinite.

    Attributes:
        epoch: The epoch, from 1.
        step: The step within that epoch, from 1.
    """

    def __init__(self, epoch: int, step: int, loss: float) -> None:
        super().__init__(
            f"the training loss became {loss} at epoch {epoch}, step {step}; the rows before it "
            "are kept. Lower the learning rate, or look for infinite values in the data"
        )
        self.epoch = epoch
        self.step = step


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """What one epoch measured of one replica.

    Attributes:
        epoch: Number of the epoch, from 1.
        running: Loss and score over the epoch's examples as they were seen, dropout on.
        train: Score on the training examples in eval mode, after the epoch; on some of them where
            the plan says so, but after the last epoch on all.
        validation: Score on the validation examples in eval mode, after the epoch.
        seconds: Wall time of the epoch, scoring included; of members together, a share of it.
        parts: The deciding metric on parts of the validation examples, if that was asked for; on
            each example after the last epoch alone.
        answers: What the validation examples are answered, counted, after the last epoch; None
            where answers are no classes.
        held: Score on the examples by which early stopping chooses, if it has such of its own.
    """

    epoch: int
    running: Score
    train: Score
    validation: Score
    seconds: float
    parts: Parts | None = None
    answers: Answers | None = None
    held: Score | None = None


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch measured of all members.

    Attributes:
        epoch: Number of the epoch, from 1.
        results: One for each member; None for those that are not trained any more.
        diverged: Members whose loss became NaN or infinite in this epoch, and where.
    """

    epoch: int
    results: tuple[EpochResult | None, ...]
    diverged: dict[int, Diverged]


def fit(
    executor: Executor,
    train: Batches,
    validation: Batches,
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    plan: ExecutionPlan,
    start: int = 0,
    scheduler: Scheduler | None = None,
    watch: Callable[[EpochResult], float] | None = None,
    watched: Sequence[float] = (),
    rates: RateOfStep | Sequence[RateOfStep | None] | None = None,
    deciding: Deciding | None = None,
    held: Batches | None = None,
    log_every: int = 0,
    on_log: Callable[[int, int, float], None] | None = None,
    on_steps: Callable[[int], object] | None = None,
) -> Iterator[Epoch]:
    """Train all members of an executor and yield one `Epoch` after each epoch.

    Every member takes the steps that it would take by itself: the same batches, masks and updates,
    within float rounding. A member whose loss becomes NaN or infinite is taken out; the others go
    on as if it were not there, and training ends when there are none. The caller has seeded the
    sites and may save a checkpoint at each yield. Given the same arguments and plan, the results
    are the same bits, wherever the run was interrupted.

    Args:
        executor: The replicas, as they are before epoch `start + 1`, on the plan's device.
        train: Training examples.
        validation: Validation examples.
        seeds: For each seed of the executor, the seed of the batch order. What a model's own random
            layers draw comes from the first one.
        epochs: How many epochs the whole run has.
        batch_size: Examples a step and member; the last step of an epoch takes what is left.
        plan: How the steps are executed. Its settings are active while an epoch runs.
        start: Epochs that were done before, when resuming.
        scheduler: Sets the learning rate of each epoch or step; None to leave it as it is.
        watch: What a scheduler that watches a metric is told of an epoch.
        watched: What it was told of the epochs that were done before.
        rates: Dropout rates that change: a function of (step over all epochs, p) which returns the
            rate of a site that has rate p in the plan, for example
            `lambda step, p: early(step, p=p, steps=500)`; or one for each arm of the executor, None
            where they stay; None for constant rates.
        deciding: The metric that is told of parts of the validation examples, too; None: none is.
        held: Examples that are scored beside the validation examples, by which early stopping
            chooses; None: there are none.
        log_every: Mini-batches whose mean loss is reported together; 0 for none.
        on_log: Called with (member, steps done over all epochs, mean loss of the last `log_every`).
        on_steps: Called now and then with the number of steps done since the last call.

    Yields:
        What epochs `start + 1` to `epochs` measured.

    Raises:
        ArgumentError: If the batch is larger than the data, the model's output does not fit, or
            a scheduler watches a metric of several members.
        PlacementError: If a planned site did not fire in the first step.

    Randomness:
        Streams (seed, "order", epoch) and (first seed, "torch", epoch); masks as the sites were
        seeded.
    """
    count = len(train)
    if batch_size > count:
        raise ArgumentError(
            f"batch_size: expected at most the {count} training examples, got {batch_size}"
        )
    if executor.members % len(seeds):
        raise ArgumentError(
            f"seeds: expected one for each model of the {executor.members} members, got "
            f"{len(seeds)}"
        )
    if scheduler is not None and scheduler.watches and (executor.members > 1 or watch is None):
        raise ArgumentError(
            f"scheduler: expected replicas that train alone, and the metric to watch, for "
            f"{scheduler.name}, got {executor.members} together"
        )
    source = executor.source(train)
    check_model(executor.model, train, task=executor.task)
    steps = -(-count // batch_size)
    executor.model.train()
    schedule = Schedule(
        scheduler,
        executor.optimizer,
        epochs,
        steps,
        start=start,
        captured=plan.captured,
        update=executor.records_update,
        watched=watched,
    )
    if not schedule.recordable:
        executor.stop_recording()
    step, set_step = executor.step, executor.set_step
    scored = scored_examples(count, plan.score_train)
    site_rates = SiteRates(executor.p if rates is not None else None, rates)
    for epoch in range(start + 1, epochs + 1):
        began = perf_counter()
        schedule.begin_epoch()
        executor.refresh()
        with plan.active(), global_generators(seeds[0], "torch", epoch), site_rates.driven():
            number = (epoch - 1) * steps
            window = _Window(executor, epoch, _Log(number, log_every, on_log))
            orders = [batch_order(seed, epoch, count) for seed in seeds]
            for inputs, targets in source.batches(orders, batch_size):
                if schedule.begin_step():
                    executor.refresh()
                set_step(number)
                site_rates.set_step(number)
                outputs = step(inputs, targets)
                # compiled steps tell no hook, but the first one of a run is not compiled
                if number == start * steps and (number == 0 or not plan.compiled):
                    executor.applied.check_fired()
                number += 1
                if window.add(outputs, targets):
                    _tell(on_steps, window.flush())
            _tell(on_steps, window.flush())
            with plan.scoring():
                part, size = scored if epoch < epochs else None, plan.score_batch
                of_train = executor.score(train, part, batch_size=size)
                metric = None if deciding is None else deciding.metric
                last = epoch == epochs
                meter = executor.measure(
                    validation, batch_size=size, fully=True, in_parts=metric, answers=last
                )
                apart: list[Score | None] = [None] * executor.members
                if held is not None:
                    apart = [*executor.measure(held, batch_size=size, fully=True).scores()]
            counted = meter.answers.of_members() if meter.answers else [None] * meter.members
            parts = parts_of(meter, deciding, last=last)
            scores = [*zip(of_train, meter.scores(), parts, counted, apart, strict=True)]
        seconds = (perf_counter() - began) / executor.members
        results = tuple(window.results(scores, seconds))
        if watch is not None and results[0] is not None:
            schedule.watched.append(watch(results[0]))
        yield Epoch(epoch, results, window.diverged)
        if not any(executor.alive):
            return


class _Window:
    """Running losses and scores of an epoch, looked at every few steps."""

    def __init__(self, executor: Executor, epoch: int, log: _Log) -> None:
        self._executor = executor
        self._epoch = epoch
        self._log = log
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._steps = 0
        # sums of loss and score, and what they are divided by
        self._loss = torch.zeros(2, executor.members, dtype=torch.float64)
        self._score = torch.zeros(2, executor.members, dtype=torch.float64)
        self.diverged: dict[int, Diverged] = {}

    def add(self, outputs: Tensor, targets: Tensor) -> bool:
        """Keep a step's output; return whether it is time to flush."""
        together = self._executor.together
        self._outputs.append(outputs if together else outputs[None, None])
        self._targets.append(targets if together else targets[None])
        return len(self._outputs) == _WINDOW

    def flush(self) -> int:
        """Score the kept steps, and return how many they were."""
        if not self._outputs:
            return 0
        task, members = self._executor.task, self._executor.members
        sizes = [t.shape[1] for t in self._targets]
        # (S, A, examples of all steps, ...) and (S, the same examples, ...)
        outputs = torch.cat(self._outputs, dim=2).float()
        targets = torch.cat(self._targets, dim=1)[:, None]
        targets = targets.expand(-1, outputs.shape[1], *targets.shape[2:]).flatten(0, 2)
        outputs = outputs.flatten(0, 2)
        with torch.inference_mode():
            losses, counts = _of_members(task.terms(outputs, targets), members)
            table = torch.cat(list(_means(losses.double(), counts, sizes)), 1).T.cpu()
            _add(self._loss, losses.double(), counts)
            hits = task.hits(outputs, task.unpacked(targets)[0])
            _add(self._score, *_of_members(hits, members))
        rows = table.tolist()
        self._freeze(rows)
        self._log.add(rows, self._executor.alive)
        self._steps += len(sizes)
        self._outputs.clear()
        self._targets.clear()
        return len(sizes)

    def _freeze(self, rows: list[list[float]]) -> None:
        for step, row in enumerate(rows):
            for member, mean in enumerate(row):
                if not math.isfinite(mean) and self._executor.alive[member]:
                    self.diverged[member] = Diverged(self._epoch, self._steps + step + 1, mean)
                    self._executor.freeze(member)

    def results(
        self,
        scores: Sequence[tuple[Score, Score, Parts | None, Answers | None, Score | None]],
        seconds: float,
    ) -> Iterator[EpochResult | None]:
        """Yield what the epoch measured of each member, None for one that is out."""
        names = self._executor.task.names[:2]
        losses = (self._loss[0] / self._loss[1]).tolist()
        found = self._executor.task.score_of(self._score[0] / self._score[1]).tolist()
        for member, alive in enumerate(self._executor.alive):
            if not alive:
                yield None
                continue
            running = dict(zip(names, (losses[member], found[member]), strict=True))
            train, validation, parts, answers, held = scores[member]
            yield EpochResult(
                self._epoch, running, train, validation, seconds, parts, answers, held
            )


def _of_members(terms: Terms, members: int) -> Terms:
    values, weights = terms
    return values.view(members, -1), None if weights is None else weights.view(members, -1)


def _means(losses: Tensor, weights: Tensor | None, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Yield the losses of steps, (K, steps); only the last step of an epoch may be smaller."""
    last = losses.shape[1] - sizes[-1]
    parts = [(slice(last, None), sizes[-1])]
    for part, size in [(slice(0, last), sizes[0]), *parts] if last else parts:
        found = losses[:, part].unflatten(1, (-1, size))
        if weights is None:
            yield found.mean(2)
        else:
            yield found.sum(2) / total(weights[:, part].unflatten(1, (-1, size)), 2)


def _add(sums: Tensor, values: Tensor, weights: Tensor | None) -> None:
    sums[0] += values.sum(1).cpu()
    sums[1] += values.shape[1] if weights is None else weights.sum(1).cpu()


class _Log:
    """Mean losses of every so many mini-batches of one epoch."""

    def __init__(
        self, first: int, every: int, report: Callable[[int, int, float], None] | None
    ) -> None:
        self._first = first
        self._every = every if report else 0
        self._report = report
        self._done = 0
        self._rows: list[list[float]] = []

    def add(self, rows: list[list[float]], alive: list[bool]) -> None:
        if not self._every or self._report is None:
            return
        for row in rows:
            self._rows.append(row)
            self._done += 1
            if self._done % self._every == 0:
                for member in [m for m, there in enumerate(alive) if there]:
                    mean = sum(losses[member] for losses in self._rows) / len(self._rows)
                    self._report(member, self._first + self._done, mean)
                self._rows.clear()


def _tell(on_steps: Callable[[int], object] | None, steps: int) -> None:
    if on_steps is not None and steps:
        on_steps(steps)
