"""The random functions of torch that a model's `forward` may call, made from keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab import ops
from droplab.placement._calls import call_name, is_dropout_call, rate_of

NextKey = Callable[[], Tensor]
"""Returns the key of the next draw."""

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_CHANNELS = {"dropout1d": 1, "dropout2d": None, "dropout3d": 3}
_ALPHA = ("alpha_dropout", "alpha_dropout_")
_FEATURES = ("feature_dropout", "feature_dropout_", *_CHANNELS)
_FEATURE_ALPHA = ("feature_alpha_dropout", "feature_alpha_dropout_")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")

_DRAWS: dict[Any, str] = {
    torch.rand: "rand",
    torch.rand_like: "rand_like",
    torch.randn: "randn",
    torch.randn_like: "randn_like",
    torch.bernoulli: "bernoulli",
    torch.Tensor.bernoulli: "bernoulli",
    torch.Tensor.bernoulli_: "bernoulli_",
    torch.Tensor.uniform_: "uniform_",
    torch.Tensor.normal_: "normal_",
}

_KEYS = ("draw_key", "draw_layer_key")
"""Operators of droplab that draw a key for a layer without a seed."""

_SEEDED = ("next_key",)
"""That of a layer with a seed, which draws nothing from a generator."""


def is_draw(func: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether `func` makes random numbers, or the key of some; dropping functions aside."""
    own = func in _DRAWS and kwargs.get("generator") is None
    return own or _own_name(func) in (*_KEYS, *_SEEDED)


def is_random(func: Any, kwargs: Mapping[str, Any]) -> bool:
    """Say whether `func` drops something, or draws random numbers."""
    return is_dropout_call(func) or is_draw(func, kwargs)


def _own_name(func: Any) -> str:
    """Return the name of an operator of droplab, "" of all else."""
    name = getattr(func, "_qualified_op_name", None) or getattr(func, "_name", None)
    return name.removeprefix("droplab::") if isinstance(name, str) else ""


def keyed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], next_key: NextKey) -> Any:
    """Return what `func` returns, with its random numbers made from keys where it draws some.

    A call that drops nothing because its rate is 0 counts as a draw as well, so that the keys of
    what follows do not depend on rates.

    Args:
        func: A function that `is_random` accepts.
        args: Its arguments.
        kwargs: Its keyword arguments.
        next_key: Called once for each draw.
    """
    if is_dropout_call(func):
        return _drop(func, args, kwargs, next_key)
    if func in _DRAWS and kwargs.get("generator") is None:
        return _draw(_DRAWS[func], func, args, kwargs, next_key)
    return next_key() if _own_name(func) in _KEYS else func(*args, **kwargs)


def _drop(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], next_key: NextKey) -> Any:
    name, p = call_name(func), rate_of(func, args, kwargs)
    if not _trains(name, args, kwargs):
        return func(*args, **kwargs)
    if name in _RECURRENT:
        return _recurrent(func, args, kwargs, next_key)
    key = next_key()
    if not _drops(p):
        return func(*args, **kwargs)
    if name == "scaled_dot_product_attention":
        return _attention(args, kwargs, key)
    if name == "multi_head_attention_forward":
        return _multi_head(args, kwargs, key)
    x = args[0] if args else kwargs["input"]
    if x.dtype not in _FLOATS or name == "native_dropout":
        return func(*args, **kwargs)
    y = _dropped(name, x, p, key)
    in_place = name.endswith("_") or kwargs.get("inplace", len(args) > 3 and args[3])
    return x.copy_(y) if in_place else y


def _trains(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the call is one of training; attention says it by its rate alone."""
    if name == "scaled_dot_product_attention":
        return True
    if name == "multi_head_attention_forward":
        return bool(kwargs.get("training", args[13] if len(args) > 13 else True))
    if name in _RECURRENT:
        return bool(args[7] if isinstance(args[3], list | tuple) else args[6])
    given = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    return bool(given)


def _dropped(name: str, x: Tensor, p: float, key: Tensor) -> Tensor:
    if name in _ALPHA:
        return ops.alpha_dropout(x, p, True, key=key)
    if name in _FEATURE_ALPHA:
        return ops.feature_alpha_dropout(x, p, True, key=key)
    if name not in _FEATURES:
        return ops.dropout(x, p, True, key=key)
    spatial = _CHANNELS.get(name)
    # as torch reads it: (N, C, ...), but (C, ...) where 1d and 3d see one axis less
    leading = 1 if spatial is not None and x.dim() == spatial + 1 else 2
    shape = (*x.shape[:leading], *(1 for _ in x.shape[leading:]))
    return ops.dropout(x, p, True, key=key, noise_shape=shape)


def _attention(args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Tensor) -> Tensor:
    """Scaled dot product attention with dropout, as torch's documentation spells it out."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
    query, keys, value = (given[name] for name in names[:3])
    mask = given.get("attn_mask")
    if given.get("enable_gqa"):
        groups = query.shape[-3] // keys.shape[-3]
        keys, value = (x.repeat_interleave(groups, -3) for x in (keys, value))
    scale = given.get("scale")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = query @ keys.transpose(-2, -1) * scale
    if given.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        shut = mask.logical_not() if mask.dtype == torch.bool else mask == float("-inf")
        scores = scores.masked_fill(shut, float("-inf"))
        if mask.dtype != torch.bool:
            scores = scores + torch.where(shut, 0.0, mask)
        empty = (scores == float("-inf")).all(-1, keepdim=True)  # sees nothing, and gives zeros
        weights = scores.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)
    else:
        weights = scores.softmax(-1)
    return ops.dropout(weights, given["dropout_p"], True, key=key) @ value


def _multi_head(args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Tensor) -> Any:
    """Run torch's own code, in which the two functions that drop take the key."""

    def attention(*given: Any, **named: Any) -> Tensor:
        return _attention(given, named, key)

    def dropout(x: Tensor, p: float) -> Tensor:
        return ops.dropout(x, p, True, key=key)

    own = {
        **vars(F),
        "dropout": dropout,
        "scaled_dot_product_attention": attention,
        "has_torch_function": lambda tensors: False,  # which would come back here
    }
    plain = F.multi_head_attention_forward
    function = FunctionType(plain.__code__, own, plain.__name__, plain.__defaults__)
    function.__kwdefaults__ = plain.__kwdefaults__
    return function(*args, **kwargs)


def _recurrent(func: Any, args: tuple[Any, ...], kwargs: Any, next_key: NextKey) -> Any:
    """Run the layers one after another, since torch drops between them out of sight."""
    packed = isinstance(args[3], list | tuple)  # its data and sizes are two arguments
    (x, *sizes), rest = (args[:2], args[2:]) if packed else (args[:1], args[1:])
    hidden, weights, biases, layers, p, train, both_ways, *batch_first = rest
    if layers == 1 or not _drops(p):
        return func(*args, **kwargs)
    states = list(hidden) if isinstance(hidden, list | tuple) else [hidden]
    directions, each = 2 if both_ways else 1, len(weights) // layers
    ends: list[list[Tensor]] = [[] for _ in states]
    for layer in range(layers):
        if layer:
            x = ops.dropout(x, p, True, key=next_key())
        own = [state[layer * directions : (layer + 1) * directions] for state in states]
        start = own if isinstance(hidden, list | tuple) else own[0]
        part = weights[layer * each : (layer + 1) * each]
        x, *last = func(x, *sizes, start, part, biases, 1, 0.0, train, both_ways, *batch_first)
        for kept, end in zip(ends, last, strict=True):
            kept.append(end)
    return (x, *(torch.cat(kept) for kept in ends))


def _draw(
    name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], next_key: NextKey
) -> Any:
    key = next_key()
    if name in ("rand", "randn", "rand_like", "randn_like"):
        made = _like(name, args, kwargs, key)
        return func(*args, **kwargs) if made is None else made
    x, *rest = args
    if name == "bernoulli":
        p = (rest or [kwargs.get("p")])[0]
        if kwargs.get("out") is not None:
            return func(*args, **kwargs)
        return _uniform(x, key).lt(x if p is None else p).to(x.dtype)
    if name == "bernoulli_":
        return x.copy_(_uniform(x, key) < (rest or [kwargs.get("p", 0.5)])[0])
    if not x.is_floating_point():
        return func(*args, **kwargs)
    first, second = ("from", "to") if name == "uniform_" else ("mean", "std")
    low = rest[0] if rest else kwargs.get(first, 0.0)
    high = rest[1] if len(rest) > 1 else kwargs.get(second, 1.0)
    if name == "uniform_":
        return x.copy_(_uniform(x, key) * (high - low) + low)
    return x.copy_(ops.normal(x.shape, key=key, device=x.device) * high + low)


def _like(
    name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], key: Tensor
) -> Tensor | None:
    """Return new random numbers; None where they are asked for in an unusual way."""
    usual = {"size", "input", "dtype", "device", "generator"}
    if any(value not in (None, False) for name, value in kwargs.items() if name not in usual):
        return None
    dtype, device = kwargs.get("dtype"), kwargs.get("device")
    if name.endswith("_like"):
        like = args[0] if args else kwargs["input"]
        shape, dtype, device = like.shape, dtype or like.dtype, device or like.device
    else:
        given = args if args else (kwargs["size"],)
        shape = given[0] if len(given) == 1 and not isinstance(given[0], int) else given
        dtype = dtype or torch.get_default_dtype()
        device = device or torch.get_default_device()
    if dtype not in _FLOATS:
        return None
    make = ops.uniform if name.startswith("rand_") or name == "rand" else ops.normal
    return make(tuple(shape), key=key, dtype=dtype, device=device)


def _uniform(x: Tensor, key: Tensor) -> Tensor:
    """Numbers from 0 to 1 of the shape of `x`, exact enough to compare with any probability."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return ops.uniform(x.shape, key=key, dtype=dtype, device=x.device)


def _drops(p: Any) -> bool:
    """Whether a rate is one that masks are made for; torch knows what to do with any other."""
    return not isinstance(p, Tensor) and 0 < p < 1 and 0 < round(p * 65536) < 65536
