"""DRP016: a keep probability given as the rate of dropping."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor.checks.impossible_rate import rates

CODE = Code("DRP016", "keep-as-rate", "a keep probability is given as p", "error")

_KEEP = re.compile(
    r"(?:^|_)(?:keep|retain|survival|surviving)_?(?:prob\w*|p|rate|ratio)$|"
    r"(?:^|_)(?:p|prob|probability|rate)_(?:keep|retain|survive)$|(?:^|_)pkeep$|^keepprob$",
    re.IGNORECASE,
)
_HALF = 0.5


def reading(module: Module) -> Iterator[Finding]:
    """Find rates that are named as keep probabilities, unless a number says that they are none."""
    for _, name, rate in rates(module):
        said = _name(rate)
        if not _KEEP.search(said) or _turned(module, said) or _small(module, said):
            continue
        yield module.finding(
            CODE,
            rate,
            f"{said} is the probability of keeping by its name, and {name.rpartition('.')[2]} "
            "takes the one of dropping: with 0.9, nine tenths are dropped",
            f"give 1 - {module.segment(rate)}; or call it what it is, if it is a drop rate",
        )


def _name(node: ast.expr) -> str:
    """Return the last name of a plain expression: `a.keep_prob`, `a["keep_prob"]`; or ""."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return str(node.slice.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _turned(module: Module, said: str) -> bool:
    """Whether the name is given something computed, such as 1 - keep_prob, anywhere."""
    return any(
        not isinstance(value, ast.Constant | ast.Name | ast.Attribute | ast.Subscript)
        for name, value in _given(module)
        if name == said
    )


def _small(module: Module, said: str) -> bool:
    """Whether a number that the name is given somewhere in the file looks like a drop rate."""
    numbers = [_names.number(value) for name, value in _given(module) if name == said]
    return any(value is not None and value <= _HALF for value in numbers)


def _given(module: Module) -> list[tuple[str, ast.expr]]:
    """Return (name, value) for assignments, defaults, keywords and options of a file."""
    if "given" not in module.cache:
        module.cache["given"] = list(_values(module))
    return module.cache["given"]


def _values(module: Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign):
            yield from ((_name(target), node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield _name(node.target), node.value
        elif isinstance(node, ast.AugAssign):
            yield _name(node.target), ast.BinOp(node.target, node.op, node.value)
        elif isinstance(node, ast.arguments):
            spec = [*node.posonlyargs, *node.args]
            last = spec[len(spec) - len(node.defaults) :]
            yield from zip((item.arg for item in last), node.defaults, strict=True)
            for item, value in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                if value is not None:
                    yield item.arg, value
        elif isinstance(node, ast.Call):
            named = {item.arg: item.value for item in node.keywords if item.arg}
            yield from named.items()
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and "default" in named:
                yield str(first.value).lstrip("-").replace("-", "_"), named["default"]
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield str(key.value), value
