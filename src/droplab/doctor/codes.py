"""The table of all checks: code, name, title, severity and how each is found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from droplab.doctor.finding import FoundBy, Severity
from droplab.errors import ArgumentError, nearest, quote


@dataclass(frozen=True, slots=True)
class Code:
    """One check of the doctor.

    Args:
        code: "DRP" and three digits.
        name: A short name with hyphens.
        title: What is wrong, in a few words.
        severity: How bad it is, unless a finding says otherwise.
        found_by: The ways in which it is found.
    """

    code: str
    name: str
    title: str
    severity: Severity
    found_by: tuple[FoundBy, ...]

    @property
    def page(self) -> str:
        """Path of its page in the documentation."""
        return f"docs/checks/{self.code}.md"


_R: tuple[FoundBy, ...] = ("reading",)
_RX: tuple[FoundBy, ...] = ("reading", "running")
_RW: tuple[FoundBy, ...] = ("reading", "watching")
_XW: tuple[FoundBy, ...] = ("running", "watching")
_RXW: tuple[FoundBy, ...] = ("reading", "running", "watching")

_TABLE = (
    Code("DRP000", "unreadable", "the file cannot be read as Python", "error", _R),
    Code("DRP001", "untied-functional", "functional dropout ignores eval()", "error", _R),
    Code("DRP002", "ungated-attention", "attention dropout ignores eval()", "error", _R),
    Code("DRP003", "built-in-forward", "a dropout module is built on every call", "error", _RX),
    Code("DRP004", "active-in-eval", "dropout is active in eval mode", "error", _XW),
    Code("DRP005", "silent-in-training", "dropout does nothing in training", "error", _XW),
    Code(
        "DRP006", "eval-not-undone", "the model stays in eval mode after validation", "error", _RW
    ),
    Code("DRP007", "validation-in-train-mode", "validation runs in train mode", "error", _RW),
    Code("DRP008", "no-grad-is-not-eval", "no_grad() is taken for eval()", "error", _RW),
    Code("DRP009", "monte-carlo-batchnorm", "Monte Carlo passes train BatchNorm", "error", _RW),
    Code("DRP011", "impossible-rate", "p is outside [0, 1], or a percentage", "error", _R),
    Code("DRP012", "wrong-keyword", "the layer has no such argument", "error", _R),
    Code("DRP013", "flag-as-rate", "a training flag lands in another argument", "error", _R),
    Code("DRP014", "idle-rate", "p = 0 or p = 1 was left behind", "note", _RX),
    Code(
        "DRP015", "single-layer-recurrent", "dropout of a one-layer RNN does nothing", "error", _RX
    ),
    Code("DRP021", "discarded-result", "the result of dropout is thrown away", "error", _R),
    Code("DRP022", "never-called", "a dropout module is built but never called", "warning", _RXW),
    Code("DRP023", "inplace", "in-place dropout overwrites what is needed", "error", _RX),
    Code("DRP031", "on-logits", "dropout acts on the logits", "error", _RX),
    Code(
        "DRP032", "before-batchnorm", "dropout shifts the variance BatchNorm sees", "warning", _RX
    ),
    Code(
        "DRP033",
        "elementwise-on-features",
        "single pixels of a feature map are dropped",
        "note",
        _RX,
    ),
    Code(
        "DRP034", "channel-dropout-rank", "channel dropout on an input of wrong rank", "error", _RX
    ),
    Code("DRP035", "selu-mismatch", "SELU and AlphaDropout belong together", "warning", _RX),
    Code("DRP041", "repeated-mask", "one mask is used again and again", "error", _RXW),
    Code("DRP042", "shared-by-ranks", "all ranks draw the same masks", "warning", _RW),
    Code("DRP043", "checkpoint-rng", "recomputation draws another mask", "error", _RX),
    Code("DRP044", "train-accuracy", "accuracy with dropout against accuracy without", "note", _RW),
    Code("DRP045", "shared-generator", "dropout changes the order of the batches", "warning", _RW),
)

CODES: dict[str, Code] = {entry.code: entry for entry in _TABLE}
"""Every check by its code."""


def expand(selection: Iterable[str], *, where: str) -> frozenset[str]:
    """Return the codes that a list of codes, prefixes or names stands for.

    Args:
        selection: Codes ("DRP001"), prefixes ("DRP03"), names ("on-logits") or "ALL".
        where: What to call the list in an error message.

    Raises:
        ArgumentError: An item stands for no check.

    Example:
        >>> sorted(expand(["DRP00", "on-logits"], where="--select"))[-2:]
        ['DRP009', 'DRP031']
        >>> expand(["DRP099"], where="--select")
        Traceback (most recent call last):
        ...
        droplab.errors.ArgumentError: --select: expected codes, prefixes or names of checks, ...
    """
    found: set[str] = set()
    for item in selection:
        key = item.strip()
        if key.upper() == "ALL":
            hits = list(CODES)
        elif re.fullmatch(r"(?i)drp\d{0,3}", key):
            hits = [code for code in CODES if code.startswith(key.upper())]
        else:
            hits = [entry.code for entry in _TABLE if entry.name == key.lower()]
        if not hits:
            names = [*CODES, *(entry.name for entry in _TABLE)]
            close = nearest(key.upper() if key[:1] in "dD" else key.lower(), names)
            hint = close if "did you mean" in close else "; `droplab check --list` lists them"
            raise ArgumentError(
                f"{where}: expected codes, prefixes or names of checks, got {quote(item)}{hint}"
            )
        found.update(hits)
    return frozenset(found)
