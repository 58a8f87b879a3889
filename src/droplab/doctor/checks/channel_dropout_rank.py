"""DRP034: channel dropout on an input that has no channels where it looks for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING

from droplab.doctor import _kinds, _names
from droplab.doctor._finding import Code, Finding
from droplab.doctor._flow import Op
from droplab.doctor._module import Module
from droplab.doctor._names import CHANNEL_RANK
from droplab.doctor._place import dropouts

if TYPE_CHECKING:
    from droplab.doctor.live._events import Drop
    from droplab.doctor.live._exam import Exam

CODE = Code("DRP034", "channel-dropout-rank", "channel dropout on an input of wrong rank", "error")

_CHANNEL = {
    **_names.CHANNEL_RANK,
    **{f"torch.nn.functional.dropout{n}d": n + 2 for n in (1, 2, 3)},
}
_KEEP = (
    _names.SHAPELESS_ACTIVATIONS
    | _names.SAME_VALUES
    | frozenset(
        {"torch.nn.LayerNorm", "torch.nn.Dropout", "torch.nn.functional.dropout", "add", "mult"}
    )
    | frozenset(_CHANNEL)
)


def reading(module: Module) -> Iterator[Finding]:
    """Find Dropout1d, 2d and 3d whose input surely has another rank."""
    for _, op in dropouts(module, frozenset(_CHANNEL)):
        want = _CHANNEL[op.kind]
        ranks = _ranks(op.first, 0)
        if not ranks or want in ranks:
            continue
        got = " or ".join(f"{rank}-D" for rank in sorted(ranks))
        short = op.kind.rpartition(".")[2]
        effects = {_effect(want, rank) for rank in ranks}
        yield module.finding(
            CODE,
            op.node,
            f"{short} expects {want}-D (batch, channels, ...), the input is {got}: "
            + " or ".join(sorted(effects)),
            _advice(want, ranks),
            severity="note" if effects == {_AS_1D} else None,
        )


_AS_1D = (
    "torch takes it for (batch, channels, length), as Dropout1d does, warns, and says that it "
    "will not"
)


def _effect(want: int, got: int) -> str:
    """Return what torch 2.13 does with an input of another rank than a channel dropout expects."""
    if got > want:
        return "torch refuses it" if want == 3 else "axes 0 and 1 are taken for batch and channels"
    if want == 4 and got == 3:
        return _AS_1D
    if want == 4:
        return "there are no channels, so single elements are dropped"
    return "the first axis is taken for channels, so whole samples are dropped"


def _advice(want: int, ranks: set[int]) -> str:
    if want == 4 and ranks == {3}:
        return "use nn.Dropout1d, which means it, on (batch, channels, length)"
    if max(ranks) == 2:
        return "use nn.Dropout"
    return "use nn.Dropout, or the channel dropout of that rank on (batch, channels, ...)"


def _ranks(op: Op | None, depth: int) -> set[int]:
    """Return the ranks a value may have; empty if unknown."""
    if op is None or depth > 40:
        return set()
    kind = op.kind
    if kind in _names.CONVOLUTIONS or kind in _names.BATCHNORM:
        if kind.endswith("BatchNorm1d"):
            return {2, 3}
        return {int(kind[-2]) + 2} if kind[-2:] in ("1d", "2d", "3d") else set()
    if kind in ("torch.nn.Flatten", "torch.flatten", ".flatten"):
        return _flattened(op)
    if kind in (".view", ".reshape") and isinstance(op.node, ast.Call):
        arguments = op.node.args
        if any(isinstance(a, ast.Starred | ast.Tuple | ast.List) for a in arguments):
            return set()
        # A single argument may be a dtype or a whole shape in a variable.
        return {len(arguments)} if len(arguments) > 1 else set()
    if kind == "torch.nn.Linear":
        before = op.first
        if before is None or before.kind in ("input", "?"):
            # In a chain that begins with Linear, rows of features come in, or sequences of them.
            return {2, 3} if before is not None and before.kind == "input" else set()
        return _ranks(before, depth + 1)
    if kind == "item" and op.first is not None and op.first.kind in _names.RECURRENT:
        return {3, 2}
    if kind in _KEEP:
        return _ranks(op.first, depth + 1)
    if kind == "phi":
        parts = [_ranks(part, depth + 1) for part in op.inputs]
        return set().union(*parts) if all(parts) else set()
    return set()


def _flattened(op: Op) -> set[int]:
    call = op.make if op.make is not None else op.node
    if not isinstance(call, ast.Call):
        return set()
    if op.kind == "torch.nn.Flatten":
        return {2} if not call.args and not call.keywords else set()
    at = 1 if op.kind == "torch.flatten" else 0
    start = _names.argument(call, "start_dim", at)
    end = _names.argument(call, "end_dim", at + 1)
    return {2} if _names.number(start) == 1.0 and end is None else set()


_FUNCTIONS = {"dropout1d": 3, "dropout2d": 4, "dropout3d": 5}


def running(exam: Exam) -> Iterator[Finding]:
    """Find Dropout1d, 2d and 3d whose input has not the rank that they expect."""
    seen: set[object] = set()
    for drop in exam.trains[0].drops:
        want = _rank(drop)
        got = len(drop.shape)
        if want is None or got == want or drop.key in seen or not drop.on or drop.p == 0.0:
            continue
        seen.add(drop.key)
        evidence: dict[str, object] = {"shape of the input": "x".join(map(str, drop.shape))}
        effect = _effect(want, got)
        if "samples" in effect:
            evidence["samples dropped whole"] = drop.zero_samples
        yield exam.finding(
            CODE,
            f"{exam.label(drop)} expects {want}-D (batch, channels, ...) and "
            f"gets {got}-D: {effect}",
            _advice(want, {got}),
            drop=drop,
            severity="note" if effect == _AS_1D else None,
            evidence=evidence,
        )


def _rank(drop: Drop) -> int | None:
    if drop.module is None:
        return _FUNCTIONS.get(drop.name)
    return CHANNEL_RANK.get(_kinds.kind_of(drop.module))
