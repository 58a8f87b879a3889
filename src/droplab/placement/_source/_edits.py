"""From sites and rates to changes of one class."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from droplab.errors import PlacementError
from droplab.placement._layers import Kind, input_count
from droplab.placement._source._explain import no_call
from droplab.placement._source._file import SourceFile
from droplab.placement._source._flow import Existing, element_dropout, existing_dropout
from droplab.placement._source._maker import torch_layer
from droplab.placement._source._places import Place, layer_class
from droplab.placement._source._rewrite import Changes
from droplab.placement._source._torch import Imports, dropout_layer
from droplab.placement._source._view import ClassView


@dataclass(frozen=True)
class SourceEdit:
    """One site's change.

    Args:
        site: The site.
        line: Line of the layer in the file before.
        what: What is done there, in words.
    """

    site: str
    line: int
    what: str


class Editor:
    """Collects the changes for the sites of one class.

    Args:
        view: The class.
        keep_names: Whether Sequentials get names, so that `state_dict` keys stay.
    """

    def __init__(self, view: ClassView, *, keep_names: bool) -> None:
        self.view = view
        self.source = view.source
        self.keep_names = keep_names
        self.changes = Changes()
        self.imports = Imports(view.source, self.changes)
        self.edits: list[SourceEdit] = []
        self.notes: list[str] = []
        self._rates: dict[str, dict[cst.Call, tuple[str, float]]] = {}
        self._taken = {*view.creations, *view.uses, *view.methods}

    def place(self, place: Place, p: float, kind: Kind) -> None:
        """Add or change the dropout of one site."""
        if place.literal is None:
            self._at_calls(place, p, kind)
        else:
            self._in_sequential(place, p, kind)

    def finish(self) -> None:
        """Settle the dropout modules that several places call.

        Raises:
            PlacementError: If one is also called where no rate, or another rate, was asked for.
        """
        for attribute, wanted in self._rates.items():
            calls = [call for call, _ in self.view.calls(attribute)]
            open_ = [self.source.line(call) for call in calls if call not in wanted]
            values = {p for _, p in wanted.values()}
            if open_ or len(values) > 1:
                sites = ", ".join(sorted({site for site, _ in wanted.values()}))
                where = ", ".join(str(self.source.line(call)) for call in calls)
                raise self.source.refuse(
                    next(iter(wanted)),
                    f"'{attribute}' drops the input of {sites}, but is one module for the lines "
                    f"{where}, so its rate cannot change for some of them alone; give all of them "
                    "one rate, or give each a dropout of its own first",
                )
            self._set_module(attribute, values.pop())

    def _set_module(self, attribute: str, p: float) -> None:
        """Give a dropout module another rate, also where a condition leaves it out."""
        values = [creation.value for creation in self.view.creations[attribute]]
        calls = [call for value in values for call in _torch_calls(self.source, value)]
        if not calls:
            raise self.source.refuse(
                values[0],
                f"the dropout '{attribute}' is made by a helper, whose rate may have other uses; "
                "give it a rate of its own first",
            )
        for value in values:
            if value in calls:
                assert isinstance(value, cst.Call)
                self._set_rate(value, 0, p)
            else:
                self.changes.swap[value] = (calls[0], p)
                self._note(
                    f"{self.source.path}:{self.source.line(value)}: '{attribute}' is no longer "
                    "left out under a condition"
                )

    def _at_calls(self, place: Place, p: float, kind: Kind) -> None:
        name = place.attribute
        calls = self.view.calls(name)
        self._check_uses(place, {use.node for _, use in calls})
        if not calls:
            raise no_call(self.view, name)
        fresh = ""
        for call, use in calls:
            for at in self._inputs(call, place):
                existing = existing_dropout(self.view, call.args[at].value)
                if existing is not None:
                    self._change(place, existing, p)
                    continue
                if p == 0:
                    self._note_nothing(place)
                    continue
                if not fresh:
                    fresh = self._new_module(place, p, kind)
                self.changes.wrap.setdefault(call, {})[at] = f"{use.me}.{fresh}"

    def _check_uses(self, place: Place, called: set[cst.Attribute]) -> None:
        for use in self.view.uses.get(place.attribute, ()):
            parent = self.source.parent(use.node)
            if use.node in called or isinstance(parent, cst.Attribute):
                continue  # a call, or a look at self.fc2.weight
            if place.literal is not None and isinstance(parent, cst.For | cst.CompFor):
                continue  # running through a Sequential runs through its dropout too
            raise self.source.refuse(
                use.node,
                f"'{place.attribute}' is used here other than by calling it, where a change of its "
                "input cannot be written; call it directly, or keep the plan in memory",
            )

    def _inputs(self, call: cst.Call, place: Place) -> list[int]:
        """Return which arguments of a call are inputs of the layer."""
        cls = layer_class(place.layer)
        count = 1 if cls is None else input_count(cls)
        found: list[int] = []
        for at, arg in enumerate(call.args):
            if arg.star:
                break
            if arg.keyword is None or arg.keyword.value in ("input", "input1", "input2"):
                found.append(at)
        if len(found) < count:
            raise self.source.refuse(
                call,
                f"the input of '{place.attribute}' cannot be told from the arguments of this call",
            )
        return found[:count]

    def _new_module(self, place: Place, p: float, kind: Kind) -> str:
        layer = dropout_layer(self.source, place, kind)
        written = self.imports.layer(place, layer)
        fresh = f"{place.attribute}_dropout"
        count = 2
        while fresh in self._taken:
            fresh = f"{place.attribute}_dropout{count}"
            count += 1
        self._taken.add(fresh)
        for creation in self.view.creations[place.attribute]:
            if creation.statement is None:
                raise self.source.refuse(
                    creation.value,
                    f"'{place.attribute}' is made on the line of another statement, after which no "
                    "line can be added; give it a line of its own",
                )
            target = _target(creation.statement, creation.name)
            me = target.rpartition(".")[0]
            self.changes.after.setdefault(creation.statement, []).append(
                f"{me}.{fresh} = {written}(p={p!r})"
            )
        self._edited(place, f"added {layer}(p={p:g})")
        return fresh

    def _in_sequential(self, place: Place, p: float, kind: Kind) -> None:
        literal = place.literal
        assert literal is not None
        self._check_uses(place, {use.node for _, use in self.view.calls(place.attribute)})
        before = [item.value for item in literal.items[: place.index]]
        existing = element_dropout(self.view, before)
        if existing is not None:
            self._change(place, existing, p)
            return
        if p == 0:
            self._note_nothing(place)
            return
        layer = dropout_layer(self.source, place, kind)
        text = f"{self.imports.layer(place, layer)}(p={p!r})"
        node: cst.CSTNode = literal.call
        if literal.named:
            around = self.source.parent(literal.items[place.index].node)
            assert around is not None
            node, text = around, f'("{literal.items[place.index].name}_dropout", {text})'
        elif self.keep_names:
            self.changes.named[literal.call] = self.imports.ordered_dict()
        else:
            self._note_moved(place)
        self.changes.insert.setdefault(node, []).append((place.index, text))
        self._edited(place, f"added {layer}(p={p:g}) before it")

    def _change(self, place: Place, existing: Existing, p: float) -> None:
        if existing.attribute:
            self._rates.setdefault(existing.attribute, {})[existing.call] = (place.name, p)
            where = f"'{existing.attribute}'"
        else:
            self._set_rate(existing.call, existing.at, p)
            where = f"line {self.source.line(existing.call)}"
        self._edited(place, f"changed the dropout that is there ({where}) to p={p:g}")

    def _set_rate(self, call: cst.Call, at: int, p: float) -> None:
        if not self.source.full_name(call.func).startswith("torch."):
            raise self.source.refuse(
                call, "this dropout is made by a helper; write it out, so that it has its own rate"
            )
        if any(arg.star for arg in call.args):
            raise self.source.refuse(call, "its rate is hidden in starred arguments")
        old = self.changes.rate.get(call)
        if old is not None and old[1] != p:
            raise self.source.refuse(
                call, f"this dropout would need two rates, {old[1]:g} and {p:g}"
            )
        self.changes.rate[call] = (at, p)

    def _edited(self, place: Place, what: str) -> None:
        edit = SourceEdit(place.name, self.source.line(place.value), what)
        if edit not in self.edits:
            self.edits.append(edit)

    def _note_nothing(self, place: Place) -> None:
        self._note(f"{place.name}: p = 0 adds nothing")

    def _note_moved(self, place: Place) -> None:
        path = place.name.rpartition(".")[0] or self.view.name
        self._note(
            f"{self.source.path}:{self.source.line(place.value)}: the indices in '{path}' move, so "
            f"state_dict keys change from '{place.name}' on, and saved weights no longer fit; "
            "with --names the elements keep their keys"
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _torch_calls(source: SourceFile, value: cst.BaseExpression) -> list[cst.Call]:
    """Return the dropout layers of torch that an expression makes, at once or under a condition."""
    if isinstance(value, cst.IfExp):
        return _torch_calls(source, value.body) + _torch_calls(source, value.orelse)
    if isinstance(value, cst.Call) and "Dropout" in torch_layer(source.full_name(value.func)):
        return [value]
    return []


def _target(line: cst.SimpleStatementLine, name: str) -> str:
    """Return the "self.fc2" that a line assigns to."""
    for small in line.body:
        target = None
        if isinstance(small, cst.Assign):
            target = small.targets[0].target
        elif isinstance(small, cst.AnnAssign):
            target = small.target
        parts = target.elements if isinstance(target, cst.Tuple) else ()
        for part in (target, *(element.value for element in parts)):
            if isinstance(part, cst.Attribute) and part.attr.value == name:
                assert isinstance(part.value, cst.Name)
                return f"{part.value.value}.{name}"
    raise PlacementError(f"no assignment to '{name}' in this line")
