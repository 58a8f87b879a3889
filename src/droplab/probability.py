"""Drop probabilities as the masks see them: multiples of 1/65536.

A mask lane has 16 bits and drops its element when it is below a threshold, so the rate that is
really applied is threshold / 65536. The scale is computed from that rounded rate, which makes the
expectation exact.
"""

from __future__ import annotations

import math

from droplab.errors import ArgumentError, quote
from droplab.numeric import real

LEVELS = 65536
"""Number of distinct values of a 16-bit mask lane."""


def check_p(p: float, *, where: str = "p") -> float:
    """Return `p` as a float if it is a usable drop probability.

    Args:
        p: Probability of *dropping*, as in torch, in [0, 1]; of Python, of numpy, or a tensor of
            one element.
        where: What the error message calls the argument.

    Returns:
        `p` as a float, not rounded.

    Raises:
        ArgumentError: If `p` is not a number, is NaN, lies outside [0, 1], or is neither 0 nor 1
            but would round to it at a resolution of 1/65536.

    Example:
        >>> check_p(0.3)
        0.3
        >>> check_p(30, where="arms.a.rates.fc2")
        Traceback (most recent call last):
        droplab.errors.ArgumentError: arms.a.rates.fc2: ... got 30, ... did you mean 0.3?
    """
    number = real(p)
    if number is None:
        raise ArgumentError(
            f"{where}: expected a drop probability, a number in [0, 1], got {quote(p)} "
            f"({type(p).__name__}); write 0.3 to drop 30 % of the units"
        )
    # 10**400 is no float, and nothing above 100 is told apart
    value = math.inf if abs(number) > 100 else float(number)
    if math.isnan(value) or not 0.0 <= value <= 1.0:
        if 1.0 < value <= 100.0:
            raise ArgumentError(
                f"{where}: expected a drop probability in [0, 1], got {value:g}, which looks like "
                f"a percentage; did you mean {value / 100:g}?"
            )
        raise ArgumentError(f"{where}: expected a drop probability in [0, 1], got {quote(p)}")
    level = round(value * LEVELS)
    if value not in (0.0, 1.0) and level in (0, LEVELS):
        raise ArgumentError(
            f"{where}: rates are multiples of 1/{LEVELS}, and {quote(value)} would round to "
            f"{level // LEVELS}; write {level // LEVELS}, or a rate between {1 / LEVELS:.3g} "
            f"and {1 - 1 / LEVELS:.6g}"
        )
    return value


def threshold(p: float) -> int:
    """Return the integer in [0, 65536] below which a 16-bit lane drops its element.

    Example:
        >>> threshold(0.5), threshold(0.0), threshold(1.0)
        (32768, 0, 65536)
    """
    return round(check_p(p) * LEVELS)


def rounded(p: float) -> float:
    """Return the rate that is really applied, `threshold(p) / 65536`.

    Example:
        >>> rounded(0.3)
        0.3000030517578125
    """
    return threshold(p) / LEVELS


def scale(p: float) -> float:
    """Return 1 / (1 - rounded(p)), and 0 for p = 1, where nothing is kept.

    Example:
        >>> scale(0.5), scale(1.0)
        (2.0, 0.0)
    """
    level = threshold(p)
    return 0.0 if level == LEVELS else LEVELS / (LEVELS - level)
