"""Learning-rate schedulers of torch by name, as a table: epoch or step -> learning rate.

torch's schedulers change their optimizer as they go, and a resumed run would have to carry their
state. Those that look at nothing but how often they were stepped are run on a stand-in. What they
set is then known for every epoch or step, wherever a run is taken up, and is the same for every
replica of a population. One that watches a metric is run on it as well, and told anew what it was
in the epochs before.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from droplab.errors import ArgumentError, nearest
from droplab.numeric import real
from droplab.train.optimizers import reads_rate

_OTHER_NEEDS = {
    "LambdaLR": "a function",
    "MultiplicativeLR": "a function",
    "SequentialLR": "other schedulers",
    "ChainedScheduler": "other schedulers",
}

_PLATEAU = "ReduceLROnPlateau"

_OF_GROUPS = ("max_lr", "base_lr")
"""Learning rates that a scheduler is told, where others take those of the parameter groups."""

_LENGTHS = ("T_max", "T_0", "total_iters", "step_size", "step_size_up")


def scheduler_names() -> list[str]:
    """Return the names of torch's schedulers that need nothing but the epoch, or a metric.

    Example:
        >>> "StepLR" in scheduler_names(), "LambdaLR" in scheduler_names()
        (True, False)
    """
    return sorted(
        name
        for name, value in vars(lr_scheduler).items()
        if inspect.isclass(value)
        and issubclass(value, lr_scheduler.LRScheduler)
        and not name.endswith("LRScheduler")
        and name not in _OTHER_NEEDS
    )


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """A scheduler of `torch.optim.lr_scheduler`, stepped after each epoch or each optimizer step.

    Args:
        name: Its class name.
        arguments: Its keyword arguments.
        every: What it is stepped after.
        higher: Of ReduceLROnPlateau, whether more of what it watches is better.
        keep_ratio: Whether a learning rate that it is told as one number is that of the optimizer,
            and each parameter group has it times what its own is of that.

    Raises:
        ArgumentError: If torch has no such scheduler, it needs more than the epoch, it does not
            know an argument, or is told what is known.

    Example:
        >>> optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4)
        >>> table = Scheduler("StepLR", {"step_size": 2, "gamma": 0.5}).table(optimizer, 4)
        >>> [groups[0]["lr"] for groups in table]
        [0.4, 0.4, 0.2, 0.2]
    """

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    every: Literal["step", "epoch"] = "epoch"
    higher: bool = False
    keep_ratio: bool = False

    def __post_init__(self) -> None:
        names = scheduler_names()
        if self.name not in names:
            needs = _OTHER_NEEDS.get(self.name)
            raise ArgumentError(
                "scheduler.name: expected a scheduler of torch.optim.lr_scheduler that needs the "
                f"epoch alone, got {self.name!r}"
                + (f", which needs {needs}" if needs else nearest(self.name, names))
            )
        factory = getattr(lr_scheduler, self.name)
        known = [key for key in inspect.signature(factory).parameters if key != "optimizer"]
        for key in self.arguments:
            if key not in known:
                raise ArgumentError(
                    f"scheduler.{key}: torch.optim.lr_scheduler.{self.name} has no such argument"
                    f"{nearest(key, known)}"
                )
        if self.watches and "mode" in self.arguments:
            raise ArgumentError(
                "scheduler.mode: expected none, since it is known which way the primary metric is "
                "better, got one; leave it out"
            )
        if self.watches and self.every == "step":
            raise ArgumentError(
                f"scheduler.every: expected 'epoch', got 'step': {_PLATEAU} watches the primary "
                "metric, which is measured after every epoch; leave it out"
            )

    @property
    def watches(self) -> bool:
        """Whether it looks at a metric, so that each replica has learning rates of its own."""
        return self.name == _PLATEAU

    def over(self, epochs: int, steps: int) -> Scheduler:
        """Return the scheduler for a run of `epochs` epochs of `steps` steps each.

        A OneCycleLR has to know how often it will be stepped: it is told if it was not, and refused
        if it was told another number, since it would stop in its warm-up or run out.

        Raises:
            ArgumentError: If its length is not that of the run.
        """
        if self.name != "OneCycleLR":
            return self
        count, other = (epochs * steps, epochs)[:: 1 if self.every == "step" else -1]
        given = self._total()
        if given is None:
            return dataclasses.replace(self, arguments={**self.arguments, "total_steps": count})
        if isinstance(given, int) and given != count:
            unit = "epoch" if self.every == "step" else "step"
            raise ArgumentError(
                f"scheduler.total_steps: OneCycleLR is stepped after every {self.every}, {count} "
                f"times in this run ({epochs} epochs of {steps} steps), got {given}; write "
                f"total_steps = {count} or leave it out"
                + (f", or write every = '{unit}'" if given == other else "")
            )
        return self

    def doubts(self, epochs: int, steps: int) -> tuple[str, ...]:
        """Return a note for every length that is longer than the run: was it meant in steps?"""
        if self.every == "step":
            return ()
        lengths = {key: self.arguments.get(key) for key in _LENGTHS}
        first = self.arguments.get("milestones")
        if isinstance(first, (list, tuple)) and first:
            lengths["milestones"] = first[0]
        return tuple(
            f"scheduler.{key} = {value} is more than the {epochs} epochs of the run, and the "
            "scheduler is stepped after every epoch. If it was meant in steps "
            f"({epochs * steps} in all), write scheduler.every = 'step'."
            for key, value in lengths.items()
            if isinstance(value, int) and value > epochs
        )

    def recordable(self, optimizer: torch.optim.Optimizer, *, update: bool = True) -> bool:
        """Whether a recorded step can follow the scheduler without being recorded anew each time.

        It reads the learning rate of a fused optimizer as it runs, where torch's update does. Any
        other number is a part of the record, for example the momentum that OneCycleLR moves.

        Args:
            optimizer: What is scheduled.
            update: Whether the update of an optimizer that is not fused is recorded, too; that of
                a population is not.
        """
        fused = all(group.get("fused") for group in optimizer.param_groups)
        if self.every == "epoch" or not (fused or update):
            return True
        total = self._total()
        few = min(total, 3) if isinstance(total, int) and total > 0 else 3
        rows = (self if total else self.over(1, few)).table(optimizer, few)
        read = {"lr"} if fused and reads_rate(optimizer) else set[str]()
        return all(set(group) <= read for row in rows for group in row)

    def table(self, optimizer: torch.optim.Optimizer, count: int) -> list[list[dict[str, Any]]]:
        """Return, for every epoch or step, the settings of each parameter group that ever change.

        Args:
            optimizer: What is scheduled, with the learning rates that it was made with; they are
                noted in its groups as "initial_lr", as torch does.
            count: How many epochs or steps the whole run has.

        Raises:
            ArgumentError: If the scheduler refuses its arguments or so many epochs.
        """
        rows = list(self.rows(optimizer, count, [0.0] * count))
        changing = [
            {key for key in group if any(row[at][key] != group[key] for row in rows)} | {"lr"}
            for at, group in enumerate(map(_settings, optimizer.param_groups))
        ]
        return [
            [{key: group[key] for key in changing[at]} for at, group in enumerate(row)]
            for row in rows
        ]

    def rows(
        self, optimizer: torch.optim.Optimizer, count: int, watched: Sequence[float] = ()
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield, for every epoch or step, all plain settings of each parameter group.

        The arguments and errors are those of `table`; the scheduler is run as the rows are asked
        for. What was `watched` in an epoch has to be there when the row of the next is.
        """
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        twin = copy.copy(optimizer)
        twin.state = defaultdict(dict)
        twin.param_groups = [
            {**group, "params": [nn.Parameter(torch.zeros(1))], "lr": group["initial_lr"]}
            for group in optimizer.param_groups
        ]
        known = [set(_settings(group)) | {"lr"} for group in optimizer.param_groups]
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in self.arguments.items()}
        try:
            if self.keep_ratio:
                arguments |= self._of_groups(optimizer)
            if self.watches:
                arguments["mode"] = "max" if self.higher else "min"
            scheduler: Any = getattr(lr_scheduler, self.name)(twin, **arguments)
            for number in range(count):
                if number == 1:
                    twin.step()  # without gradients nothing moves; torch warns if it is left out
                if number:
                    scheduler.step(*watched[number - 1 : number] if self.watches else ())
                yield [
                    {key: value for key, value in _settings(group).items() if key in known[at]}
                    for at, group in enumerate(twin.param_groups)
                ]
        except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            raise ArgumentError(
                f"scheduler: torch.optim.lr_scheduler.{self.name} refused {dict(self.arguments)} "
                f"over {count} {self.every}s: {error}"
            ) from error

    def _of_groups(self, optimizer: torch.optim.Optimizer) -> dict[str, list[float]]:
        """Return the learning rates that were told as one number, for each parameter group."""
        whole = float(optimizer.defaults["lr"])
        shares = [float(group["initial_lr"]) / whole for group in optimizer.param_groups]
        told = {key: real(self.arguments.get(key)) for key in _OF_GROUPS}
        return {
            key: [rate * share for share in shares]
            for key, rate in told.items()
            if rate is not None
        }

    def _total(self) -> Any:
        """Return how often a OneCycleLR was told that it will be stepped; None if it was not."""
        told = self.arguments.get("total_steps")
        told = None if told == "auto" else told
        epochs, steps = (self.arguments.get(key) for key in ("epochs", "steps_per_epoch"))
        if told is None and isinstance(epochs, int) and isinstance(steps, int):
            return epochs * steps
        return epochs or steps if told is None else told


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in group.items()
        if isinstance(value, (bool, int, float, tuple)) and key != "initial_lr"
    }


class Schedule:
    """Gives an optimizer the settings of each epoch or step, as a scheduler has them.

    Args:
        scheduler: The scheduler; None changes nothing.
        optimizer: What it schedules.
        epochs: How many epochs the whole run has.
        steps: How many steps an epoch has.
        start: Epochs that were done before, when resuming.
        captured: Whether steps are recorded. The learning rate that a fused optimizer reads then
            becomes a tensor, float64 so that it is the very same number, which the recording reads.
        update: As in `Scheduler.recordable`.
        watched: What a scheduler that watches a metric saw in each epoch before.

    Attributes:
        recordable: Whether a recorded step can follow it.
        watched: Where what it watches has to be added after every epoch.

    Raises:
        ArgumentError: If the scheduler refuses its arguments, or its length is not the run's.
    """

    def __init__(
        self,
        scheduler: Scheduler | None,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        steps: int,
        *,
        start: int,
        captured: bool,
        update: bool = True,
        watched: Sequence[float] = (),
    ) -> None:
        self.recordable = True
        self.watched = list(watched)
        self._optimizer = optimizer
        self._every = ""
        self._last: list[dict[str, Any]] = [{} for _ in optimizer.param_groups]
        if scheduler is None:
            return
        scheduler = scheduler.over(epochs, steps)
        self.recordable = scheduler.recordable(optimizer, update=update)
        self._every = scheduler.every
        each = steps if self._every == "step" else 1
        rows = scheduler.rows(optimizer, epochs * each, self.watched)
        self._rows = itertools.islice(rows, start * each, None)
        for group in optimizer.param_groups if captured and reads_rate(optimizer) else ():
            if group.get("fused") and not isinstance(group["lr"], Tensor):
                group.setdefault("initial_lr", float(group["lr"]))
                group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)

    def begin_epoch(self) -> None:
        """Set what holds from this epoch on."""
        if self._every == "epoch":
            self._advance()

    def begin_step(self) -> bool:
        """Set what holds for this step; return whether a number that is no tensor has changed."""
        return self._every == "step" and self._advance()

    def _advance(self) -> bool:
        changed = False
        row = next(self._rows)
        for group, values, last in zip(self._optimizer.param_groups, row, self._last, strict=True):
            for key, value in values.items():
                if key in last and last[key] == value:
                    continue
                if isinstance(group[key], Tensor):
                    group[key].fill_(value)  # in place: a recorded step reads it as it runs
                else:
                    group[key], changed = value, True
        self._last = row
        return changed


def frozen_settings(optimizer: torch.optim.Optimizer) -> tuple[Any, ...]:
    """Return all plain numbers of the parameter groups: what a recording would freeze."""
    return tuple(value for group in optimizer.param_groups for value in _settings(group).values())
