"""Whether a file is worth parsing, told from its text alone."""

from __future__ import annotations

import re

_LIBRARY = re.compile(
    r"^[ \t]*(?:import|from)[ \t]+(?:[\w.]+[ \t]*,[ \t]*)*"
    r"(?:torch|droplab|lightning|pytorch_lightning|flash_attn|xformers|timm|transformers|accelerate)\b",
    re.MULTILINE,
)
_DROPS = re.compile(
    r"[dD]ropout|[dD]rop_?(?:[pP]ath|[cC]onnect|[bB]lock)|[sS]tochastic_?[dD]epth|multi_head_attention_forward|efficient_attention|"
    r"MultiheadAttention\(|\b(?:LSTM|GRU|RNN)\("
)
_TRAINS = re.compile(r"\.backward\(")
_MODES = re.compile(
    r"\.eval\(|\.train\(\w*False|seed|BatchNorm|\.models\b|create_model|transformers"
)
_SAMPLES = re.compile(r"mc_|MC|[mM]onte|ncertain|[bB]ayes|tochastic|pistemic")


def may_read(text: str) -> bool:
    """Return whether a file without a library may use dropout that a class elsewhere builds."""
    return "forward" in text and ("drop" in text or "Drop" in text)


def is_relevant(text: str, package: str) -> bool:
    """Return whether any check can have something to say; most files end here."""
    drops = _DROPS.search(text) is not None
    if not drops and not _TRAINS.search(text) and ".train(" not in text:
        return False
    if not _LIBRARY.search(text) and not package.startswith("torch"):
        return False
    if drops:
        return True
    if _TRAINS.search(text):
        return _MODES.search(text) is not None
    return ".train(" in text and _SAMPLES.search(text) is not None
