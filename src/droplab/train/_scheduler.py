"""Learning-rate schedulers of torch by name, as a table: epoch -> learning rate.

torch's schedulers change their optimizer as they go, and a resumed run would have to carry their
state. Those that look at nothing but the epoch are run through once, on a stand-in, before training
begins. What they set is then known for every epoch, wherever a run is taken up, and is the same for
every replica of a population.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from droplab.errors import ArgumentError, nearest

_OTHER_NEEDS = {
    "LambdaLR": "a function",
    "MultiplicativeLR": "a function",
    "SequentialLR": "other schedulers",
    "ChainedScheduler": "other schedulers",
    "ReduceLROnPlateau": "a loss, which each replica has its own of",
}


def scheduler_names() -> list[str]:
    """Return the names of torch's schedulers that need nothing but the epoch.

    Example:
        >>> "StepLR" in scheduler_names(), "ReduceLROnPlateau" in scheduler_names()
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
    """A scheduler of `torch.optim.lr_scheduler`, stepped once after each epoch.

    Args:
        name: Its class name.
        arguments: Its keyword arguments.

    Raises:
        ArgumentError: If torch has no such scheduler, it needs more than the epoch, or it does not
            know an argument.

    Example:
        >>> optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4)
        >>> table = Scheduler("StepLR", {"step_size": 2, "gamma": 0.5}).table(optimizer, 4)
        >>> [groups[0]["lr"] for groups in table]
        [0.4, 0.4, 0.2, 0.2]
    """

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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

    def table(self, optimizer: torch.optim.Optimizer, epochs: int) -> list[list[dict[str, Any]]]:
        """Return, for every epoch, the settings of every parameter group that ever change.

        Args:
            optimizer: What is scheduled, with the learning rates that it was made with; they are
                noted in its groups as "initial_lr", as torch does.
            epochs: How many epochs the whole run has.

        Raises:
            ArgumentError: If the scheduler refuses its arguments or so many epochs.
        """
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", float(group["lr"]))
        twin = copy.copy(optimizer)
        twin.state = defaultdict(dict)
        twin.param_groups = [
            {**group, "params": [nn.Parameter(torch.zeros(1))], "lr": group["initial_lr"]}
            for group in optimizer.param_groups
        ]
        arguments = {k: list(v) if isinstance(v, tuple) else v for k, v in self.arguments.items()}
        try:
            scheduler = getattr(lr_scheduler, self.name)(twin, **arguments)
            rows = [[_settings(group) for group in twin.param_groups]]
            for _ in range(epochs - 1):
                twin.step()  # without gradients, so that nothing moves
                scheduler.step()
                rows.append([_settings(group) for group in twin.param_groups])
        except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
            raise ArgumentError(
                f"scheduler: torch.optim.lr_scheduler.{self.name} refused {dict(self.arguments)} "
                f"over {epochs} epochs: {error}"
            ) from error
        changing = [
            {key for key in group if any(row[at].get(key) != group[key] for row in rows)} | {"lr"}
            for at, group in enumerate(map(_settings, optimizer.param_groups))
        ]
        return [
            [{key: group[key] for key in changing[at]} for at, group in enumerate(row)]
            for row in rows
        ]


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in group.items()
        if isinstance(value, (bool, int, float, tuple)) and key != "initial_lr"
    }


def begin_schedule(
    scheduler: Scheduler | None, optimizer: torch.optim.Optimizer, epochs: int, *, captured: bool
) -> list[list[dict[str, Any]]] | None:
    """Return the table of a scheduler, if there is one, and prepare the optimizer to follow it.

    Args:
        scheduler: The scheduler.
        optimizer: What it schedules.
        epochs: How many epochs the whole run has.
        captured: Whether steps are recorded. The learning rate of a fused optimizer then becomes a
            tensor, float64 so that it is the very same number, which the recording reads.
    """
    if scheduler is None:
        return None
    table = scheduler.table(optimizer, epochs)
    for group in optimizer.param_groups if captured else ():
        if group.get("fused") and not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)
    return table


def set_epoch(optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]]) -> None:
    """Give an optimizer the settings of an epoch, one row of `Scheduler.table`.

    A learning rate that is a tensor is changed in place: a recorded step reads it as it runs.
    """
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        for key, value in values.items():
            if isinstance(group[key], Tensor):
                group[key].fill_(value)
            else:
                group[key] = value


def frozen_settings(optimizer: torch.optim.Optimizer) -> tuple[Any, ...]:
    """Return all plain numbers of the parameter groups: what a recording would freeze."""
    return tuple(value for group in optimizer.param_groups for value in _settings(group).values())
