"""DRP001: functional dropout that is not told the module's training flag."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _gate, _names
from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module
from droplab.doctor.checks.flag_as_rate import is_flag

CODE = Code("DRP001", "untied-functional", "functional dropout ignores eval()", "error")


def reading(module: Module) -> Iterator[Finding]:
    """Find calls of a dropout function whose training flag is missing."""
    for call, flag in untied(module):
        if flag is not None:
            continue
        name = module.resolve(call.func)
        functional, short = _names.FUNCTIONS[name], name.rpartition(".")[2]
        if functional.default:
            message = f"{short}() has training=True by default, so it drops in eval mode too"
        else:
            message = f"{short}() has training=False by default, so it never drops"
        owner = module.method(call)
        me = (self_name(owner[1]) or "self") if owner else "self"
        yield module.finding(
            CODE,
            call,
            message,
            f"pass {functional.flag}={me}.training",
            edits=_fix(module, call, owner, functional.flag),
            unsafe=not functional.default,
        )


def untied(module: Module) -> Iterator[tuple[ast.Call, ast.expr | None]]:
    """Yield calls of dropout functions in models whose flag is missing (None) or a literal True."""
    for call in module.calls:
        functional = _names.FUNCTIONS.get(module.resolve(call.func))
        if functional is None or _names.has_unpacking(call):
            continue
        flag = functional.flag_of(call)
        if flag is None and functional.default is None:
            continue
        if flag is not None and not (isinstance(flag, ast.Constant) and flag.value is True):
            continue
        if _gate.gated(module, call) or _gate.deliberate(module, call):
            continue
        rate = functional.rate_of(call)
        function = module.function(call)
        if _names.number(rate) == 0.0 or (rate is not None and is_flag(rate)):
            # A flag in the place of the rate is another mistake: DRP013.
            continue
        if rate is not None and _gate.mentions_training(rate):
            # dropout(x, self.p if self.training else 0.0)
            continue
        if isinstance(rate, ast.Name) and function and rate.id in _gate.parameters(function):
            # Whoever calls the function can pass 0 in eval mode.
            continue
        if isinstance(rate, ast.Name) and function and _set_by_mode(module, rate, function):
            continue
        if _belongs(module, module.method(call), call):
            yield call, flag


def _set_by_mode(module: Module, rate: ast.Name, function: Function) -> bool:
    """Whether a training flag decides which rate a local name holds: 0 in eval mode."""
    return any(
        module.function(item) is function
        and (_gate.gated(module, item) or _gate.mentions_training(item.value))
        for item in module.assigned.get(rate.id, ())
    )


def _belongs(module: Module, owner: tuple[ClassInfo, Function] | None, call: ast.Call) -> bool:
    """Whether the call is part of a model: in a module's method, or in a function it calls."""
    if owner is not None:
        return owner[0].is_module
    # A script or a benchmark may drop on purpose; a function that a model calls must be told when.
    function = module.function(call)
    return function is not None and any(
        isinstance(item.func, ast.Name)
        and item.func.id == function.name
        and _in_model(module, item)
        for item in module.calls
    )


def _in_model(module: Module, call: ast.Call) -> bool:
    owner = module.method(call)
    return owner is not None and owner[0].is_module


def _fix(
    module: Module,
    call: ast.Call,
    owner: tuple[ClassInfo, Function] | None,
    name: str,
) -> tuple[Edit, ...]:
    if owner is None or self_name(owner[1]) is None or module.function(call) is not owner[1]:
        return ()
    me = self_name(owner[1])
    parts = [*call.args, *(keyword.value for keyword in call.keywords)]
    if not parts:
        return ()
    end = max(module.span(part)[1] for part in parts)
    closing = module.span(call)[1]
    # A generator in bare parentheses, or a closing parenthesis around the last argument.
    end = _past_parentheses(module.source.text, end, closing)
    return (Edit(end, end, f", {name}={me}.training"),)


def _past_parentheses(text: str, end: int, closing: int) -> int:
    """Move past parentheses that wrap the last argument; comments in between end the search."""
    at = end
    while at < closing - 1 and text[at] in " \t\r\n)":
        at += 1
        if text[at - 1] == ")":
            end = at
    return end
