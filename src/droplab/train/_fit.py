"""Training one replica: one model, one arm, one seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from droplab.errors import ArgumentError, DroplabError
from droplab.placement import Applied
from droplab.train._capture import CapturedStep, build_step
from droplab.train._evaluate import Batches, OnDevice, evaluate
from droplab.train._execution import ExecutionPlan
from droplab.train._meter import Score
from droplab.train._rates import RateOfStep, SiteRates
from droplab.train._scheduler import Scheduler, begin_schedule, set_epoch
from droplab.train._streams import batch_order, global_generators, scored_examples

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
    """What one epoch measured.

    Attributes:
        epoch: Number of the epoch, from 1.
        running_loss: Mean training loss over the epoch's examples as they were seen, dropout on.
        running_accuracy: Accuracy over the same, dropout on, in [0, 1].
        train: Score on the training examples in eval mode, after the epoch; on some of them where
            the plan says so, but after the last epoch on all.
        validation: Score on the validation examples in eval mode, after the epoch.
        seconds: Wall time of the epoch, scoring included.
    """

    epoch: int
    running_loss: float
    running_accuracy: float
    train: Score
    validation: Score
    seconds: float


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    applied: Applied,
    train: Batches,
    validation: Batches,
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    plan: ExecutionPlan,
    start: int = 0,
    clip: float | None = None,
    scheduler: Scheduler | None = None,
    rates: RateOfStep | None = None,
    log_every: int = 0,
    on_log: Callable[[int, float], None] | None = None,
    on_steps: Callable[[int], None] | None = None,
) -> Iterator[EpochResult]:
    """Train `model` and yield one `EpochResult` after each epoch.

    The caller has put the model on the plan's device, has seeded the sites of `applied` and may
    save a checkpoint at each yield. Given the same arguments and plan, the results are the same
    bits, wherever the run was interrupted.

    Args:
        model: Maps (B, ...) inputs to logits of shape (B, C).
        optimizer: Updates the model's parameters.
        applied: The sites at work in the model; they may be none.
        train: Training examples.
        validation: Validation examples.
        seed: Seed of the batch order, and of what a model's own random layers draw.
        epochs: How many epochs the whole run has.
        batch_size: Examples a step; the last step of an epoch takes what is left.
        plan: How the steps are executed. Its settings are active while an epoch runs.
        start: Epochs that were done before, when resuming.
        clip: Largest norm of the gradient, above which it is scaled down; None not to clip.
        scheduler: Sets the learning rate of each epoch; None to leave it as it is.
        rates: Dropout rates that change: a function of (step over all epochs, p) which returns the
            rate of a site that has rate p in the plan, for example
            `lambda step, p: early(step, p=p, steps=500)`; None for constant rates.
        log_every: Mini-batches whose mean loss is reported together; 0 for none.
        on_log: Called with (steps done over all epochs, mean loss of the last `log_every`).
        on_steps: Called now and then with the number of steps done since the last call.

    Yields:
        The results of epochs `start + 1` to `epochs`.

    Raises:
        ArgumentError: If the batch is larger than the data, or the model's output does not fit.
        PlacementError: If a planned site did not fire in the first step.
        Diverged: If the loss becomes NaN or infinite. Earlier results have been yielded.

    Randomness:
        Streams (seed, "order", epoch) and (seed, "torch", epoch); masks as the sites were seeded.
    """
    count = len(train)
    if batch_size > count:
        raise ArgumentError(
            f"batch_size: expected at most the {count} training examples, got {batch_size}"
        )
    if plan.device != "cpu":
        train, validation = OnDevice(train, plan.device), OnDevice(validation, plan.device)
    check_model(model, train)
    steps = -(-count // batch_size)
    model.train()
    table = begin_schedule(scheduler, optimizer, epochs, captured=plan.captured)
    step = build_step(plan, model, optimizer, clip)
    scored = scored_examples(count, plan.score_train)
    site_rates = SiteRates(applied.p if rates is not None else None, rates)
    for epoch in range(start + 1, epochs + 1):
        began = perf_counter()
        if table is not None:
            set_epoch(optimizer, table[epoch - 1])
        if isinstance(step, CapturedStep):
            step.refresh()
        with plan.active(), global_generators(seed, "torch", epoch), site_rates.driven():
            first = number = (epoch - 1) * steps
            window = _Window(epoch, _Log(first, log_every, on_log))
            for inputs, targets in train.batches(batch_order(seed, epoch, count), batch_size):
                applied.set_step(number)
                site_rates.set_step(number)
                logits = step(inputs, targets)
                # compiled steps tell no hook, but the first one of a run is not compiled
                if number == start * steps and (number == 0 or not plan.compiled):
                    applied.check_fired()
                number += 1
                if window.add(logits, targets):
                    _tell(on_steps, window.flush())
            _tell(on_steps, window.flush())
            part = scored if epoch < epochs else None
            scores = (
                evaluate(model, train, part, batch_size=plan.score_batch),
                evaluate(model, validation, batch_size=plan.score_batch),
            )
        yield EpochResult(epoch, *window.result(), *scores, perf_counter() - began)


def check_model(model: nn.Module, split: Batches, *, classes: int = 1) -> None:
    """Check on two examples, in eval mode, that the model takes the data and returns its logits.

    Args:
        model: The model.
        split: Where the examples come from.
        classes: How many classes the data has.

    Raises:
        ArgumentError: If the model refuses the batch, or its output is no tensor of shape (B, C)
            with C at least `classes`.
    """
    inputs, targets = next(split.batches(torch.arange(min(2, len(split))), 2))
    training = [(module, module.training) for module in model.modules()]
    try:
        with torch.inference_mode():
            logits = model.eval()(inputs)
    except (RuntimeError, TypeError, IndexError) as error:
        raise ArgumentError(
            f"model: cannot take a batch of shape {tuple(inputs.shape)} ({inputs.dtype}): {error}"
        ) from error
    finally:
        for module, flag in training:
            module.training = flag
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(targets):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ArgumentError(
            f"model: expected logits of shape ({len(targets)}, classes) for a batch of "
            f"{len(targets)}, got {what}"
        )
    if logits.shape[1] < classes:
        raise ArgumentError(
            f"model: the data has {classes} classes, and the model returns {logits.shape[1]} "
            "logits; give it as many outputs as there are classes"
        )


class _Window:
    """Running loss and accuracy of an epoch, looked at every few steps."""

    def __init__(self, epoch: int, log: _Log) -> None:
        self._epoch = epoch
        self._log = log
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._steps = self._examples = 0
        self._loss = self._correct = 0.0

    def add(self, logits: Tensor, targets: Tensor) -> bool:
        """Keep a step's output; return whether it is time to flush."""
        self._logits.append(logits)
        self._targets.append(targets)
        return len(self._logits) == _WINDOW

    def flush(self) -> int:
        """Score the kept steps, and return how many they were."""
        if not self._logits:
            return 0
        sizes = [len(targets) for targets in self._targets]
        logits, targets = torch.cat(self._logits).float(), torch.cat(self._targets)
        losses = F.cross_entropy(logits, targets, reduction="none").double()
        last = len(losses) - sizes[-1]  # only the last step of an epoch may have fewer examples
        means = losses[:last].view(-1, sizes[0]).mean(1).tolist() if last else []
        means.append(losses[last:].mean().item())
        for index, mean in enumerate(means):
            if not abs(mean) < float("inf"):
                raise Diverged(self._epoch, self._steps + index + 1, mean)
        self._log.add(means)
        self._loss += losses.sum().item()
        self._correct += (logits.argmax(1) == targets).sum().item()
        self._examples += len(targets)
        self._steps += len(sizes)
        self._logits.clear()
        self._targets.clear()
        return len(sizes)

    def result(self) -> tuple[float, float]:
        """Return mean loss and accuracy over the epoch's examples."""
        return self._loss / self._examples, self._correct / self._examples


class _Log:
    """Mean losses of every so many mini-batches of one epoch."""

    def __init__(self, first: int, every: int, report: Callable[[int, float], None] | None) -> None:
        self._first = first
        self._every = every if report else 0
        self._report = report
        self._done = 0
        self._losses: list[float] = []

    def add(self, losses: list[float]) -> None:
        if not self._every or self._report is None:
            return
        for loss in losses:
            self._losses.append(loss)
            self._done += 1
            if self._done % self._every == 0:
                self._report(self._first + self._done, sum(self._losses) / len(self._losses))
                self._losses.clear()


def _tell(on_steps: Callable[[int], None] | None, steps: int) -> None:
    if on_steps is not None and steps:
        on_steps(steps)
