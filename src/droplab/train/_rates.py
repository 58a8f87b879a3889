"""Dropout rates of sites that change while a model, or a population, trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        rates: The function, or one for each arm, None for an arm whose rates stay; or None.
    """

    def __init__(
        self, p: Tensor | None, rates: RateOfStep | Sequence[RateOfStep | None] | None
    ) -> None:
        if p is None or rates is None:
            p, functions = None, []
        else:
            arms, sites = (1, len(p)) if p.dim() == 1 else p.shape
            each = list(rates) if isinstance(rates, Sequence) else [rates] * arms
            functions = [function for function in each for _ in range(sites)]
        self._p = p
        self._planned: list[float] = [] if p is None else p.flatten().tolist()
        self._rules = list(zip(functions, self._planned, strict=True))
        self._now = self._planned

    def set_step(self, step: int) -> None:
        """Set the rates of a step.

        Raises:
            ArgumentError: If the function returns what is no drop probability.
        """
        if self._p is None:
            return
        values = {
            rule: check_p(rule[0](step, rule[1]), where=f"rates at step {step}")
            for rule in set(self._rules)
            if rule[0] is not None
        }
        rates = [values.get(rule, rule[1]) for rule in self._rules]
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
