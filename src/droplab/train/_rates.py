"""Dropout rates of sites that change while a model, or a population, trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from droplab.probability import check_p

RateOfStep = Callable[[int, float], float]
"""(step over all epochs, rate of the plan) -> rate at that step; see `droplab.nn.schedules`."""


class SiteRates:
    """Sets the rates of sites step by step; without a function it does nothing.

    A rate is a function of the step and the planned rate alone, so a resumed run needs no state,
    and a member of a population has the rates of its single run.

    Args:
        p: The rates that the sites read, (S,) of one model or (A, S) of a population's arms.
        rates: The function, or None.
    """

    def __init__(self, p: Tensor | None, rates: RateOfStep | None) -> None:
        self._p = p
        self._rates = rates
        self._planned = [] if p is None else p.flatten().tolist()
        self._now = self._planned

    def set_step(self, step: int) -> None:
        """Set the rates of a step.

        Raises:
            ArgumentError: If the function returns what is no drop probability.
        """
        if self._rates is None:
            return
        values = {
            p: check_p(self._rates(step, p), where=f"rates at step {step}")
            for p in set(self._planned)
        }
        rates = [values[p] for p in self._planned]
        if rates != self._now:
            self._write(rates)

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Give the planned rates back after, so that the same sites can be trained again."""
        try:
            yield
        finally:
            if self._now != self._planned:
                self._write(self._planned)

    def _write(self, rates: list[float]) -> None:
        if self._p is not None:
            self._p.copy_(torch.tensor(rates, dtype=self._p.dtype).view(self._p.shape))
        self._now = rates
