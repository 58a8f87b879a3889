"""DRP010: functional dropout with training=True written out, which is a choice."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor.checks.untied_functional import untied

CODE = Code("DRP010", "always-on", "dropout is switched on in eval mode too", "note")


def reading(module: Module) -> Iterator[Finding]:
    """Find dropout functions in models whose training flag is a literal True."""
    for call, flag in untied(module):
        if flag is None or _in_dropout(module, call):
            continue
        name = _names.FUNCTIONS[module.resolve(call.func)].flag
        yield module.finding(
            CODE,
            call,
            f"{name} is True whatever the mode, so it drops in eval mode too",
            f"say in a comment that eval mode is meant to be random, or pass {name}=self.training",
        )


def _in_dropout(module: Module, call: ast.Call) -> bool:
    """Whether a call stands in a class that is a dropout itself, by its name or base."""
    for above in module.ancestors(call):
        if isinstance(above, ast.ClassDef):
            bases = module.class_of[above].bases
            return "drop" in above.name.lower() or any(base in _names.MODULES for base in bases)
    return False
