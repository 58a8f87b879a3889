"""The sites that a class's own source shows: plain attributes, and elements of Sequentials."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst
from torch import nn

from droplab.placement._layers import default_kind, role_of
from droplab.placement._sites import Site
from droplab.placement._source._maker import factory, layer_of, returned
from droplab.placement._source._view import ClassView


@dataclass(frozen=True)
class Item:
    """One element of a Sequential written out in the source.

    Args:
        name: Its name in `state_dict`.
        value: The expression that makes it.
        node: The argument or the list element around that.
    """

    name: str
    value: cst.BaseExpression
    node: cst.Arg | cst.Element


@dataclass(frozen=True)
class Literal:
    """A `nn.Sequential(...)` whose elements stand in the source.

    Args:
        call: The call.
        items: The elements.
        named: Whether it is written with names, as an OrderedDict.
    """

    call: cst.Call
    items: tuple[Item, ...]
    named: bool


@dataclass(frozen=True)
class Place:
    """One site in the source.

    Args:
        name: The site.
        attribute: The attribute of the class that it is, or is inside of.
        layer: Name of torch's class.
        value: The call that makes the layer.
        literal: The innermost Sequential around it, None for a plain attribute.
        index: Its place in there.
    """

    name: str
    attribute: str
    layer: str
    value: cst.Call
    literal: Literal | None = None
    index: int = 0


def places(view: ClassView) -> dict[str, Place]:
    """Return the sites that a class's source shows, in order."""
    found: dict[str, Place] = {}
    if isinstance(view.node, cst.Call):
        _inside(view, "", "", view.node, found)
    for name, creations in view.creations.items():
        layer = view.layer(name)
        first = creations[0].value
        if not isinstance(first, cst.Call):
            continue
        if is_weight_layer(layer):
            found[name] = Place(name, name, layer, first)
        elif layer == "Sequential" and len(creations) == 1:
            _inside(view, name, name, written_out(view, first), found)
    return found


def _inside(
    view: ClassView, path: str, attribute: str, call: cst.Call, found: dict[str, Place]
) -> None:
    literal = sequential_literal(view, call)
    if literal is None:
        return
    for index, item in enumerate(literal.items):
        if not isinstance(item.value, cst.Call):
            continue
        name = f"{path}.{item.name}" if path else item.name
        layer = layer_of(view.source, item.value, view.methods)
        if is_weight_layer(layer):
            found[name] = Place(name, attribute, layer, item.value, literal, index)
        elif layer == "Sequential":
            _inside(view, name, attribute, item.value, found)


def written_out(view: ClassView, call: cst.Call) -> cst.Call:
    """Return the Sequential that a helper returns which only this call calls, else the call."""
    helper = factory(view.source, call.func, view.methods)
    if helper is None:
        return call
    made = returned(helper)
    only = view.source.text.count(f"{helper.name.value}(") == 2
    return made[0] if only and len(made) == 1 and isinstance(made[0], cst.Call) else call


def sequential_literal(view: ClassView, call: cst.Call) -> Literal | None:
    """Return the elements of a Sequential, None if they do not stand in the source."""
    if view.source.full_name(call.func) != "torch.nn.Sequential":
        return None
    if any(arg.star or arg.keyword for arg in call.args):
        return None
    if len(call.args) == 1:
        only = call.args[0].value
        if isinstance(only, cst.Call) and view.source.full_name(only.func) == (
            "collections.OrderedDict"
        ):
            items = _named_items(only)
            return None if items is None else Literal(call, items, named=True)
    items = tuple(Item(str(at), arg.value, arg) for at, arg in enumerate(call.args))
    return Literal(call, items, named=False)


def _named_items(ordered: cst.Call) -> tuple[Item, ...] | None:
    if len(ordered.args) != 1 or not isinstance(ordered.args[0].value, cst.List):
        return None
    found: list[Item] = []
    for element in ordered.args[0].value.elements:
        pair = element.value
        if (
            not isinstance(element, cst.Element)
            or not isinstance(pair, cst.Tuple)
            or len(pair.elements) != 2
            or not isinstance(pair.elements[0].value, cst.SimpleString)
        ):
            return None
        name = pair.elements[0].value.evaluated_value
        found.append(Item(str(name), pair.elements[1].value, element))
    return tuple(found)


def layer_class(layer: str) -> type[nn.Module] | None:
    """Return torch's class of that name."""
    found = getattr(nn, layer, None) if layer else None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None


def is_weight_layer(layer: str) -> bool:
    """Say whether the input of torch's layer of that name is a site."""
    cls = layer_class(layer)
    return cls is not None and role_of(cls) is not None


def as_sites(
    found: dict[str, Place], after_selu: set[str], raw: set[str], shifted: set[str]
) -> list[Site]:
    """Return the places as sites, so that the rules of a plan choose among them.

    Args:
        found: The places.
        after_selu: Those that a SELU feeds.
        raw: Those that the model's own input reaches.
        shifted: Those whose layer a BatchNorm follows.
    """
    result: list[Site] = []
    for name, place in found.items():
        cls = layer_class(place.layer)
        what = None if cls is None else role_of(cls)
        if what is not None:
            kind, why = default_kind(what, after_selu=name in after_selu)
            left_out = "the model's own input" if name in raw else ""
            shifts = not left_out and name in shifted
            if shifts:
                left_out = "a BatchNorm follows the layer: dropout would shift its variance"
            result.append(Site(name, place.layer, what, kind, why, left_out, shifts=shifts))
    return result
