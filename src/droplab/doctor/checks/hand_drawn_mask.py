"""DRP025: a mask drawn by hand, without the scale, or in half precision."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._classes import Function
from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._gate import mentions_training
from droplab.doctor._module import Module

CODE = Code("DRP025", "hand-drawn-mask", "a hand-drawn mask is unscaled or in half", "error")

_DROPS = re.compile(r"drop_?(?:out|path|connect|block)|stochastic_?depth", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"edge|node|adj|graph|word|token|modal|sensor|augment|noise|input|label|zone|layer_?drop|test",
    re.IGNORECASE,
)
_RANDOM = frozenset({"torch.rand", "torch.rand_like", "torch.bernoulli"})
_RANDOM_METHODS = frozenset({"bernoulli", "bernoulli_", "uniform_"})
_MULTIPLIES = frozenset({"mul", "mul_", "multiply"})
_DIVIDES = frozenset({"div", "div_", "divide", "divide_", "true_divide", "reciprocal", "pow"})
_SCALE = re.compile(r"scale|scaling|(?:^|_)(?:p|keep\w*|retain\w*|rate|prob)$", re.IGNORECASE)
_HALF = frozenset({"torch.float16", "torch.half", "torch.bfloat16"})


def reading(module: Module) -> Iterator[Finding]:
    """Find functions named for dropout that multiply by a random mask and scale nothing."""
    for function in module.functions:
        above = module.parents.get(function)
        owner = above if isinstance(above, ast.ClassDef) else None
        named = function.name + (f" {owner.name}" if owner is not None else "")
        if not _DROPS.search(named) or _OTHERWISE.search(named):
            continue
        draws = [node for node in ast.walk(function) if _is_draw(module, node)]
        if not draws:
            continue
        half = next((draw for draw in draws if _in_half(module, draw)), None)
        if half is not None:
            yield module.finding(
                CODE,
                half,
                "the mask is drawn in half precision, whose random numbers are coarse: a rate of "
                "0.001 drops 0.003 in bfloat16",
                "draw it in float32 and convert the mask",
            )
            continue
        masks = _masks(function, draws)
        product = _product(function, masks, draws)
        whole = owner or function
        gated = mentions_training(whole)
        if product is not None and gated and not _scaled(whole, masks):
            yield module.finding(
                CODE,
                product,
                "the mask is drawn by hand and nothing divides by 1 - p: activations are smaller "
                "in training than in eval",
                "divide by 1 - p in training, or use nn.Dropout or a function of droplab",
            )


def _is_draw(module: Module, node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if module.resolve(node.func) in _RANDOM:
        return True
    return isinstance(node.func, ast.Attribute) and node.func.attr in _RANDOM_METHODS


def _in_half(module: Module, draw: ast.AST) -> bool:
    """Whether uniform numbers are drawn as float16 or bfloat16, or rounded to it and compared."""
    if not isinstance(draw, ast.Call) or "rand" not in text_of(draw.func):
        return False
    if any(k.arg == "dtype" and module.resolve(k.value) in _HALF for k in draw.keywords):
        return True
    at = module.parents.get(draw)
    call = module.parents.get(at) if at is not None else None
    if not isinstance(at, ast.Attribute) or not isinstance(call, ast.Call):
        return False
    to_half = at.attr in ("half", "bfloat16") or (
        at.attr in ("to", "type") and any(module.resolve(item) in _HALF for item in call.args)
    )
    return to_half and isinstance(module.parents.get(call), ast.Compare | ast.BinOp)


def _product(function: Function, masks: set[str], draws: list[ast.AST]) -> ast.AST | None:
    """Return where something is multiplied by the mask; None if it is mixed or used otherwise."""
    found: ast.AST | None = None
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            mixed = _is_mask(node.right, masks, draws)
            if mixed:
                # mask * new + (1 - mask) * old
                return None
        if found is None and any(_is_mask(part, masks, draws) for part in _factors(node)):
            found = node
    return found


def _factors(node: ast.AST) -> list[ast.expr]:
    """Return what a node multiplies."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return [node.left, node.right]
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult):
        return [node.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return [node.func.value, *node.args] if node.func.attr in _MULTIPLIES else []
    return []


def _masks(function: Function, draws: list[ast.AST]) -> set[str]:
    """Return the names that stand for a drawn mask."""
    found: set[str] = set()
    statements = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    for _ in range(2):
        for node in statements:
            inside = any(item in draws for item in ast.walk(node.value))
            chained = any(isinstance(i, ast.Name) and i.id in found for i in ast.walk(node.value))
            product = any(isinstance(i, ast.Mult) for i in ast.walk(node.value))
            if (inside or chained) and not product:
                found |= {text_of(target) for target in node.targets} - {""}
    return found


def _is_mask(node: ast.expr, masks: set[str], draws: list[ast.AST]) -> bool:
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node not in draws:
        # mask.float(), mask.to(x), mask.unsqueeze(1)
        node = node.func.value
    if text_of(node) in masks or node in draws:
        return True
    return isinstance(node, ast.Compare) and any(item in draws for item in ast.walk(node))


def _scaled(whole: ast.AST, masks: set[str]) -> bool:
    """Whether anything is divided, or multiplied by a rate or a scale, in training or in eval."""
    for node in ast.walk(whole):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div | ast.Pow):
            return True
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _DIVIDES:
            return True
        if any(_is_scale(part) and text_of(part) not in masks for part in _factors(node)):
            return True
    return False


def _is_scale(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return _names.number(node.left) == 1.0
    return bool(_SCALE.search(text_of(node).rpartition(".")[2]))
