"""Zoneout: hidden units that keep their old value."""

from __future__ import annotations

from torch import Tensor

from droplab import ops
from droplab.nn._stochastic import StochasticLayer


class Zoneout(StochasticLayer):
    r"""Lets state units keep their previous value at random; for a time step of your own.

    $$h_t = d\,h_{t-1} + (1 - d)\,\tilde h_t, \qquad d \sim \mathrm{Bernoulli}(p)$$

    In eval mode the expectation is taken, $p\,h_{t-1} + (1 - p)\,\tilde h_t$, which is not the
    identity. `ZoneoutLSTM` and `ZoneoutGRU` are whole layers with it.

    Args:
        p: Probability that a unit keeps its previous value; can be assigned to later.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        previous, current: any, equal. The output has it too.

    Raises:
        ArgumentError: As `Dropout`; if the two states differ in shape or dtype.

    Randomness:
        One key a call when training, as `Dropout`.

    Source:
        Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
        ICLR 2017.

    Example:
        >>> import torch
        >>> Zoneout(0.25).eval()(torch.zeros(2), torch.ones(2))
        tensor([0.7500, 0.7500])
    """

    def __init__(self, p: float = 0.1, *, seed: int | None = None) -> None:
        super().__init__(p, seed)

    def forward(self, previous: Tensor, current: Tensor) -> Tensor:
        key = self.next_key() if self.training else None
        return ops.zoneout(previous, current, self.rate, self.training, key=key)
