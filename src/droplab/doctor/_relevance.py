"""Whether a file is worth parsing, told from its text alone."""

from __future__ import annotations

import re

_LIBRARY = re.compile(
    r"^[ \t]*(?:import|from)[ \t]+(?:[\w.]+[ \t]*,[ \t]*)*"
    r"(?:torch|droplab|lightning|pytorch_lightning|flash_attn|xformers|timm|transformers|accelerate)\b",
    re.MULTILINE,
)
_DROPS = (
    *("ropout", "rop_path", "rop_Path", "ropPath", "roppath"),
    *("rop_connect", "rop_Connect", "ropConnect", "ropconnect"),
    *("rop_block", "rop_Block", "ropBlock", "ropblock"),
    *("tochastic_depth", "tochastic_Depth", "tochasticDepth", "tochasticdepth"),
    *("multi_head_attention_forward", "efficient_attention", "MultiheadAttention("),
    *("LSTM(", "GRU(", "RNN("),
)
"""Plain words: to look for each takes a tenth of the time of one pattern with all of them."""
_TRAINS = ".backward("
_MODES = re.compile(
    r"\.eval\(|\.train\(\w*False|seed|BatchNorm|\.models\b|create_model|transformers"
)
_SAMPLES = re.compile(r"mc_|MC|[mM]onte|ncertain|[bB]ayes|tochastic|pistemic")


def may_read(text: str) -> bool:
    """Return whether a file without a library may use dropout that a class elsewhere builds."""
    return "forward" in text and ("drop" in text or "Drop" in text)


def is_relevant(text: str, package: str) -> bool:
    """Return whether any check can have something to say; most files end here."""
    drops = any(word in text for word in _DROPS)
    if not drops and _TRAINS not in text and ".train(" not in text:
        return False
    if not _LIBRARY.search(text) and not package.startswith("torch"):
        return False
    if drops:
        return True
    if _TRAINS in text:
        return _MODES.search(text) is not None
    return ".train(" in text and _SAMPLES.search(text) is not None
