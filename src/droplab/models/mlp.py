"""The network of the built-in recipes: a plain multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from droplab.errors import ArgumentError, quote
from droplab.limits import WEIGHTS
from droplab.numeric import whole


class MLP(nn.Module):
    """Multilayer perceptron with ReLU between its layers, named fc1, fc2, and so on.

    x_0 = flatten(x), x_i = relu(W_i x_{i-1} + b_i), and no ReLU after the last layer. There is no
    dropout in it: dropout comes in by `droplab.placement`, at the input of each layer ("fc1" is
    the input site, "fc2" and on are the hidden ones).

    Args:
        in_features: Numbers in one input, after flattening.
        hidden: Width of each hidden layer; empty for a linear classifier.
        classes: Number of classes.

    Shape:
        Input (B, ...) with `in_features` numbers each; output (B, classes), logits.

    Raises:
        ArgumentError: If a width is not a whole number of at least 1.

    Randomness: torch's own initialisation of `nn.Linear`, from torch's default generator.

    Example:
        >>> import torch
        >>> model = MLP(64, hidden=(32, 16))
        >>> [name for name, _ in model.named_children()]
        ['fc1', 'fc2', 'fc3']
        >>> model(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int] = (256, 128), classes: int = 10
    ) -> None:
        super().__init__()
        if isinstance(hidden, int) or not isinstance(hidden, Sequence):
            raise ArgumentError(
                f"hidden: expected a list of widths such as [256], got {quote(hidden)}"
            )
        given = (in_features, *hidden, classes)
        names = ("in_features", *(f"hidden[{i}]" for i in range(len(hidden))), "classes")
        widths: list[int] = []
        for what, width in zip(names, given, strict=True):
            number = whole(width)
            if number is None or number < 1:
                raise ArgumentError(
                    f"{what}: expected a whole number of at least 1, got {quote(width)}"
                )
            widths.append(number)
        count = sum(wide * narrow for wide, narrow in pairwise(widths))
        if count > WEIGHTS:
            raise ArgumentError(
                f"hidden: expected at most {WEIGHTS} weights in all, got {quote(count)}; take "
                "smaller widths"
            )
        self.depth = len(widths) - 1
        for i, (wide, narrow) in enumerate(pairwise(widths), start=1):
            self.add_module(f"fc{i}", nn.Linear(wide, narrow))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (B, classes)."""
        x = x.flatten(1)
        for i in range(1, self.depth):
            x = F.relu(self.get_submodule(f"fc{i}")(x))
        return self.get_submodule(f"fc{self.depth}")(x)
