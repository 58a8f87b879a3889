"""Where a tensor comes from, carried from operation to operation while an example runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

ACTIVATIONS = frozenset(
    {
        *("celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh"),
        *("leaky_relu", "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu"),
        *("selu", "sigmoid", "silu", "softmax", "softplus", "softshrink", "softsign", "tanh"),
        *("tanhshrink", "threshold"),
    }
)

VIEWS = frozenset(
    {
        *("__get__", "__getitem__", "broadcast_to", "chunk", "clone", "contiguous", "detach"),
        *("double", "expand", "expand_as", "flatten", "float", "gather", "half", "index_select"),
        *("movedim", "moveaxis", "narrow", "permute", "ravel", "repeat", "repeat_interleave"),
        *("reshape", "select", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "to"),
        *("transpose", "tile", "type", "unbind", "unflatten", "unsqueeze", "view", "view_as"),
    }
)
"""Functions whose result has the values of their input, and no others."""

_SAME_VALUES = VIEWS | frozenset(
    {
        *("max_pool1d", "max_pool2d", "max_pool3d"),
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout"),
        *("feature_alpha_dropout",),
    }
)
"""Functions after which an activation's values are still those of the activation."""


@dataclass(frozen=True)
class Tag:
    """What is known of a tensor.

    Args:
        raw: It is the model's own input, with nothing that has parameters in between.
        hidden: Something with parameters made it.
        activation: The activation that made it, through operations that keep its values.
        dropped_by: The module whose dropout made it, through operations that keep its values.
        layers: Sites whose output it is, with no other weight layer in between.
        weight: The parameter that it is, or a part or a view of.
    """

    raw: bool = False
    hidden: bool = False
    activation: str | None = None
    dropped_by: str = ""
    layers: frozenset[str] = frozenset()
    weight: str = ""


NOTHING = Tag()


def tensors(value: Any) -> Iterator[Tensor]:
    """Return the tensors in nested tuples, lists and mappings, packed sequences included."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)
    elif hasattr(value, "values") and hasattr(value, "keys"):
        for key in value:
            yield from tensors(value[key])


def plain_name(func: Any) -> str:
    """Return the name of a torch function without the underscores of its variants."""
    name = getattr(func, "__name__", "")
    return name if name.startswith("__") else name.strip("_")


def combine(name: str, inputs: list[Tensor], tags: list[Tag]) -> Tag:
    """Return the tag of what a torch function made of its inputs.

    Args:
        name: The function, as `plain_name` gives it.
        inputs: Its tensor arguments.
        tags: Their tags.
    """
    weighs = any(isinstance(t, nn.Parameter) for t in inputs)
    hidden = weighs or any(tag.hidden for tag in tags)
    first = tags[0] if tags and name in _SAME_VALUES else NOTHING
    return Tag(
        raw=not hidden and any(tag.raw for tag in tags),
        hidden=hidden,
        activation=name if name in ACTIVATIONS else first.activation,
        dropped_by=tags[0].dropped_by if tags and name == "relu" else first.dropped_by,
        layers=frozenset() if weighs else frozenset().union(*(tag.layers for tag in tags)),
        weight=first.weight,
    )
