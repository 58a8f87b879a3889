"""What a recorder writes down: operations, and calls of dropouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from droplab.doctor.live._masks import Mask


@dataclass(eq=False)
class Node:
    """One operation that ran."""

    kind: str
    order: int
    inputs: list[Node] = field(default_factory=list["Node"])
    users: list[Node] = field(default_factory=list["Node"])
    module: nn.Module | None = None
    shape: tuple[int, ...] = ()
    place: tuple[str, int] = ("", 0)

    @property
    def first(self) -> Node | None:
        """The main input."""
        return self.inputs[0] if self.inputs else None


@dataclass(eq=False)
class Drop:
    """One call of a dropout."""

    name: str
    """Class of the module, or name of the function."""
    p: float | None
    on: bool
    """Whether the module was in training mode, or the function's flag set."""
    module: nn.Module | None
    at: tuple[str, int]
    """File and line that called it, be it in a library."""
    place: tuple[str, int]
    """File and line of the user's code that called it, through whatever library; ("", 0): none."""
    shape: tuple[int, ...]
    silent: bool
    """Whether the output is the input."""
    mask: Mask | None
    in_backward: bool
    moments: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Mean and variance before and after."""
    correlation: float | None = None
    """Of neighbouring pixels of the input, if it has rows and columns."""
    zero_samples: float = 0.0
    """Share of samples that are zero as a whole."""
    node: Node | None = None
    in_place: bool = False
    """Whether the output is written over the input."""

    @property
    def key(self) -> object:
        """The same for every call of one dropout: the module, or the line of the function."""
        return self.module if self.module is not None else self.at


def given_of(args: Any) -> Tensor | None:
    """Return the first tensor among the arguments of a call."""
    return next((item for item in tree_leaves(args) if isinstance(item, Tensor)), None)
