"""Dropout with a rate that is learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from droplab import ops
from droplab.errors import ArgumentError
from droplab.nn._seeded import SeededLayer
from droplab.ops.arguments import check_temperature
from droplab.probability import check_p


class ConcreteDropout(SeededLayer):
    r"""Drops by a soft mask and learns the rate; needs its regularisers in the loss.

    $$y = \frac{x\,(1 - z)}{1 - p}, \qquad
      z = \sigma\!\left(\frac{\ell + \log u - \log(1 - u)}{t}\right), \qquad p = \sigma(\ell)$$

    Without the regularisers the rate runs to 0. For dropout in front of a layer with weight W, K
    inputs and N training examples, add

    $$\frac{1}{N}\left(\frac{l^2}{2}\,\frac{\lVert W \rVert^2}{1 - p} - K\,H(p)\right)$$

    to the mean negative log-likelihood: that is `regularizer`; its two parts are
    `weight_regularizer` and `dropout_regularizer`.

    Args:
        p: Rate to begin with, in (0, 1).
        temperature: t > 0, towards 0 the mask becomes hard.
        seed: Makes the masks a function of (seed, index of the call).

    Attributes:
        p_logit: The learned logit of p, a parameter of shape () and the only key in the
            `state_dict`.

    Shape:
        Any; the output has that of the input.

    Raises:
        ArgumentError: If p is 0 or 1 or no probability, or the temperature is not positive.

    Randomness:
        One key a call, as `Dropout`; one uniform number an element.

    Source:
        Gal, Hron and Kendall, "Concrete Dropout", NIPS 2017. The paper writes the weight term for
        weights that are not scaled when training, so that 1 - p multiplies there; with the
        inverted scaling used here, as in the authors' code, it divides.

    Example:
        >>> drop, fc = ConcreteDropout(0.2, seed=1), nn.Linear(8, 2)
        >>> y = fc(drop(torch.ones(4, 8)))
        >>> loss = y.square().mean() + drop.regularizer(fc.weight, examples=1000)
        >>> loss.backward(); drop.p_logit.grad is not None
        True
    """

    def __init__(
        self, p: float = 0.1, *, temperature: float = 0.1, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        check_p(p, where=f"{self.label}: p")
        if p in (0, 1):
            raise ArgumentError(
                f"{self.label}: p: expected a rate in (0, 1) to begin with, got {p}, whose logit "
                "is infinite; use 0.1"
            )
        self.temperature = check_temperature(temperature, self.label)
        self.p_logit = nn.Parameter(torch.logit(torch.tensor(float(p))))

    @property
    def p(self) -> float:
        """The rate as it is now."""
        return torch.sigmoid(self.p_logit.detach()).item()

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        return ops.concrete_dropout(
            input,
            self.p_logit,
            temperature=self.temperature,
            key=self.next_key(),
        )

    def weight_regularizer(self, weight: Tensor) -> Tensor:
        """Return the squared norm of `weight` divided by 1 - p."""
        return weight.square().sum() * (1.0 + self.p_logit.exp())

    def dropout_regularizer(self, features: int) -> Tensor:
        """Return minus the entropy of the masks of `features` units, -K H(p), in nats."""
        log_p, log_keep = F.logsigmoid(self.p_logit), F.logsigmoid(-self.p_logit)
        return features * (log_p.exp() * log_p + log_keep.exp() * log_keep)

    def regularizer(
        self,
        weight: Tensor,
        *,
        examples: int,
        length_scale: float = 1.0,
        features: int | None = None,
    ) -> Tensor:
        """Return what to add to the mean negative log-likelihood for one layer.

        Args:
            weight: Weight of the layer that the dropped values go into.
            examples: Number N of training examples.
            length_scale: Prior length scale l; larger means smaller weights.
            features: Number K of units that are dropped; that of the weight's second axis if None.
        """
        if examples < 1:
            raise ArgumentError(
                f"{self.label}: examples: expected the number of training examples, got {examples}"
            )
        units = weight.shape[1] if features is None else features
        prior = 0.5 * length_scale**2 * self.weight_regularizer(weight)
        return (prior + self.dropout_regularizer(units)) / examples

    def _describe(self) -> list[str]:
        return [f"p={self.p:.4g}", f"temperature={self.temperature}", *super()._describe()]
