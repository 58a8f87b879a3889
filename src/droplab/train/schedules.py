"""What drives the rate schedules of `droplab.nn.schedules`, in any training loop.

A schedule is a pure function of the step, so a driver keeps nothing but the step. Rates are tensors
in the layers: setting them every step does not recompile a compiled model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn

from droplab.errors import ArgumentError, PlacementError, nearest
from droplab.importing import optional
from droplab.nn import StochasticLayer

Schedule = Callable[[int], float]
Unit = Literal["step", "epoch"]


class RateSchedule:
    """Sets the rates of a model's droplab layers to what a schedule says.

    Call `step()` after every optimizer step, or once an epoch if the schedule counts epochs; or
    `set(n)` where the loop counts by itself.

    Args:
        model: A model with layers of `droplab.nn`; other layers are left alone.
        schedule: A function of the step, e.g. `partial(linear, start=0, end=0.5, steps=1000)`; or
            a mapping from patterns over the paths of layers ("encoder.*.drop") to such functions.
            Layers that no pattern matches keep their rate.
        start: Step to begin at, counted from 0. The rates are set at once.

    Raises:
        PlacementError: If a pattern matches no layer, or two patterns match one.
        ArgumentError: If the schedule returns what is no drop probability.

    Example:
        >>> from functools import partial
        >>> from droplab.nn import Dropout
        >>> from droplab.nn.schedules import linear
        >>> model = nn.Sequential(nn.Linear(4, 4), Dropout(0.5), nn.Linear(4, 2))
        >>> schedule = RateSchedule(model, partial(linear, start=0.0, end=0.4, steps=4))
        >>> for _ in range(2):
        ...     schedule.step()
        >>> schedule.rates
        {'1': 0.2}
    """

    def __init__(
        self, model: nn.Module, schedule: Schedule | Mapping[str, Schedule], *, start: int = 0
    ) -> None:
        patterns = dict(schedule) if isinstance(schedule, Mapping) else {"*": schedule}
        layers = {
            path: module
            for path, module in model.named_modules()
            if isinstance(module, StochasticLayer)
        }
        self._driven = _match(patterns, layers)
        self._layers = {path: layers[path] for path in self._driven}
        self.set(start)

    @property
    def rates(self) -> dict[str, float]:
        """The present rate of every layer that is driven, by path."""
        return {path: layer.p for path, layer in self._layers.items()}

    def step(self) -> None:
        """Go on to the next step and set its rates."""
        self.set(self.last_step + 1)

    def set(self, step: int) -> None:
        """Set the rates of a step; the same step gives the same rates, whatever came before."""
        rates = {path: schedule(step) for path, schedule in self._driven.items()}
        for path, rate in rates.items():
            if self._layers[path].p != rate:
                self._layers[path].p = rate
        self.last_step = step

    def state_dict(self) -> dict[str, int]:
        """Return what a resumed run needs: the step."""
        return {"step": self.last_step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to the step of a saved run and set its rates."""
        self.set(state["step"])


def lightning_callback(schedule: Schedule | Mapping[str, Schedule], *, every: Unit = "step") -> Any:
    """Return a Lightning callback that drives a schedule by the trainer's own counters.

    Nothing needs saving: a resumed trainer knows its step.

    Args:
        schedule: As in `RateSchedule`.
        every: Whether the schedule counts optimizer steps (`trainer.global_step`) or epochs.

    Returns:
        A `lightning.pytorch.Callback` (of `pytorch_lightning` where that is installed instead).

    Raises:
        ArgumentError: If `every` is another word.
        BackendError: If Lightning is not installed.
    """
    _check_every(every)
    base = optional("lightning.pytorch", "pytorch_lightning", install="lightning").Callback

    class RateScheduleCallback(base):
        """Sets dropout rates while Lightning trains."""

        def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
            count = trainer.current_epoch if every == "epoch" else trainer.global_step
            self.driver = RateSchedule(pl_module, schedule, start=count)

        def on_train_epoch_start(self, trainer: Any, pl_module: nn.Module) -> None:
            if every == "epoch":
                self.driver.set(trainer.current_epoch)

        def on_train_batch_start(self, trainer: Any, pl_module: nn.Module, *_: Any) -> None:
            if every == "step":
                self.driver.set(trainer.global_step)

    return RateScheduleCallback()


def hugging_face_callback(
    schedule: Schedule | Mapping[str, Schedule], *, every: Unit = "step"
) -> Any:
    """Return a callback for the Hugging Face Trainer that drives a schedule by its counters.

    Args:
        schedule: As in `RateSchedule`.
        every: Whether the schedule counts optimizer steps (`state.global_step`) or epochs.

    Returns:
        A `transformers.TrainerCallback`.

    Raises:
        ArgumentError: If `every` is another word.
        BackendError: If transformers is not installed.
    """
    _check_every(every)
    base = optional("transformers", install="transformers").TrainerCallback

    class RateScheduleCallback(base):
        """Sets dropout rates while the Trainer trains."""

        def on_train_begin(
            self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
        ) -> None:
            self.driver = RateSchedule(model, schedule, start=self._count(state))

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if every == "epoch":
                self.driver.set(self._count(state))

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if every == "step":
                self.driver.set(self._count(state))

        def _count(self, state: Any) -> int:
            # The trainer's epoch is a float that grows within the epoch, and None before the first.
            return int(state.epoch or 0) if every == "epoch" else state.global_step

    return RateScheduleCallback()


def _match(
    patterns: Mapping[str, Schedule], layers: Mapping[str, StochasticLayer]
) -> dict[str, Schedule]:
    driven: dict[str, Schedule] = {}
    owner: dict[str, str] = {}
    for pattern, schedule in patterns.items():
        paths = [path for path in layers if fnmatchcase(path, pattern)]
        if not paths:
            raise PlacementError(
                f"RateSchedule: {pattern!r}: expected a pattern that matches a layer of droplab.nn "
                f"with a rate, got none{nearest(pattern, layers)}"
                + ("" if layers else "; put dropout into the model first")
            )
        for path in paths:
            if path in owner:
                raise PlacementError(
                    f"RateSchedule: expected one pattern for {path!r}, got {owner[path]!r} and "
                    f"{pattern!r}; make them disjoint"
                )
            owner[path] = pattern
            driven[path] = schedule
    return driven


def _check_every(every: str) -> None:
    if every not in ("step", "epoch"):
        raise ArgumentError(
            f"every: expected 'step' or 'epoch', got {every!r}"
            f"{nearest(str(every), ('step', 'epoch'))}"
        )
