"""Where a change belongs that a class's own source cannot take."""

from __future__ import annotations

import shlex
from numbers import Real
from typing import Any

import libcst as cst

from droplab.errors import PlacementError, nearest
from droplab.placement._source._maker import factory
from droplab.placement._source._places import Place, is_weight_layer, sequential_literal
from droplab.placement._source._view import ClassView

_CONTAINERS = ("ModuleList", "ModuleDict")


def explain(view: ClassView, name: str, found: dict[str, Place], rate: Any) -> PlacementError:
    """Return why a site that was asked for by its name cannot be patched in this class."""
    head, _, rest = name.partition(".")
    source = view.source
    if isinstance(view.node, cst.Call):
        return source.refuse(
            view.node,
            f"the Sequential '{view.name}' has no linear, convolution or recurrent layer '{name}' "
            f"that stands here{nearest(name, found)}",
        )
    creations = view.creations.get(head, [])
    if not creations:
        inherited = _in_base(view, head, rate)
        if inherited is not None:
            return inherited
        return source.refuse(
            view.node,
            f"class {view.name} makes no attribute '{head}' that is a torch layer"
            f"{nearest(name, found)}",
        )
    first = creations[0]
    if not rest and _either(view, *(creation.value for creation in creations)):
        return source.refuse(first.value, f"'{head}' {_UNDER_A_CONDITION}")
    if not isinstance(first.value, cst.Call):
        return source.refuse(
            first.value,
            f"'{head}' is not made by a call here, so its layers cannot be told; "
            "patch the class that makes them, or keep the plan in memory",
        )
    made_by = first.made_by or source.code(first.value.func)
    kind = view.layer(head)
    if not rest and not kind:
        return source.refuse(
            first.value,
            f"'{head}' is made by {made_by}, which is no linear, convolution or recurrent layer of "
            f"torch; name a site inside of it, as `droplab sites` lists them",
        )
    if kind == "Sequential":
        if sequential_literal(view, first.value) is None or len(creations) > 1:
            return _other_class(view, first.value, name, rest, rate) or source.refuse(
                first.value,
                f"the elements of '{head}' do not stand in the source (they are made in a list, a "
                "loop or under a condition), so there is no line to add; write them out, or keep "
                "the plan in memory",
            )
        names = [place for place in found if place.startswith(f"{head}.")]
        literal = sequential_literal(view, first.value)
        items = {item.name: item.value for item in literal.items} if literal is not None else {}
        if rest in items and _either(view, items[rest]):
            return source.refuse(items[rest], f"'{name}' {_UNDER_A_CONDITION}")
        return _other_class(view, first.value, name, rest, rate) or source.refuse(
            first.value,
            f"'{name}' is no linear, convolution or recurrent layer of torch{nearest(name, names)}",
        )
    if kind in _CONTAINERS:
        return _other_class(view, first.value, name, rest, rate) or source.refuse(
            first.value,
            f"'{head}' is a {kind}, whose layers are called through an index, so the call of "
            f"'{name}' cannot be told from the others; keep the plan in memory",
        )
    return _other_class(view, first.value, name, rest, rate) or source.refuse(
        first.value,
        f"'{name}' belongs to {made_by}, which is defined elsewhere; patch the file that defines "
        "it, or keep the plan in memory",
    )


_UNDER_A_CONDITION = (
    "is made under a condition, and is another layer or none under another, so that one line of "
    "dropout does not fit both; keep the plan in memory, or make it in one way"
)


def _either(view: ClassView, *values: cst.BaseExpression) -> bool:
    """Whether what an attribute may be is a weight layer of torch, and something else as well."""
    either = [
        branch
        for value in values
        for branch in ((value.body, value.orelse) if isinstance(value, cst.IfExp) else (value,))
    ]
    made = {view.made(value) for value in either}
    return len(made) > 1 and any(is_weight_layer(layer) for layer in made)


def _command(view: ClassView, owner: str, site: str, rate: Any) -> str:
    """Return the command that patches another class of the file."""
    here = shlex.quote(f"{view.source.path}:{owner}")
    written = f"{rate:g}" if isinstance(rate, Real) else "RATE"
    return f"droplab patch {here} --rates {shlex.quote(f'{site}={written}')}"


def _other_class(
    view: ClassView, value: cst.Call, name: str, rest: str, rate: Any
) -> PlacementError | None:
    """Return where the change belongs if a class of the same file makes the submodule.

    It is made in the expression itself, or in the helper that this calls.
    """
    finder = _LocalCalls(view)
    value.visit(finder)
    helper = factory(view.source, value.func, view.methods)
    if not finder.found and helper is not None:
        helper.body.visit(finder)
    for call, owner in finder.found:
        site = rest if call is value else rest.partition(".")[2]
        node = view.source.find_class(owner)
        if not site or site.partition(".")[0] in ClassView(view.source, node).creations:
            break
    else:
        return None
    run = f"; run: {_command(view, owner, site, rate)}" if site else ""
    return view.source.refuse(
        call,
        f"'{name}' belongs to class {owner} (line {view.source.line(node)}), and a change there "
        f"reaches all its instances{run}",
    )


class _LocalCalls(cst.CSTVisitor):
    """Finds the calls of classes that the same file defines."""

    def __init__(self, view: ClassView) -> None:
        self.view = view
        self.classes = view.source.classes()
        self.found: list[tuple[cst.Call, str]] = []

    def visit_Call(self, node: cst.Call) -> None:
        name = self.view.source.full_name(node.func)
        if name in self.classes and self.classes[name][0] is not self.view.node:
            self.found.append((node, name))


def _in_base(view: ClassView, attribute: str, rate: Any) -> PlacementError | None:
    """Return where the change belongs if a base class makes the attribute."""
    source = view.source
    for base in view.bases():
        if base in source.classes():
            node = source.find_class(base)
            other = ClassView(source, node)
            if attribute in other.creations:
                line = source.line(other.creations[attribute][0].value)
                return source.refuse(
                    line,
                    f"'{attribute}' is made by the base class {base}, and a change there reaches "
                    f"all its children; run: {_command(view, base, attribute, rate)}",
                )
            deeper = _in_base(other, attribute, rate)
            if deeper is not None:
                return deeper
        elif base not in ("torch.nn.Module", "object"):
            return source.refuse(
                view.node,
                f"class {view.name} makes no '{attribute}' itself; if its base class {base} does, "
                "patch the file that defines that",
            )
    return None


def no_call(view: ClassView, attribute: str) -> PlacementError:
    """Return why a layer that this class makes but never calls cannot be patched."""
    source = view.source
    line = source.line(view.creations[attribute][0].value)
    for base in view.bases():
        if base in source.classes():
            other = ClassView(source, source.find_class(base))
            if other.calls(attribute):
                at = source.line(other.calls(attribute)[0][0])
                return source.refuse(
                    at,
                    f"'{attribute}' is called in a method that {view.name} inherits from {base}; "
                    f"the change belongs there and reaches all children of {base}",
                )
        elif base != "torch.nn.Module" and "forward" not in view.methods:
            return source.refuse(
                view.node,
                f"class {view.name} inherits its forward from {base}, which another file defines; "
                "override forward here, or keep the plan in memory",
            )
    return source.refuse(line, f"'{attribute}' is made here, but no method of {view.name} calls it")
