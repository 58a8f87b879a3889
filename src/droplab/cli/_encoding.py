"""Output that no encoding can stop: signs that a terminal lacks are written in ASCII."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

HANDLER = "droplab-plain"
"""Name of the error handler, for `open` and `reconfigure`."""

PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "±": "+/-",
    "·": "*",
    "•": "*",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "∞": "inf",
    "✓": "ok",
    "✗": "x",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""Typographic signs, and what a terminal shows that has none of them."""


def prepare_streams() -> None:
    """Let the standard streams print every text, whatever their encoding.

    What an encoding has is printed as it is. A stream in plain ASCII goes by another name, because
    click takes ASCII for a mistake and would send UTF-8 there.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=HANDLER if ascii_only else None, errors=HANDLER)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def plain(text: str) -> str:
    r"""Return `text` in ASCII: signs as `PLAIN` has them, letters without accents, escapes.

    Example:
        >>> plain("−0.1 ± é 中 \udcff")
        '-0.1 +/- e \\u4e2d \\udcff'
    """
    return "".join(_one(sign) for sign in text)


def _one(sign: str) -> str:
    if sign in PLAIN:
        return PLAIN[sign]
    if 0x2500 <= ord(sign) < 0x2580:  # box drawing
        return "|" if unicodedata.name(sign).endswith("VERTICAL") else "-"
    letters = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode("ascii")
    return letters or sign.encode("ascii", "backslashreplace").decode("ascii")


def _handle(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def _find(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != HANDLER:
        return None
    ascii_ = codecs.lookup("ascii")
    return codecs.CodecInfo(
        encode=ascii_.encode,
        decode=ascii_.decode,
        incrementalencoder=ascii_.incrementalencoder,
        incrementaldecoder=ascii_.incrementaldecoder,
        name=HANDLER,
    )


codecs.register_error(HANDLER, _handle)
codecs.register(_find)
