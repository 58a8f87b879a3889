"""DRP043: activation checkpointing that forgets the random state."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module

if TYPE_CHECKING:
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP043", "checkpoint-rng", "recomputation draws another mask", "error")

_CHECKPOINTS = frozenset(
    {
        "torch.utils.checkpoint.checkpoint",
        "torch.utils.checkpoint.checkpoint_sequential",
        "torch.utils.checkpoint",
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.checkpoint_wrapper",
    }
)


def reading(module: Module) -> Iterator[Finding]:
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
                    unsafe=True,
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


def running(exam: Exam) -> Iterator[Finding]:
    """Compare the masks of recomputed dropouts with those of the forward pass."""
    trace = exam.trains[0]
    seen: set[object] = set()
    for again in trace.redone:
        if again.key in seen or again.mask is None:
            continue
        first = [drop.mask for drop in trace.drops if drop.key == again.key]
        masks = [mask for mask in first if mask is not None and mask.comparable(again.mask)]
        if not masks or any(mask.same(again.mask) for mask in masks):
            continue
        seen.add(again.key)
        yield exam.finding(
            CODE,
            f"{exam.label(again)} has another mask when activation "
            "checkpointing computes it again: the gradients belong to no forward pass",
            "leave preserve_rng_state at True",
            drop=again,
            evidence={"recomputed with another mask": True},
        )
