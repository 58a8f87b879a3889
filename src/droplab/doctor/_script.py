"""Training code read as a list of events: train(), eval(), backward(), a call of the model.

Functions and methods of the same file are followed where they are called, with the names of their
arguments replaced by what was passed, so that `evaluate(net)` shows up as `net.eval()`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from droplab.doctor._classes import Function, self_name
from droplab.doctor._events import calls_of, text_of
from droplab.doctor._module import Module

Kind = Literal["train", "eval", "mode", "backward", "step", "call", "foreign"]
_DEPTH = 4
_NO_GRAD = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})


@dataclass(frozen=True)
class Event:
    """Something that happens to a model.

    kind: "train" and "eval" set the mode, "mode" sets one we do not know; "call" runs the model;
    "foreign" passes it to a function of another file.
    target: the text of the model's expression, as the region that was asked about names it.
    """

    kind: Kind
    target: str
    node: ast.Call
    no_grad: bool
    via: ast.Call
    """The call in the region itself through which the event happens."""


class Script:
    """The training code of a file."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.by_name: dict[str, Function] = {}
        for function in module.functions:
            self.by_name.setdefault(function.name, function)
        self._memo: dict[ast.AST, list[Event]] = {}
        self.models = self._models()

    @classmethod
    def of(cls, module: Module) -> Script:
        """Return the script of a file; computed once."""
        if "script" not in module.cache:
            module.cache["script"] = cls(module)
        return module.cache["script"]

    def _models(self) -> set[str]:
        """Texts of expressions that are surely models, by what is done to them."""
        found: set[str] = set()
        for call in self.module.calls:
            function = call.func
            if not isinstance(function, ast.Attribute):
                continue
            if (
                function.attr in ("parameters", "state_dict", "load_state_dict", "named_parameters")
                or self._mode(call) is not None
            ):
                found.add(text_of(function.value))
        return {text for text in found if text and text != "self"}

    def _mode(self, call: ast.Call) -> tuple[Kind, ast.expr] | None:
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr not in ("train", "eval"):
            return None
        if not isinstance(function.value, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            return None
        if self.module.resolve(function.value):
            return None
        if isinstance(function.value, ast.Call):
            return None
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if function.attr == "eval":
            return ("eval", function.value) if not given else None
        if not given:
            return "train", function.value
        if len(given) == 1:
            if isinstance(given[0], ast.Constant) and isinstance(given[0].value, bool):
                return ("train" if given[0].value else "eval"), function.value
            if isinstance(given[0], ast.Name | ast.Attribute) and "training" in text_of(given[0]):
                return "mode", function.value
        return None

    def events(self, region: ast.AST) -> list[Event]:
        """Return the events of a region in source order, with called functions followed."""
        return list(self._walk(region, _DEPTH, frozenset()))

    def _walk(self, region: ast.AST, depth: int, seen: frozenset[ast.AST]) -> Iterator[Event]:
        for call in calls_of(region):
            yield from self._direct(call)
            inner = self.callee(call)
            if inner is None or depth == 0 or inner in seen:
                continue
            bindings = _bindings(call, inner, self.module)
            quiet = self.in_no_grad(call)
            for event in self._of_function(inner, depth - 1, seen | {inner}):
                yield replace(
                    event,
                    target=_rename(event.target, bindings),
                    no_grad=event.no_grad or quiet,
                    via=call,
                )

    def _of_function(self, function: Function, depth: int, seen: frozenset[ast.AST]) -> list[Event]:
        if function not in self._memo:
            self._memo[function] = list(self._walk(function, depth, seen))
        return self._memo[function]

    def _direct(self, call: ast.Call) -> Iterator[Event]:
        function = call.func
        mode = self._mode(call)
        quiet = self.in_no_grad(call)
        if mode is not None:
            yield Event(mode[0], text_of(mode[1]), call, quiet, call)
            return
        if isinstance(function, ast.Attribute):
            if function.attr == "backward":
                yield Event("backward", "", call, quiet, call)
                return
            if function.attr == "step" and "opt" in text_of(function.value).lower():
                yield Event("step", "", call, quiet, call)
                return
        text = text_of(function)
        if text in self.models:
            yield Event("call", text, call, quiet, call)
            return
        if self.callee(call) is None and not self.module.resolve(function).startswith("torch."):
            for given in [*call.args, *(keyword.value for keyword in call.keywords)]:
                target = text_of(given)
                if target and target != "self":
                    yield Event("foreign", target, call, quiet, call)

    def callee(self, call: ast.Call) -> Function | None:
        """Return the function of this file that a call runs, if it is one."""
        function = call.func
        if isinstance(function, ast.Name):
            found = self.by_name.get(function.id)
            if found is not None and self.module.method(found) is None:
                return found
            return None
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            owner = self.module.method(call)
            if owner is not None and function.value.id == self_name(owner[1]):
                return owner[0].find_method(function.attr)
        return None

    def in_no_grad(self, node: ast.AST) -> bool:
        """Return whether a node runs without gradients, as far as its own function tells."""
        for above in self.module.ancestors(node):
            if isinstance(above, ast.With | ast.AsyncWith):
                if any(self.is_no_grad(item.context_expr) for item in above.items):
                    return True
            elif isinstance(above, ast.FunctionDef | ast.AsyncFunctionDef):
                return any(self.is_no_grad(item) for item in above.decorator_list)
        return False

    def is_no_grad(self, node: ast.expr) -> bool:
        """Return whether an expression is torch.no_grad(), inference_mode() or their like."""
        if isinstance(node, ast.Call):
            name = self.module.resolve(node.func)
            if name == "torch.set_grad_enabled":
                first = node.args[0] if node.args else None
                return isinstance(first, ast.Constant) and first.value is False
            return name in _NO_GRAD
        return self.module.resolve(node) in _NO_GRAD


def _bindings(call: ast.Call, function: Function, module: Module) -> dict[str, str]:
    arguments = [*function.args.posonlyargs, *function.args.args]
    if module.method(function) is not None and arguments:
        arguments = arguments[1:]
    bound: dict[str, str] = {}
    for argument, given in zip(arguments, call.args, strict=False):
        if isinstance(given, ast.Starred):
            break
        bound[argument.arg] = text_of(given)
    for keyword in call.keywords:
        if keyword.arg is not None:
            bound[keyword.arg] = text_of(keyword.value)
    return bound


def _rename(target: str, bindings: dict[str, str]) -> str:
    head, dot, tail = target.partition(".")
    if head in bindings:
        return bindings[head] + dot + tail if bindings[head] else ""
    return target
