"""What comes out of a pass: the tensors that are kept of it, one row for each input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from droplab.errors import ArgumentError, DroplabError

Take = Callable[[Any], Any]

_ADVICE = "say with output what of it is wanted, lambda out: out.logits or out[0] for example"

_CLOSE = 1e-3
"""How far passes together may be from passes alone, relative to the largest number."""


def outputs(out: Any, take: Take | None = None) -> Any:
    """Return the tensors that a model has returned, or those that `take` takes out of it.

    A data class becomes a dictionary; in it and in a dictionary, what is None is left out.

    Raises:
        ArgumentError: If there is none, or something else among them.
    """
    if take is not None:
        out = take(out)
    if is_dataclass(out) and not isinstance(out, (type, Mapping)):
        out = {each.name: getattr(out, each.name) for each in fields(out)}
    if isinstance(out, Mapping) and any(value is None for value in out.values()):
        out = {key: value for key, value in out.items() if value is not None}
    leaves, _ = tree_flatten_with_path(out)
    if not leaves:
        raise ArgumentError("sample: expected a model that returns tensors, got nothing")
    for path, leaf in leaves:
        if not isinstance(leaf, Tensor):
            where = f" at {keystr(path)}" if path else ""
            raise ArgumentError(
                f"sample: expected a model that returns tensors, got {type(leaf).__name__}{where}; "
                f"{_ADVICE}"
            )
    return out


def logits_of(out: Any) -> Any:
    """Return the logits that a model's output has under that name; else the output."""
    found = out.get("logits") if isinstance(out, Mapping) else getattr(out, "logits", None)
    return found if isinstance(found, Tensor) else out


def one_tensor(out: Any) -> Tensor:
    """Return an output that is one tensor, in double precision.

    Raises:
        ArgumentError: If it is anything else.
    """
    if not isinstance(out, Tensor):
        raise ArgumentError(
            f"predict: expected a model that returns one tensor, got {type(out).__name__}; say "
            "with output what of it are the logits or values, lambda out: out[0] for example"
        )
    return out.double()


def checked(out: Any, rows: int, start: int, shape: Any) -> Any:
    """Return the shape of the samples of one input, alike for all.

    Args:
        out: The outputs of all passes over a block.
        rows: How many inputs it has.
        start: Where it begins in the data.
        shape: What the block before had; None of the first.

    Raises:
        ArgumentError: If it has no row for each input, another shape, or is NaN.
    """
    for path, leaf in tree_flatten_with_path(out)[0]:
        where = f" at {keystr(path)}" if path else ""
        if leaf.dim() < 2 or leaf.shape[1] != rows:
            raise ArgumentError(
                f"sample: expected an output for each of {rows} inputs, got shape "
                f"{tuple(leaf.shape[1:])} of one pass{where}; {_ADVICE}"
            )
        if torch.is_floating_point(leaf) and leaf.isnan().any():
            at = leaf.flatten(2).isnan().any(-1) if leaf.dim() > 2 else leaf.isnan()
            which = start + int(at.any(0).nonzero()[0])
            raise ArgumentError(
                f"sample: the output of a pass{where} is NaN for input {which} (counted from 0); "
                "look at its values, or at the model's"
            )
    found = tree_map(lambda x: (x.shape[0], *x.shape[2:]), out)
    if shape is not None and found != shape:
        raise ArgumentError(
            f"sample: expected outputs of one shape for all inputs, got {found} after {shape}; "
            "pad the inputs to one length"
        )
    return found


@contextmanager
def on_inputs(core: nn.Module, start: int, rows: int) -> Iterator[None]:
    """Say on which inputs a model fails, if it does inside.

    Raises:
        ArgumentError: In place of whatever the model raises.
    """
    try:
        yield
    except DroplabError:
        raise
    except Exception as error:
        told = " ".join(str(error).split())
        raise ArgumentError(
            f"sample: expected a model that runs on all of the data, got a {type(core).__name__} "
            f"that fails on inputs {start} to {start + rows - 1} (counted from 0): "
            f"{type(error).__name__}: {told[:300]}"
        ) from error


def close(many: Tensor, one: Tensor) -> bool:
    """Return whether both have the same numbers, but for rounding; NaN is a number here."""
    if many.shape != one.shape:
        return False
    if not many.numel() or not (many.is_floating_point() or many.is_complex()):
        return torch.equal(many, one)
    many, one = many.nan_to_num(), one.nan_to_num()
    return bool((many - one).abs().max() <= _CLOSE * one.abs().max())
