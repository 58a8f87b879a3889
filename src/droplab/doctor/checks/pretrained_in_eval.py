"""DRP046: a pretrained model that is fine-tuned in the eval mode in which it was loaded."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from droplab.doctor._events import text_of
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._order import entries

CODE = Code("DRP046", "pretrained-in-eval", "fine-tuned in the eval mode of loading", "error")

_FROZEN = re.compile(r"teacher|target|ema|reference|ref_|frozen|vae|critic|reward|encoder_?k")


def reading(module: Module) -> Iterator[Finding]:
    """Find models of `from_pretrained` that are trained on, and never put into train mode."""
    if "from_pretrained" not in module.attributes or "backward" not in module.attributes:
        return
    optimized = _optimized(module)
    seen: set[ast.AST] = set()
    for entry in entries(module):
        # A loop is followed twice; a single step shows how one is made, and trains nothing.
        times = Counter(visit.node for visit in entry.visits)
        for visit in entry.visits:
            if times[visit.node] < 2:
                continue
            by = {mode.by for mode in visit.modes}
            loaded = all(mode.kind == "pretrained" for mode in visit.modes)
            call = by.pop() if len(by) == 1 else None
            if not (loaded and visit.trained and visit.stepped) or call is None or call in seen:
                continue
            text = visit.text.removesuffix(".module")
            if (
                not optimized & {text, visit.key}
                or _FROZEN.search(text.lower())
                or _freezes(module)
            ):
                continue
            seen.add(call)
            yield module.finding(
                CODE,
                call,
                f"from_pretrained() returns a model in eval mode, and line {visit.node.lineno} "
                "trains it so: its dropout never drops",
                f"call {text}.train() before training",
            )


def _optimized(module: Module) -> set[str]:
    """Return the models whose parameters something gets, by text."""
    return {
        text_of(call.func.value)
        for call in module.calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("parameters", "named_parameters")
    }


def _freezes(module: Module) -> bool:
    """Whether the file freezes parameters: then eval mode may be meant."""
    for call in module.calls:
        off = any(isinstance(item, ast.Constant) and item.value is False for item in call.args)
        if off and getattr(call.func, "attr", "") == "requires_grad_":
            return True
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Attribute) and t.attr == "requires_grad" for t in node.targets)
        for node in ast.walk(module.tree)
    )
