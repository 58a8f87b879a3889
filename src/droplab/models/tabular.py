"""The built-in network for tables: names are embedded, numbers taken as they are, then an MLP."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError, quote
from droplab.models.mlp import MLP
from droplab.numeric import real, whole
from droplab.recipe import ModelSpec

FROM_DATA = ("tabular",)
"""Built-in networks that take their sizes from the data, where a recipe does not give them."""


class Tabular(MLP):
    """Multilayer perceptron over numbers and embedded categories, with layers fc1, fc2, and so on.

    The input is what droplab makes of a table: `numeric` numbers, then one place for each column of
    categories, from 1; 0 stands for a category that training never saw, and is embedded as zeros.
    A category with n names gets min(50, round(1.6 n^0.56)) numbers, as fastai has it. There is no
    dropout in it: dropout comes in by `droplab.placement`.

    For quantities the last layer's output z becomes `center` + `spread` * z, so that it learns
    targets of any unit alike.

    Args:
        numeric: How many numbers come first in an input.
        categories: How many names each column of categories has.
        outputs: How many numbers it returns: the classes, the labels, or the quantities.
        hidden: Width of each hidden layer.
        center: What is added to each output; empty: nothing.
        spread: What each output is multiplied by before; empty: 1.

    Shape:
        Input (B, numeric + len(categories)); output (B, outputs).

    Raises:
        ArgumentError: If a count is not a whole number, or the lengths do not agree.

    Randomness: torch's own initialisation, from torch's default generator.

    Source: the width of an embedding, <https://docs.fast.ai/tabular.model.html>.

    Example:
        >>> model = Tabular(2, categories=(3,), outputs=1, hidden=(8,))
        >>> model(torch.tensor([[0.5, -1.0, 2.0], [0.1, 0.0, 0.0]])).shape
        torch.Size([2, 1])
        >>> [name for name, _ in model.named_children()]
        ['fc1', 'fc2', 'embeddings']
    """

    def __init__(
        self,
        numeric: int,
        categories: Sequence[int] = (),
        outputs: int = 1,
        hidden: Sequence[int] = (128, 64),
        center: Sequence[float] = (),
        spread: Sequence[float] = (),
    ) -> None:
        for what, value in (
            ("numeric", numeric),
            ("outputs", outputs),
            *((f"categories[{i}]", size) for i, size in enumerate(categories)),
        ):
            number = whole(value)
            if number is None or number < (what != "numeric"):
                raise ArgumentError(f"{what}: expected a whole number, got {quote(value)}")
        for what, values in (("center", center), ("spread", spread)):
            if values and (len(values) != outputs or any(real(each) is None for each in values)):
                raise ArgumentError(
                    f"{what}: expected {outputs} numbers, one an output, got {quote(values)}"
                )
        widths = [min(50, round(1.6 * size**0.56)) for size in categories]
        super().__init__(numeric + sum(widths), hidden, outputs)
        self.numeric = numeric
        self.embeddings = nn.ModuleList(
            nn.Embedding(size + 1, width, padding_idx=0)
            for size, width in zip(categories, widths, strict=True)
        )
        self.center: Tensor | None
        self.spread: Tensor | None
        self.register_buffer("center", torch.tensor(center).float() if center else None)
        self.register_buffer("spread", torch.tensor(spread).float() if spread else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits or quantities, (B, outputs)."""
        if self.embeddings:
            places = x[:, self.numeric :].long()
            embedded = [layer(places[:, i]) for i, layer in enumerate(self.embeddings)]
            x = torch.cat([x[:, : self.numeric], *embedded], dim=1)
        x = super().forward(x)
        if self.spread is not None:
            x = x * self.spread
        return x if self.center is None else x + self.center


def filled(
    spec: ModelSpec,
    *,
    numeric: int,
    categories: Sequence[int],
    outputs: int,
    targets: Tensor | None = None,
) -> ModelSpec:
    """Return the model of a recipe with what only the data tells, for the network of tables.

    Args:
        spec: The recipe's model; any other than "tabular" stays as it is.
        numeric: Numbers of an input.
        categories: How many names each column of categories has.
        outputs: Classes, labels or quantities.
        targets: (N,) or (N, outputs), quantities of the training rows; None for other tasks.

    Example:
        >>> spec = filled(ModelSpec("tabular"), numeric=3, categories=(), outputs=2)
        >>> spec.arguments["numeric"], spec.arguments["outputs"]
        (3, 2)
    """
    if spec.path not in FROM_DATA:
        return spec
    told: dict[str, Any] = {"numeric": numeric, "outputs": outputs}
    if categories:
        told["categories"] = tuple(categories)
    if targets is not None:
        told |= _units(targets)
    return dataclasses.replace(spec, arguments={**told, **spec.arguments})


def fitted(spec: ModelSpec, targets: Tensor) -> ModelSpec:
    """Return the model of a recipe with the center and spread of its training targets.

    Args:
        spec: The recipe's model; one that says both, or any other than "tabular", stays as it is.
        targets: (N,) or (N, outputs), quantities of the training rows.

    Example:
        >>> fitted(ModelSpec("tabular", {"numeric": 3}), torch.tensor([1.0, 3.0])).arguments
        {'center': (2.0,), 'spread': (1.0,), 'numeric': 3}
    """
    if spec.path not in FROM_DATA:
        return spec
    return dataclasses.replace(spec, arguments={**_units(targets), **spec.arguments})


def _units(targets: Tensor) -> dict[str, Any]:
    columns = targets.double().reshape(len(targets), -1)
    spread = columns.std(0, correction=0)
    return {
        "center": tuple(columns.mean(0).tolist()),
        "spread": tuple(spread.where(spread > 0, 1.0).tolist()),
    }
