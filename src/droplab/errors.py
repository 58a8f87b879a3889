"""The errors that droplab raises on purpose, and the words they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DroplabError(Exception):
    """Base of every error that droplab raises on purpose.

    The message always says, in this order: where, what was expected, what came, what to do next.
    The command line prints it alone and exits with 2.
    """


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
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid names are {', '.join(options)}"
