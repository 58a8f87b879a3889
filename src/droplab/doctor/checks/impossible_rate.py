"""DRP011: a literal rate outside [0, 1], often a percentage."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module

CODE = Code("DRP011", "impossible-rate", "p is outside [0, 1], or a percentage", "error")

_OTHERS = {
    **dict.fromkeys(_names.RECURRENT, ("dropout", 4)),
    "torch.nn.MultiheadAttention": ("dropout", 2),
    "torch.nn.Transformer": ("dropout", 5),
    "torch.nn.TransformerEncoderLayer": ("dropout", 3),
    "torch.nn.TransformerDecoderLayer": ("dropout", 3),
    "torch.nn.functional.scaled_dot_product_attention": ("dropout_p", 4),
}


def rates(module: Module) -> Iterator[tuple[ast.Call, str, ast.expr]]:
    """Yield (call, full name, expression of the rate) for every call that takes a rate."""
    for call in module.calls:
        name = module.resolve(call.func)
        if not name:
            continue
        if name in _names.MODULES:
            rate = _names.argument(call, "p", 0)
        elif name in _names.FUNCTIONS:
            rate = _names.FUNCTIONS[name].rate_of(call)
        elif name in _OTHERS:
            rate = _names.argument(call, *_OTHERS[name])
        else:
            continue
        if rate is not None:
            yield call, name, rate


def reading(module: Module) -> Iterator[Finding]:
    """Find literal rates below 0 or above 1."""
    for call, name, rate in rates(module):
        value = _names.number(rate)
        if value is None or 0.0 <= value <= 1.0 or expects_error(module, call):
            continue
        if 1.0 < value <= 100.0:
            advice = f"p is a probability: {value:g} % is {value / 100:g}"
        else:
            advice = "p is the probability of dropping, from 0 to 1"
        yield module.finding(
            CODE, rate, f"{name.rpartition('.')[2]} got the rate {value:g}, outside [0, 1]", advice
        )


def expects_error(module: Module, call: ast.Call) -> bool:
    """Return whether a call stands where an exception is expected, as in a test."""
    for above in module.ancestors(call):
        if isinstance(above, ast.With | ast.AsyncWith):
            text = " ".join(ast.unparse(item.context_expr) for item in above.items)
            if "raises" in text.lower():
                return True
        if isinstance(above, ast.Call) and above is not call:
            name = above.func.attr if isinstance(above.func, ast.Attribute) else ""
            if "raises" in name.lower():
                return True
        if isinstance(above, ast.Try) and above.handlers:
            return True
    return False
