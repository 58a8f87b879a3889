"""Where a value in `forward` comes from: the model's own input, or which layers."""

from __future__ import annotations

import libcst as cst

from droplab.placement._source._flow import assigned_before
from droplab.placement._source._places import Place, is_weight_layer
from droplab.placement._source._view import ClassView

RAW = ""
"""The origin of the model's own input."""

_UNKNOWN = "?"
_WEIGHING = ("linear", "bilinear", "conv1d", "conv2d", "conv3d", "embedding", "matmul", "einsum")
_NORMS = ("BatchNorm", "SyncBatchNorm", "LazyBatchNorm")
_WEIGHTLESS = (
    *("Identity", "Flatten", "Unflatten", "ReLU", "ReLU6", "GELU", "SiLU", "ELU", "SELU", "Tanh"),
    *("Sigmoid", "LeakyReLU", "Hardswish", "Softplus", "Mish", "Upsample", "PixelShuffle"),
    *("ZeroPad1d", "ZeroPad2d", "ConstantPad1d", "ConstantPad2d", "ReflectionPad2d"),
)


def left_out(view: ClassView, found: dict[str, Place]) -> tuple[set[str], set[str]]:
    """Return the places that the model's own input reaches, and those before a BatchNorm.

    They are told from the source alone, where that shows them: by straight lines of `forward`.
    """
    raw: set[str] = set()
    if not view.is_part():
        raw = {name for name, place in found.items() if _inputs(view, place) == {RAW}}
    shifted: set[str] = set()
    for attribute in view.creations:
        if _is_norm(view.layer(attribute)):
            for call, _ in view.calls(attribute):
                if call.args:
                    shifted |= _origins(view, call.args[0].value)
    for name, place in found.items():
        literal = place.literal
        if literal is None:
            continue
        for item in literal.items[place.index + 1 :]:
            layer = view.made(item.value)
            if _is_norm(layer):
                shifted.add(name)
            if not _is_weightless(layer):
                break
        else:
            path = name.rpartition(".")[0]
            if path in shifted:  # a BatchNorm reads what the Sequential returns
                shifted.add(name)
    return raw, shifted & found.keys()


def _inputs(view: ClassView, place: Place) -> set[str]:
    """Return the origins of a place's input."""
    if place.literal is not None:
        before = place.literal.items[: place.index]
        if not all(_is_weightless(view.made(item.value)) for item in before):
            return {_UNKNOWN}
        if place.name.count(".") > 1:  # inside a Sequential in another
            return {_UNKNOWN}
        if not place.attribute:
            return {_UNKNOWN} if "." in place.name else {RAW}
    calls = [call for call, _ in view.calls(place.attribute)]
    found: set[str] = set()
    for call in calls:
        found |= _origins(view, call.args[0].value) if call.args else {_UNKNOWN}
    return found or {_UNKNOWN}


def _origins(view: ClassView, value: cst.BaseExpression, depth: int = 0) -> set[str]:
    if depth > 100:
        return {_UNKNOWN}
    more = depth + 1
    if isinstance(value, cst.Name):
        return _name(view, value, more)
    if isinstance(value, cst.BinaryOperation):
        both = _origins(view, value.left, more) | _origins(view, value.right, more)
        return both - {_NUMBER} or {_NUMBER}
    if isinstance(value, cst.Integer | cst.Float | cst.UnaryOperation):
        return {_NUMBER}
    if isinstance(value, cst.Subscript):
        return _origins(view, value.value, more)
    if not isinstance(value, cst.Call):
        return {_UNKNOWN}
    own = view.own(value.func)
    if own:
        layer = view.layer(own)
        if is_weight_layer(layer) or layer == "Sequential":
            return {own}
        through = _is_weightless(layer) and bool(value.args)
        return _origins(view, value.args[0].value, more) if through else {_UNKNOWN}
    name = view.source.full_name(value.func)
    plain = name.rpartition(".")[2]
    if name.startswith("torch."):
        known = plain not in _WEIGHING and bool(value.args)
        return _origins(view, value.args[0].value, more) if known else {_UNKNOWN}
    if isinstance(value.func, cst.Attribute):  # a method: x.flatten(1)
        return _origins(view, value.func.value, more)
    return {_UNKNOWN}


_NUMBER = "0"


def _name(view: ClassView, name: cst.Name, depth: int) -> set[str]:
    value, changed = assigned_before(view, name)
    if value is not None:
        return _origins(view, value, depth)
    if changed:
        return {_UNKNOWN}
    method, at = view.argument(name)
    if method == "forward":
        return {RAW}
    found: set[str] = set()
    for call, _ in view.calls(method) if method else ():
        plain = at < len(call.args) and not any(a.star or a.keyword for a in call.args[: at + 1])
        found |= _origins(view, call.args[at].value, depth) if plain else {_UNKNOWN}
    return found or {_UNKNOWN}


def _is_norm(layer: str) -> bool:
    return layer.startswith(_NORMS)


def _is_weightless(layer: str) -> bool:
    return (
        layer in _WEIGHTLESS
        or "Dropout" in layer
        or "Pool" in layer
        or layer in ("LogSoftmax", "Softmax")
    )
