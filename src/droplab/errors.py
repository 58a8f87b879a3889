"""The errors that droplab raises on purpose, and the words they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from droplab.limits import MESSAGE, QUOTED


class DroplabError(Exception):
    """Base of every error that droplab raises on purpose.

    The message always says, in this order: where, what was expected, what came, what to do next.
    The command line prints it alone and exits with 2. It has a bounded length, whatever it quotes.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(bounded(str(message)))


class ArgumentError(DroplabError, ValueError):
    """An argument is outside what the function accepts."""


class RecipeError(ArgumentError):
    """A recipe has an unknown key, a wrong type or an impossible value."""


class PlacementError(ArgumentError):
    """A rate or a plan does not fit the model it is meant for."""


class DataError(DroplabError):
    """A data set cannot be found, verified or read."""


class RunError(DroplabError):
    """An experiment cannot start, go on, or be read back from disk."""


class BackendError(DroplabError, RuntimeError):
    """A backend that was asked for by name is missing or cannot do what was asked."""


def bounded(message: str) -> str:
    """Return a message of at most `limits.MESSAGE` letters, without control characters.

    The end is kept with the beginning: what to do next stands there.

    Example:
        >>> bounded("no arm 'half'")
        "no arm 'half'"
        >>> len(bounded("x" * 70_000)) <= MESSAGE
        True
    """
    if len(message) > MESSAGE:
        left_out = f" [... {len(message)} letters in all ...] "
        tail = MESSAGE // 4
        message = message[: MESSAGE - tail - len(left_out)] + left_out + message[-tail:]
    if message.isprintable():
        return message
    return "".join(sign if _shows(sign) else repr(sign)[1:-1] for sign in message)


def _shows(sign: str) -> bool:
    # A byte of a file name that is not UTF-8 is left to the stream that it is written to.
    return sign.isprintable() or sign in "\n\t" or "\udc80" <= sign <= "\udcff"


def quote(value: object) -> str:
    """Return how a value from outside is quoted in a message: as Python writes it, but short.

    Example:
        >>> quote("half"), quote(0.5)
        ("'half'", '0.5')
        >>> quote("x" * 70_000)
        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' (70000 letters)"
        >>> quote(10**5000)
        'a whole number of about 5000 digits'
    """
    if isinstance(value, int) and abs(value) >= 1 << 256:
        return f"a whole number of about {int(value.bit_length() * 0.30103)} digits"
    if isinstance(value, str) and len(value) > QUOTED:
        return f"{value[: QUOTED * 6 // 10 - 1]!r}"[:-1] + f"...' ({len(value)} letters)"
    try:
        text = repr(value)
        if not isinstance(value, str):  # an array in one line
            text = " ".join(text.split())
    except Exception:  # of the user's own class, or of a number with too many digits
        return f"a value of type {type(value).__name__}"
    if len(text) <= 2 * QUOTED:
        return text
    return f"{text[:QUOTED]}... ({len(text)} letters)"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest of `names`, or the whole list when none is.

    Args:
        name: What was given.
        names: What would have been valid.

    Returns:
        A sentence to append to an error message; empty if `names` is empty.

    Example:
        >>> nearest("fashion-tutorail", ["digits", "fashion-tutorial"])
        "; did you mean 'fashion-tutorial'?"
        >>> nearest("xyz", ["digits", "mnist-mlp"])
        '; valid names are digits, mnist-mlp'
    """
    options = sorted(set(names))
    if not options:
        return ""
    # Comparing takes the square of the length, and no name is that long.
    close = [] if len(name) > QUOTED else difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid names are {', '.join(options)}"
