"""DRP002: attention dropout that is not switched off in eval mode."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from droplab.doctor import _gate, _names
from droplab.doctor._classes import self_name
from droplab.doctor._finding import Code, Edit, Finding
from droplab.doctor._module import Module

CODE = Code("DRP002", "ungated-attention", "attention dropout ignores eval()", "error")

_SDPA = "torch.nn.functional.scaled_dot_product_attention"
_RATE = {
    _SDPA: ("dropout_p", 4),
    "xformers.ops.memory_efficient_attention": ("p", 4),
    "flash_attn.flash_attn_func": ("dropout_p", 3),
    "flash_attn.flash_attn_qkvpacked_func": ("dropout_p", 1),
    "flash_attn.flash_attn_kvpacked_func": ("dropout_p", 2),
    "flash_attn.flash_attn_varlen_func": ("dropout_p", 7),
    "flash_attn.flash_attn_interface.flash_attn_func": ("dropout_p", 3),
}
_OLD = "torch.nn.functional.multi_head_attention_forward"


def reading(module: Module) -> Iterator[Finding]:
    """Find attention calls whose dropout rate is the same in training and in eval."""
    for call in module.calls:
        name = module.resolve(call.func)
        if name in _RATE:
            keyword, at = _RATE[name]
        elif name == _OLD:
            if _names.argument(call, "training", 13) is not None:
                continue
            keyword, at = "dropout_p", 10
        else:
            continue
        rate = _names.argument(call, keyword, at)
        if rate is None or not _gate.ungated_rate(module, rate, call):
            continue
        if _gate.gated(module, call) or _gate.deliberate(module, call):
            continue
        owner = module.method(call)
        if owner is None or not owner[0].is_module:
            continue
        me = self_name(owner[1])
        edits: tuple[Edit, ...] = ()
        if me is not None and module.function(call) is owner[1]:
            start, end = module.span(rate)
            text = module.segment(rate)
            if "\n" not in text:
                edits = (Edit(start, end, f"({text} if {me}.training else 0.0)"),)
        short = name.rpartition(".")[2]
        yield module.finding(
            CODE,
            rate,
            f"{short}() drops whenever {keyword} is above 0; it knows nothing of eval()",
            f"pass {keyword}={_plain(rate)} if {me or 'self'}.training else 0.0",
            edits=edits,
        )


def _plain(rate: ast.expr) -> str:
    return ast.unparse(rate)
