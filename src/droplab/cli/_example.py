"""Input for a model from shapes on the command line: `--example`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError, nearest, quote
from droplab.limits import ELEMENTS, QUOTED

DTYPES = {"float": torch.float32, "int": torch.int64} | {
    name: getattr(torch, name)
    for name in ("bool", "float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8")
}
BOUND = 10
"""Integers are drawn below it, unless another bound is given or an embedding is smaller."""

_NUMBER = r"-?\d{1,12}(?:\.\d{1,12})?"
_VALUES = re.compile(rf"\[({_NUMBER}(?:,{_NUMBER})*)\]", re.ASCII)
_SHAPE = re.compile(r"(?:(\w+):)?(\d{1,12}(?:[xX]\d{1,12})*)(?::(\w+))?(?:<(\d{1,12}))?", re.ASCII)


def read_examples(
    texts: Sequence[str], model: nn.Module
) -> tuple[Tensor, ...] | dict[str, Tensor] | None:
    """Return a batch for a model: arguments of its forward, by place or by name; None for none.

    An input is a shape ("64x1x28x28"), a kind before or after it ("int:4x12", "4x12:int64"), and
    for integers a bound ("int:4x12<1000"); or its very numbers ("[12,9,4]", lengths for example).
    A name may stand before it ("input_ids=int:4x12<1000"). Floats are standard normal; images and
    volumes are smooth, as real ones are: neighbouring pixels are correlated.

    Args:
        texts: Each one input, or several with commas between them.
        model: What they are for: without a bound, integers are below 10 and below the size of
            every embedding in it.

    Raises:
        ArgumentError: A text is no such input, or only some have names.

    Randomness:
        Draws one input after the other from a generator of its own with seed 0.

    Example:
        >>> ids, lengths = read_examples(["int:2x3<5,[3,2]"], nn.Identity())
        >>> ids.shape, ids.dtype, lengths
        (torch.Size([2, 3]), torch.int64, tensor([3, 2]))
    """
    inputs: list[Tensor] = []
    named: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    sizes = [m.num_embeddings for m in model.modules() if isinstance(m, _EMBEDDINGS)]
    bound = min([BOUND, *sizes])
    for text in texts:
        shown = text if len(text) <= QUOTED else quote(text)
        for part in re.split(r",(?![^\[]*\])", text):
            name, equals, rest = part.strip().rpartition("=")
            if equals and (not name.isidentifier() or name in named):
                raise ArgumentError(
                    f"--example {shown}: expected NAME=SHAPE, each name once, got '{name[:80]}='"
                )
            tensor = _tensor(shown, rest, bound, generator)
            if equals:
                named[name] = tensor
            else:
                inputs.append(tensor)
    if inputs and named:
        raise ArgumentError("--example: expected all shapes with a name, or none, got both")
    return named or tuple(inputs) or None


_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def _tensor(text: str, part: str, bound: int, generator: torch.Generator) -> Tensor:
    values = _VALUES.fullmatch(part.replace(" ", ""))
    if values:
        numbers = values[1].split(",")
        return torch.tensor([float(n) if "." in n else int(n) for n in numbers])
    shape = _SHAPE.fullmatch(part)
    if shape is None or (shape[1] and shape[3]):
        raise ArgumentError(
            f"--example {text}: expected a shape such as 64x1x28x28, int:4x12<1000 or "
            f"input_ids=4x12:int, or numbers such as [12,9] (kinds: {', '.join(DTYPES)})"
        )
    kind = shape[1] or shape[3] or "float"
    if kind not in DTYPES:
        raise ArgumentError(
            f"--example {text}: expected a kind of {', '.join(DTYPES)}, got '{kind}'"
            f"{nearest(kind, DTYPES)}"
        )
    dtype = DTYPES[kind]
    sizes = [int(size) for size in shape[2].lower().split("x")]
    if 0 in sizes or len(sizes) > 8 or math.prod(sizes) > ELEMENTS:
        raise ArgumentError(
            f"--example {text}: expected at most 8 sizes from 1, and at most {ELEMENTS} elements"
        )
    if not dtype.is_floating_point:
        high = 2 if dtype is torch.bool else int(shape[4] or bound)
        if high < 1:
            raise ArgumentError(f"--example {text}: expected a bound of at least 1, got {high}")
        return torch.randint(high, sizes, generator=generator).to(dtype)
    if shape[4]:
        raise ArgumentError(f"--example {text}: expected no bound for a {kind}, got {shape[4]}")
    return _smooth(torch.randn(sizes, generator=generator)).to(dtype)


def _smooth(x: Tensor) -> Tensor:
    """Return images and volumes with neighbours that are alike; anything else as it is."""
    if x.dim() == 4:
        x = nn.functional.avg_pool2d(x, 5, 1, 2)
    elif x.dim() == 5:
        x = nn.functional.avg_pool3d(x, 3, 1, 1)
    else:
        return x
    return x / x.std(correction=0) if x.numel() > 1 else x
