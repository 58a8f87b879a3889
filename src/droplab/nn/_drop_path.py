"""Stochastic depth."""

from __future__ import annotations

from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer
from droplab.ops.arguments import Mode, check_mode


class DropPath(StochasticLayer):
    """Drops whole samples at random, in the residual branch of a block (stochastic depth).

    y_n = 0 with probability p, else x_n / (1 - p). Takes the arguments of timm's `DropPath`.

    Args:
        drop_prob: Probability p of dropping; can be assigned to later, as `p` or `drop_prob`.
        scale_by_keep: Divide what is kept by 1 - p, so that the expectation is x.
        mode: "row" decides for every sample by itself, "batch" once for the whole batch.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        (N, ...); the output has that of the input.

    Raises:
        ArgumentError: As `Dropout`, if the mode is unknown or the input has no axis.

    Randomness:
        One key a call, as `Dropout`.

    Source:
        Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016.

    Example:
        >>> import torch
        >>> y = DropPath(0.5, seed=3)(torch.ones(4, 2))
        >>> bool((y[:, 0] == y[:, 1]).all())
        True
    """

    def __init__(
        self,
        drop_prob: float = 0.0,
        scale_by_keep: bool = True,
        *,
        mode: Mode = "row",
        seed: int | None = None,
    ) -> None:
        super().__init__(drop_prob, seed)
        check_mode(mode, self.label)
        self.scale_by_keep = scale_by_keep
        self.mode: Mode = mode

    @property
    def drop_prob(self) -> float:
        """The same as `p`, under timm's name."""
        return self.p

    @drop_prob.setter
    def drop_prob(self, value: float) -> None:
        self.p = value

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        key = self.next_key()
        return ops.drop_path(x, self.rate, True, self.scale_by_keep, mode=self.mode, key=key)

    def _describe(self) -> list[str]:
        _, *rest = super()._describe()
        scale = [] if self.scale_by_keep else ["scale_by_keep=False"]
        return [f"drop_prob={self.p}", f"mode={self.mode!r}", *scale, *rest]
