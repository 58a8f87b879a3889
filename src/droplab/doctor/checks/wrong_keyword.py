"""DRP012: a keyword that the layer does not have."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _names
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module
from droplab.doctor.checks.impossible_rate import expects_error

CODE = Code("DRP012", "wrong-keyword", "the layer has no such argument", "error")

_LAYER = frozenset({"p", "inplace"})
_OURS = frozenset({"seed", "key", "noise_shape", "backend"})
_RNN = frozenset(
    [
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
        "device",
        "dtype",
        "nonlinearity",
        "mode",
    ]
)
_ATTENTION = frozenset(
    [
        "embed_dim",
        "num_heads",
        "dropout",
        "bias",
        "add_bias_kv",
        "add_zero_attn",
        "kdim",
        "vdim",
        "batch_first",
        "device",
        "dtype",
    ]
)
_ALLOWED: dict[str, tuple[frozenset[str], str]] = {
    **dict.fromkeys(_names.MODULES, (_LAYER | _OURS, "p")),
    **{
        name: (frozenset({"input", "self", "p", "inplace", f.flag}) | _OURS, "p")
        for name, f in _names.FUNCTIONS.items()
        if not name.startswith("droplab.")
    },
    **dict.fromkeys(_names.RECURRENT, (_RNN, "dropout")),
    "torch.nn.MultiheadAttention": (_ATTENTION, "dropout"),
}
_SAME = frozenset(
    [
        "rate",
        "prob",
        "probability",
        "p_drop",
        "drop_p",
        "pdrop",
        "dropout",
        "dropout_p",
        "dropout_rate",
        "drop_rate",
        "drop",
        "dropout_prob",
        "drop_prob",
        "dropout_ratio",
        "ratio",
    ]
)
"""Keywords that mean the probability of dropping."""
_OPPOSITE = frozenset({"keep_prob", "keep", "p_keep", "keep_rate", "keep_probability"})


def reading(module: Module) -> Iterator[Finding]:
    """Find keywords that torch's layer refuses."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name not in _ALLOWED or expects_error(module, call):
            continue
        allowed, right = _ALLOWED[name]
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in allowed:
                continue
            yield _finding(module, call, keyword, name, right)


def _finding(
    module: Module, call: ast.Call, keyword: ast.keyword, name: str, right: str
) -> Finding:
    short = name.rpartition(".")[2]
    given = keyword.arg or ""
    edits: tuple[Edit, ...] = ()
    if given in _OPPOSITE:
        advice = f"torch counts what is dropped: {right}=1 - {given}"
    elif given in _SAME or (given == "p" and right == "dropout"):
        advice = f"call it {right}"
        taken = _names.argument(call, right, 0 if right == "p" and short[:1].isupper() else 99)
        if taken is None:
            start = module.source.offset(keyword.lineno, keyword.col_offset)
            edits = (Edit(start, start + len(given), right),)
    else:
        advice = f"its rate is called {right}"
    return module.finding(
        CODE, keyword.value, f"{short} has no argument {given!r}", advice, edits=edits
    )
