"""DRP045: a comparison of rates in which dropout also changes the order of the batches."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Event, Script

if TYPE_CHECKING:
    from torch import nn

    from droplab.doctor.live._loop import Loop

CODE = Code("DRP045", "shared-generator", "dropout changes the order of the batches", "warning")

_LOADER = "torch.utils.data.DataLoader"


def reading(module: Module) -> Iterator[Finding]:
    """Find training under several rates with a shuffling loader that has no generator."""
    loaders = [call for call in module.calls if _shuffles_globally(module, call)]
    if not loaders:
        return
    compared = _compared(module)
    if compared is None:
        return
    for loader in loaders:
        yield module.finding(
            CODE,
            loader,
            "the loader draws its order from the generator that dropout uses: the rates compared "
            f"in line {compared} see different batches",
            "give the loader its own generator=torch.Generator().manual_seed(seed)",
        )


def _shuffles_globally(module: Module, call: ast.Call) -> bool:
    name = module.resolve(call.func)
    if name not in (_LOADER, "torch.utils.data.dataloader.DataLoader"):
        return False
    if _names.has_unpacking(call) or _names.argument(call, "generator", 99) is not None:
        return False
    if any(_names.argument(call, k, at) for k, at in (("sampler", 3), ("batch_sampler", 4))):
        return False
    shuffle = _names.argument(call, "shuffle", 2)
    return isinstance(shuffle, ast.Constant) and shuffle.value is True


def _compared(module: Module) -> int | None:
    """Return the line where two or more rates are trained one after the other."""
    script = Script.of(module)
    for loop in module.loops:
        if not isinstance(loop, ast.For):
            continue
        rates = _rates(module, loop.iter)
        if len(set(rates)) < 2 or not all(0.0 <= rate < 1.0 for rate in rates):
            continue
        names = {item.id for item in ast.walk(loop.target) if isinstance(item, ast.Name)}
        if not _becomes_rate(module, loop, names):
            continue
        events = script.events(loop)
        if any(event.kind in ("backward", "step") or _trains(event) for event in events):
            return loop.lineno
    return None


def _trains(event: Event) -> bool:
    """Whether a function of another file is called that trains, by its name."""
    function = event.node.func
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return event.kind == "foreign" and re.search("train|fit|run|experiment", name) is not None


def _rates(module: Module, node: ast.expr, *, named: bool = False) -> list[float]:
    # A name is followed once: it may be assigned from itself.
    if isinstance(node, ast.Call) and node.args:
        passes_on = getattr(node.func, "id", "") in ("enumerate", "tqdm", "sorted", "list")
        return _rates(module, node.args[0], named=named) if passes_on else []
    if isinstance(node, ast.Name) and not named:
        for item in module.assigned.get(node.id, ()):
            return _rates(module, item.value, named=True)
    if isinstance(node, ast.List | ast.Tuple):
        numbers = [_names.number(item) for item in node.elts]
        return [n for n in numbers if n is not None] if None not in numbers else []
    return []


def _becomes_rate(module: Module, loop: ast.For, names: set[str]) -> bool:
    """Whether the loop's variable is called a rate of dropout, or is given as one."""
    if any("drop" in name.lower() for name in names):
        return True
    for call in (item for item in ast.walk(loop) if isinstance(item, ast.Call)):
        for keyword in call.keywords:
            given = isinstance(keyword.value, ast.Name) and keyword.value.id in names
            if given and keyword.arg and "drop" in keyword.arg:
                return True
        given = [a.id for a in call.args if isinstance(a, ast.Name)]
        if names & set(given) and (
            module.resolve(call.func) in _names.MODULES or _drops_by(module, call)
        ):
            return True
    return False


def _drops_by(module: Module, call: ast.Call) -> bool:
    """Whether a class or function of the file takes an argument that becomes a rate."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    for info in module.classes:
        if info.name == name and "__init__" in info.methods:
            return _has_rate(module, info.methods["__init__"])
    for function in module.functions:
        if function.name == name:
            return _has_rate(module, function)
    return False


def _has_rate(module: Module, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {argument.arg for argument in [*function.args.args, *function.args.kwonlyargs]}
    if any("drop" in name.lower() for name in names):
        return True
    for call in (item for item in ast.walk(function) if isinstance(item, ast.Call)):
        if module.resolve(call.func) in _names.MODULES:
            rate = _names.argument(call, "p", 0)
            if isinstance(rate, ast.Name) and rate.id in names:
                return True
    return False


def watching(loop: Loop) -> Iterator[Finding]:
    """Compare the orders that the loader drew for models that differ in their rates."""
    roots = [root for root in loop.roots if loop.trained(root)]
    arms = [(root, _rates_of(root), _orders(loop, root)) for root in roots]
    for at, (root, rates, orders) in enumerate(arms):
        for other, other_rates, other_orders in arms[:at]:
            if rates == other_rates or type(root) is not type(other):
                continue
            epochs = min(len(orders), len(other_orders))
            if not epochs or orders[:epochs] == other_orders[:epochs]:
                continue
            if not any(draw.after_dropout for draw in loop.orders):
                continue
            same = sum(a == b for a, b in zip(orders, other_orders, strict=False))
            yield loop.finding(
                CODE,
                "the loader draws its order from the generator that dropout uses: models with "
                f"rates {_shown(other_rates)} and {_shown(rates)} saw different batches",
                "give the loader its own generator=torch.Generator().manual_seed(seed)",
                evidence={"epochs": epochs, "epochs with the same order": same},
            )
            return


def _rates_of(root: nn.Module) -> tuple[float, ...]:
    rates = (_kinds.rate_of(module) for module in root.modules() if _kinds.is_dropout(module))
    return tuple(rate for rate in rates if rate)


def _orders(loop: Loop, root: nn.Module) -> list[int]:
    """Return the seeds of the orders drawn just before trained passes of a model."""
    found: list[int] = []
    for draw in loop.orders:
        after = loop.passes[draw.at : draw.at + 1]
        if after and after[0].root is root and after[0].trained:
            found.append(draw.seed)
    return found


def _shown(rates: tuple[float, ...]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates) or "0"
