"""DRP043: activation checkpointing that forgets the random state."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._module import Module
from droplab.doctor.finding import Edit, Finding

CODE = "DRP043"

_CHECKPOINTS = frozenset(
    {
        "torch.utils.checkpoint.checkpoint",
        "torch.utils.checkpoint.checkpoint_sequential",
        "torch.utils.checkpoint",
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.checkpoint_wrapper",
    }
)


def check(module: Module) -> Iterator[Finding]:
    """Find preserve_rng_state=False in a file that uses dropout."""
    if not _uses_dropout(module):
        return
    for call in module.calls:
        if module.resolve(call.func) not in _CHECKPOINTS:
            continue
        for keyword in call.keywords:
            value = keyword.value
            if keyword.arg != "preserve_rng_state":
                continue
            if isinstance(value, ast.Constant) and value.value is False:
                start, end = module.span(value)
                yield module.finding(
                    CODE,
                    value,
                    "the forward pass is computed again with another dropout mask, "
                    "so the gradients belong to no forward pass",
                    "leave preserve_rng_state at True",
                    edits=(Edit(start, end, "True"),),
                )


def _uses_dropout(module: Module) -> bool:
    """Whether the file has a dropout that can be on."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name in _names.MODULES or name in _names.FUNCTIONS:
            return True
        if name.endswith(("DropPath", "StochasticDepth", "drop_path", "stochastic_depth")):
            return True
        for keyword in call.keywords:
            if keyword.arg and "dropout" in keyword.arg and _names.number(keyword.value) != 0.0:
                return True
    return False
