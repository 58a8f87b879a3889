"""Which layers does a call surely build, at a rate that is surely not 0?

`_depends` says what a model may have; this is for evidence: a class is read through the arguments
of the very call, what stands under a condition does not count, and neither does a rate that comes
from out of sight.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from droplab.doctor import _names
from droplab.doctor._classes import ClassInfo, Function
from droplab.doctor._depends import BATCHNORM, DROPOUT, NOTHING, Layers, class_elsewhere, named
from droplab.doctor._elsewhere import lineage
from droplab.doctor._module import Module

_DROPS: Layers = frozenset({DROPOUT})
_NORMS: Layers = frozenset({BATCHNORM})
_CONDITIONS = (ast.If, ast.IfExp, ast.Try, ast.While, ast.BoolOp, ast.Match, ast.Lambda)
_LIBRARIES = ("torchvision.models.", "transformers.", "pytorch_transformers.")
_DEPTH = 6


@dataclass(frozen=True)
class _Scope:
    """Where an expression stands: a file, and what the arguments of the function around it are.

    given: By name, the expression that was passed and the scope that it stands in; None if unknown.
    owner: The class whose `self` it is.
    """

    module: Module
    given: Mapping[str, tuple[ast.expr, _Scope] | None] = field(
        default_factory=dict[str, "tuple[ast.expr, _Scope] | None"]
    )
    owner: ClassInfo | None = None


def certain(module: Module, call: ast.Call) -> Layers:
    """Return which layers that do something else in eval mode a call surely builds.

    Args:
        module: The file.
        call: What makes the model, such as `Net(dropout=0.5)`.
    """
    return _of_call(_Scope(module), call, frozenset())


def _of_call(scope: _Scope, call: ast.Call, seen: frozenset[ast.AST]) -> Layers:
    module, function = scope.module, call.func
    found = _of_reference(scope, function, call, seen)
    if found is not None:
        return found
    name = module.resolve(function)
    found = _of_torch(scope, name, call)
    if name.startswith(_LIBRARIES):
        found |= named(name, call)
    if name == "torch.nn.Sequential" or not name:
        for item in call.args:
            if isinstance(item, ast.Name | ast.Attribute):
                # ResNet(BasicBlock, [2, 2]): the class is passed on.
                found |= _of_reference(scope, item, None, seen) or NOTHING
            else:
                for inner in _calls(item):
                    found |= _of_call(scope, inner, seen)
    return found


def _of_reference(
    scope: _Scope, node: ast.expr, call: ast.Call | None, seen: frozenset[ast.AST]
) -> Layers | None:
    """Return what an object of a class has, by a name of the class; None for other names."""
    module = scope.module
    own = module.class_at(node.id, node) if isinstance(node, ast.Name) else None
    if own is not None:
        return _of_class(module, own, call, scope, seen) if own.is_module else NOTHING
    other = class_elsewhere(module, module.resolve(node))
    if other is not None and other[1].is_module:
        return _of_class(*other, call, scope, seen)
    return None


def _of_torch(scope: _Scope, name: str, call: ast.Call) -> Layers:
    if name in _names.MODULES:
        rate = _names.argument(call, "p", 0)
        return _DROPS if rate is None or _positive(scope, rate) else NOTHING
    if name in _names.FUNCTIONS:
        how = _names.FUNCTIONS[name]
        rate, flag = how.rate_of(call), how.flag_of(call)
        gated = isinstance(flag, ast.Attribute) and flag.attr == "training"
        return _DROPS if gated and (rate is None or _positive(scope, rate)) else NOTHING
    if name in _names.BATCHNORM:
        tracks = _names.argument(call, "track_running_stats", 4)
        return _NORMS if tracks is None else NOTHING
    if name in _names.RECURRENT:
        rate, layers = (
            _names.argument(call, "dropout", 1000),
            _names.argument(call, "num_layers", 2),
        )
        deep = layers is not None and (_value(scope, layers) or 0) > 1
        return _DROPS if rate is not None and deep and _positive(scope, rate) else NOTHING
    if name.startswith("torch.nn.Transformer") and not name.endswith(("Encoder", "Decoder")):
        rate = _names.argument(call, "dropout", 1000)
        return _DROPS if rate is None or _positive(scope, rate) else NOTHING
    return NOTHING


def _of_class(
    module: Module, info: ClassInfo, call: ast.Call | None, caller: _Scope, seen: frozenset[ast.AST]
) -> Layers:
    above = lineage(module, info)
    family = [(module, item) for item in info.family] + above.found
    if info.node in seen or len(seen) > _DEPTH or not above.complete:
        return NOTHING
    if any(_sets_modes(item) for _, item in family):
        return NOTHING
    found, seen, passed = NOTHING, seen | {info.node}, call
    if call is not None:
        for item in call.args:
            if isinstance(item, ast.Name | ast.Attribute):
                found |= _of_reference(caller, item, None, seen) or NOTHING
    for file, item in family:
        start = item.methods.get("__init__")
        given = _bound(file, start, passed, caller) if start is not None else {}
        if start is not None:
            # What a class hands on to the class above it is not followed.
            passed = None
        scope = _Scope(file, given, item)
        for method in _building(item):
            for inner in _calls(method):
                if _is_used(file, [each for _, each in family], inner):
                    found |= _of_call(scope, inner, seen)
    return found


def _is_used(module: Module, family: list[ClassInfo], call: ast.Call) -> bool:
    """Whether a class reads the attribute that it keeps what a call builds in, if it does so."""
    at: ast.AST | None = call
    while at is not None and not isinstance(at, ast.stmt):
        at = module.parents.get(at)
    if not isinstance(at, ast.Assign | ast.AnnAssign):
        return True
    targets = at.targets if isinstance(at, ast.Assign) else [at.target]
    for target in targets:
        if isinstance(target, ast.Tuple) and isinstance(at.value, ast.Tuple):
            # self.fc, self.drop = nn.Linear(8, 8), nn.Dropout(0.5)
            pairs = zip(target.elts, at.value.elts, strict=False)
            places = [name for name, value in pairs if call in ast.walk(value)]
        else:
            places = [target]
        inside = [item for place in places for item in ast.walk(place)]
        kept = {item.attr for item in inside if isinstance(item, ast.Attribute)}
        if kept and not any(kept & item.reads for item in family):
            return False
    return True


def _sets_modes(info: ClassInfo) -> bool:
    """Whether a class decides about modes itself, or is one that a framework runs."""
    if {"train", "eval"} & info.methods.keys():
        return True
    if any(base and not base.startswith("torch.nn.") for base in info.bases if "ightning" in base):
        return True
    return any(
        isinstance(node, ast.Attribute)
        and (
            node.attr in ("eval", "train")
            or (node.attr == "training" and isinstance(node.ctx, ast.Store))
        )
        for node in ast.walk(info.node)
    )


def _building(info: ClassInfo) -> list[Function]:
    """Return __init__, the methods of the class that it calls without a condition, and forward."""
    found = [info.methods[name] for name in ("__init__", "forward") if name in info.methods]
    for method in found:
        for call in _calls(method):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            of_self = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
            inner = info.methods.get(name) if of_self else None
            if inner is not None and inner not in found:
                found.append(inner)
    return found


def _bound(
    module: Module, function: Function, call: ast.Call | None, caller: _Scope
) -> dict[str, tuple[ast.expr, _Scope] | None]:
    """Return what the arguments of __init__ stand for; None where nothing tells."""
    spec = [*function.args.posonlyargs, *function.args.args][1:]
    given: dict[str, tuple[ast.expr, _Scope] | None] = {}
    every = [*spec, *function.args.kwonlyargs]
    if call is None or _names.has_unpacking(call):
        return {item.arg: None for item in every}
    defaults: dict[str, ast.expr | None] = {}
    for item, value in zip(reversed(spec), reversed(function.args.defaults), strict=False):
        defaults[item.arg] = value
    for item, value in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        defaults[item.arg] = value
    for item in every:
        at = spec.index(item) if item in spec else 1000
        value, default = _names.argument(call, item.arg, at), defaults.get(item.arg)
        if value is not None:
            given[item.arg] = (value, caller)
        else:
            given[item.arg] = (default, _Scope(module)) if default is not None else None
    return given


def _positive(scope: _Scope, rate: ast.expr) -> bool:
    return bool(_value(scope, rate))


def _value(scope: _Scope, node: ast.expr, left: int = 8) -> float | None:
    """Return the number that an expression surely is; None if it is not known."""
    number = _names.number(node)
    if number is not None or not left:
        return number
    module = scope.module
    if isinstance(node, ast.Name):
        if node.id in scope.given:
            known = scope.given[node.id]
            return _value(known[1], known[0], left - 1) if known is not None else None
        places = module.assigned.get(node.id, [])
        return _value(scope, places[0].value, left - 1) if len(places) == 1 else None
    if not isinstance(node, ast.Attribute):
        return None
    if isinstance(node.value, ast.Name) and scope.owner is not None and node.value.id == "self":
        values = scope.owner.own_attributes.get(node.attr, [])
        return _value(scope, values[0][0], left - 1) if len(values) == 1 else None
    return _option(module, node.attr)


def _option(module: Module, name: str) -> float | None:
    """Return the default of an option of the command line that the file defines."""
    for call in module.calls:
        if getattr(call.func, "attr", "") != "add_argument":
            continue
        flags = [item.value for item in call.args if isinstance(item, ast.Constant)]
        if any(str(flag).lstrip("-").replace("-", "_") == name for flag in flags):
            default = next((item.value for item in call.keywords if item.arg == "default"), None)
            return _names.number(default) if default is not None else None
    return None


def _calls(region: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that a piece of code makes under no condition."""
    todo: list[ast.AST] = [region]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call):
            yield node
        if node is not region and isinstance(node, _CONDITIONS):
            continue
        if isinstance(node, ast.comprehension) and node.ifs:
            continue
        todo.extend(ast.iter_child_nodes(node))
