"""Functions of torch that drop, and where their rate stands among the arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

_RATE_AT: dict[Callable[..., Any], tuple[int, str]] = {
    **{
        getattr(F, name): (1, "p")
        for name in (
            "dropout",
            "dropout1d",
            "dropout2d",
            "dropout3d",
            "alpha_dropout",
            "feature_alpha_dropout",
        )
    },
    **{
        getattr(torch, name): (1, "p")
        for name in (
            "dropout",
            "dropout_",
            "feature_dropout",
            "feature_dropout_",
            "alpha_dropout",
            "alpha_dropout_",
            "feature_alpha_dropout",
            "feature_alpha_dropout_",
            "native_dropout",
        )
    },
    F.scaled_dot_product_attention: (4, "dropout_p"),
    F.multi_head_attention_forward: (10, "dropout_p"),
    **{getattr(torch, name): (5, "dropout") for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
}


_NAMES = {func: func.__name__ for func in _RATE_AT}  # the compiler follows a lookup, not the name


def call_name(func: Callable[..., Any]) -> str:
    """Return the name of a dropping function."""
    return _NAMES[func]


def is_dropout_call(func: Callable[..., Any]) -> bool:
    """Say whether `func` drops something."""
    return func in _RATE_AT


def is_plain_dropout(func: Callable[..., Any]) -> bool:
    """Say whether `func` drops its input and does nothing else."""
    return func in _RATE_AT and _RATE_AT[func][1] == "p"


def _place(func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, str]:
    at, name = _RATE_AT[func]
    if name == "dropout" and isinstance(args[3], list | tuple):
        at += 1  # a packed sequence comes as two arguments, so the weights are the fourth
    return at, name


def rate_of(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> float:
    """Return the rate that a call of a dropping function asks for."""
    at, name = _place(func, args)
    if name in kwargs:
        return kwargs[name]
    if len(args) > at:
        return args[at]
    return 0.0 if name == "dropout_p" else 0.5


def with_rate(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], p: float
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the call with its rate replaced."""
    at, name = _place(func, args)
    if len(args) > at:
        return (*args[:at], p, *args[at + 1 :]), dict(kwargs)
    return args, {**kwargs, name: p}
