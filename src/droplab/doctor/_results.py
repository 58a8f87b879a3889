"""Where the result of a model's pass goes: may a call of backward() learn from it?"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from droplab.doctor._module import Module

_CUTS = frozenset(
    {"item", "detach", "numpy", "tolist", "argmax", "argsort", "topk", "eq"}
    | {"accuracy", "accuracy_score", "no_grad", "float", "int", "len", "print", "str", "isinstance"}
)
"""What gives a figure or an index out of a tensor: no gradient comes back through it."""
_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class _Flow:
    """One statement: the names that it reads, those that get the result, and whether it leaves."""

    reads: frozenset[str]
    targets: frozenset[str]
    leaves: bool


def leads(module: Module, run: ast.Call, backward: ast.Call) -> bool:
    """Return whether the result of a run may be what backward() is called on.

    It is followed by names within its function, whatever the order of the statements; what is
    returned, kept on an object or given to another function may be learnt from anywhere.
    """
    names, left = _reached(module, run)
    if module.function(run) is module.function(backward):
        return run in set(ast.walk(backward)) or bool(names & _names(backward))
    if left:
        return True
    around = module.function(backward)
    if module.function(run) is not None or around is None:
        return False
    return bool(names & {item.id for item in ast.walk(around) if isinstance(item, ast.Name)})


def _reached(module: Module, run: ast.Call) -> tuple[frozenset[str], bool]:
    """Return the names that hold what a run gave, and whether it leaves the function."""
    known = module.cache.setdefault("reached", {})
    if run not in known:
        known[run] = _follow(module, run)
    return known[run]


def _follow(module: Module, run: ast.Call) -> tuple[frozenset[str], bool]:
    at: ast.AST = run
    for above in module.ancestors(run):
        if isinstance(above, ast.Call) and at is not above.func and _cuts(above):
            return frozenset(), False
        if isinstance(above, ast.Attribute) and above.attr in _CUTS:
            return frozenset(), False
        if isinstance(above, ast.Compare):
            return frozenset(), False
        if isinstance(above, ast.stmt):
            at = above
            break
        at = above
    first = _flow(at) if isinstance(at, ast.stmt) else None
    if first is None:
        return frozenset(), True
    names, left = set(first.targets), first.leaves
    flows = _flows(module, module.function(run) or module.tree)
    while True:
        hit = [flow for flow in flows if flow.reads & names]
        left = left or any(flow.leaves for flow in hit)
        more = {name for flow in hit for name in flow.targets} - names
        if not more:
            return frozenset(names), left
        names |= more


def _flows(module: Module, scope: ast.AST) -> list[_Flow]:
    known = module.cache.setdefault("flows", {})
    if scope not in known:
        # What a function of the file reads of its globals is asked for where backward() stands.
        skipped = _NESTED if isinstance(scope, ast.Module) else ()
        found = (_flow(item) for item in _statements(scope) if not isinstance(item, skipped))
        known[scope] = [flow for flow in found if flow is not None]
    return known[scope]


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    todo: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, (*_NESTED, ast.expr)):
            todo.extend(ast.iter_child_nodes(node))


def _flow(node: ast.stmt) -> _Flow | None:
    """Return what a statement does with names; None if it does nothing with them."""
    if isinstance(node, ast.Assign):
        return _assignment(node.value, node.targets)
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return _assignment(node.value, [node.target]) if node.value is not None else None
    if isinstance(node, ast.For | ast.AsyncFor):
        return _assignment(node.iter, [node.target])
    if isinstance(node, ast.With | ast.AsyncWith):
        reads = [_names(item.context_expr) for item in node.items]
        targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
        return _Flow(frozenset().union(*reads), _roots(targets), False)
    if isinstance(node, ast.Return):
        return _Flow(_names(node.value), frozenset(), True) if node.value is not None else None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        # A function in it reads what is around it, and may be called anywhere.
        names = frozenset(item.id for item in ast.walk(node) if isinstance(item, ast.Name))
        return _Flow(names, frozenset(), True)
    if not isinstance(node, ast.Expr):
        return None
    value = node.value
    if isinstance(value, ast.Call):
        return _call(value)
    leaves = isinstance(value, ast.Yield | ast.YieldFrom | ast.Await)
    return _Flow(_names(value), frozenset(), True) if leaves else None


def _call(call: ast.Call) -> _Flow | None:
    if _cuts(call) or getattr(call.func, "attr", "") == "backward":
        return None
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    reads = frozenset[str]().union(*map(_names, given))
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    # losses.append(loss) keeps it under a name; what another function does with it is unknown.
    kept = isinstance(owner, ast.Name) and getattr(call.func, "attr", "") in ("append", "extend")
    return _Flow(reads, _roots([owner] if owner is not None else []), not kept)


def _assignment(value: ast.expr, targets: list[ast.expr]) -> _Flow:
    kept = any(not isinstance(item, ast.Name | ast.Tuple | ast.List) for item in targets)
    return _Flow(_names(value), _roots(targets), kept)


def _roots(nodes: Iterable[ast.expr]) -> frozenset[str]:
    """Return the first names of targets: `losses` of `losses["a"]`, `self` of `self.loss`."""
    found: set[str] = set()
    for node in nodes:
        at: ast.expr = node
        while isinstance(at, ast.Attribute | ast.Subscript | ast.Starred | ast.Call):
            at = at.func if isinstance(at, ast.Call) else at.value
        if isinstance(at, ast.Name):
            found.add(at.id)
        elif isinstance(at, ast.Tuple | ast.List):
            found |= _roots(at.elts)
    return frozenset(found)


def _names(node: ast.expr) -> frozenset[str]:
    """Return the names whose gradients an expression keeps."""
    found: set[str] = set()
    todo: list[ast.AST] = [node]
    while todo:
        at = todo.pop()
        if isinstance(at, ast.Compare) or (isinstance(at, ast.Call) and _cuts(at)):
            continue
        if isinstance(at, ast.Attribute) and at.attr in ("data", "shape"):
            continue
        if isinstance(at, ast.Name):
            found.add(at.id)
        todo.extend(ast.iter_child_nodes(at))
    return frozenset(found)


def _cuts(call: ast.Call) -> bool:
    return getattr(call.func, "attr", getattr(call.func, "id", "")) in _CUTS
