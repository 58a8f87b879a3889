"""What all layers with a drop probability share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from droplab.nn._seeded import SeededLayer
from droplab.probability import check_p, rounded


class StochasticLayer(SeededLayer):
    """Base of the layers with a drop probability.

    Args:
        p: Probability of dropping, rounded to a multiple of 1/65536 where it is applied.
        seed: As in `SeededLayer`.

    Attributes:
        rate: float32 tensor (), what the forward pass reads; assign to `p` to change it.
    """

    _held: ClassVar[tuple[str, ...]] = ("stream", "rate")

    rate: Tensor

    def __init__(self, p: float, seed: int | None) -> None:
        super().__init__(seed)
        self._p = self._check_p(p)
        # On the CPU whatever the default device is: a rate on "meta" would be lost.
        rate = torch.tensor(rounded(self._p), dtype=torch.float32, device="cpu")
        self.register_buffer("rate", rate, persistent=False)

    @property
    def p(self) -> float:
        """Probability of dropping, as it was given; assign to it to change the rate."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        self._p = self._check_p(value)
        self.rate.fill_(rounded(self._p))

    @property
    def strength(self) -> Tensor:
        """The rate: at 0 no key is drawn."""
        return self.rate

    def _check_p(self, p: float) -> float:
        value = check_p(p, where=f"{self.label}: p")
        return p if type(p) in (int, float) else value

    def _describe(self) -> list[str]:
        return [f"p={self.p}", *super()._describe()]
