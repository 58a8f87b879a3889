"""DRP024: dropout in a plain list, tuple or dict of a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _gate, _names
from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import layer, sequential_items
from droplab.doctor._module import Module

CODE = Code("DRP024", "unregistered", "eval() never reaches dropout in a plain list", "error")

_LISTS = frozenset({"list", "tuple", "set", "dict", "OrderedDict", "deque"})
_LOOKS = _LISTS | {
    "len",
    "enumerate",
    "zip",
    "reversed",
    "iter",
    "next",
    "range",
    "sorted",
    "print",
}
_REGISTERS = frozenset({"add_module", "register_module", "setattr", "__setattr__"})
_OWN_MODES = frozenset({"train", "eval", "modules", "children", "named_children", "_apply"})


def reading(module: Module) -> Iterator[Finding]:
    """Find `self.drops = [nn.Dropout(p), ...]` that nothing registers."""
    for info in module.classes:
        if not info.is_module or any(item.methods.keys() & _OWN_MODES for item in info.family):
            continue
        for name, values in info.own_attributes.items():
            parts = [_contained(module, value, method) for value, method in values]
            if any(part is None for part in parts):
                continue
            made = [item for part in parts for item in part or ()]
            made += _appended(module, info, name)
            if not made or _handed_on(module, info, name) or _gate.deliberate(module, made[0]):
                continue
            if _registers(info):  # asked last: it goes through the whole class
                continue
            kind = "dict" if any(_is_dict(value) for value, _ in values) else "list"
            yield module.finding(
                CODE,
                made[0],
                f"self.{name} is a plain {kind}, so its dropout is no part of {info.name}: eval() "
                "never reaches it",
                f"use nn.Module{kind.title()}",
            )


def _is_dict(node: ast.expr) -> bool:
    called = isinstance(node, ast.Call) and text_of(node.func).rpartition(".")[2]
    return isinstance(node, ast.Dict | ast.DictComp) or called in ("dict", "OrderedDict")


def _contained(module: Module, value: ast.expr, method: Function | None) -> list[ast.expr] | None:
    """Return the dropouts in a plain container; None if it is something else.

    A name is a local list of the method; without one, names are not followed.
    """
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        items = list(value.elts)
    elif isinstance(value, ast.Dict):
        items = list(value.values)
    elif isinstance(value, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        items = [value.elt]
    elif isinstance(value, ast.DictComp):
        items = [value.value]
    elif isinstance(value, ast.Call) and text_of(value.func).rpartition(".")[2] in _LISTS:
        items = [*value.args, *(item.value for item in value.keywords)]
        inner = [_contained(module, item, method) for item in items]
        return [made for part in inner if part is not None for made in part] + [
            item for item in items if _drops(module, item)
        ]
    elif isinstance(value, ast.BinOp) and isinstance(value.op, ast.Mult):
        parts = [_contained(module, part, method) for part in (value.left, value.right)]
        return next((part for part in parts if part is not None), None)
    elif isinstance(value, ast.Name) and method is not None:
        return _local(module, value.id, method)
    else:
        return None
    found = [item for item in items if _drops(module, item)]
    for item in items:
        found += _contained(module, item, method) or [] if not isinstance(item, ast.Name) else []
    return found


def _local(module: Module, name: str, method: Function) -> list[ast.expr] | None:
    """Return the dropouts in a local list that a method fills; None if it may be anything else."""
    values = [item for item in module.assigned.get(name, ()) if module.function(item) is method]
    found: list[ast.expr] = []
    for item in values:
        part = _contained(module, item.value, None)
        if part is None:
            return None
        found += part
    for node in ast.walk(method):
        if not isinstance(node, ast.Name) or node.id != name or isinstance(node.ctx, ast.Store):
            continue
        above = module.parents.get(node)
        if isinstance(above, ast.Attribute):
            call = module.parents.get(above)
            if above.attr == "append" and isinstance(call, ast.Call):
                found += [given for given in call.args if _drops(module, given)]
        elif _goes_on(module, node, method):
            return None
    return found if values else None


def _drops(module: Module, node: ast.expr) -> bool:
    """Whether an expression builds a dropout, or a chain with one."""
    kind, make = layer(module, node)
    if kind == "torch.nn.Sequential" and make is not None:
        return any(_drops(module, item) for item in sequential_items(make))
    return (
        kind in _names.MODULES
        and make is not None
        and _names.number(_names.argument(make, "p", 0)) != 0.0
    )


def _registers(info: ClassInfo) -> bool:
    names = {
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for item in info.family
        for node in ast.walk(item.node)
        if isinstance(node, ast.Call)
    }
    return bool(names & _REGISTERS)


def _appended(module: Module, info: ClassInfo, name: str) -> list[ast.expr]:
    """Return the dropouts that `self.x.append(...)` and `self.x[key] = ...` add."""
    found: list[ast.expr] = []
    for at, method in _uses(info, name):
        above = module.parents.get(at)
        outer = module.parents.get(above) if above is not None else None
        if isinstance(above, ast.Attribute) and above.attr in ("append", "insert", "extend"):
            if isinstance(outer, ast.Call):
                for given in outer.args:
                    found += [given] if _drops(module, given) else []
                    found += _contained(module, given, method) or []
        elif isinstance(above, ast.Subscript) and isinstance(outer, ast.Assign):
            found += [outer.value] if above in outer.targets and _drops(module, outer.value) else []
    return found


def _uses(info: ClassInfo, name: str) -> Iterator[tuple[ast.Attribute, Function]]:
    for item in info.family:
        for method in item.methods.values():
            me = self_name(method)
            for node in ast.walk(method):
                mine = isinstance(node, ast.Attribute) and text_of(node) == f"{me}.{name}"
                if mine and isinstance(node, ast.Attribute):
                    yield node, method


def _handed_on(module: Module, info: ClassInfo, name: str) -> bool:
    """Whether a container is given to something that may register it, or is never read."""
    reads = [(n, m) for n, m in _uses(info, name) if isinstance(n.ctx, ast.Load)]
    used = False
    for node, method in reads:
        above = module.parents.get(node)
        if isinstance(above, ast.Attribute) and above.attr in ("append", "insert", "extend"):
            continue
        if isinstance(above, ast.Subscript) and isinstance(above.ctx, ast.Store):
            continue
        used = True
        if _goes_on(module, node, method):
            return True
    return not used


def _goes_on(module: Module, node: ast.expr, method: Function) -> bool:
    """Whether a container is passed to a call that keeps it, or assigned to another attribute."""
    inner: ast.AST = node
    for above in module.ancestors(node):
        if isinstance(above, ast.Call) and inner is not above.func:
            if getattr(above.func, "id", "") not in _LOOKS:
                return True
        elif isinstance(above, ast.Assign):
            kept = any(isinstance(target, ast.Attribute) for target in above.targets)
            return kept and above.value is not node
        elif isinstance(above, ast.stmt) or above is method:
            return isinstance(above, ast.Return)
        inner = above
    return False
