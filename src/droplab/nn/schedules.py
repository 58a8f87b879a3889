"""Dropout rates that change while a model trains, as pure functions of the step.

Every schedule takes the step first and everything else by keyword, and returns a rate. Fix the
keywords with `functools.partial` and hand the result to whatever drives the training loop, for
example `droplab.train.RateSchedule`:

    schedule = partial(linear, start=0.0, end=0.5, steps=1000)

A step is whatever the driver counts, optimizer steps or epochs. Nothing is kept between calls, so
a resumed run needs only its step.
"""

from __future__ import annotations

import math

from droplab.errors import ArgumentError, quote
from droplab.numeric import whole
from droplab.probability import check_p

__all__ = ["by_depth", "constant", "curriculum", "early", "late", "linear"]


def constant(step: int, *, p: float) -> float:
    """Return `p` at every step.

    Args:
        step: Step counted from 0.
        p: Drop probability.

    Returns:
        The rate at this step.

    Raises:
        ArgumentError: If `step` is negative or `p` is no drop probability.

    Example:
        >>> constant(7, p=0.5)
        0.5
    """
    _check_step(step)
    return check_p(p)


def linear(step: int, *, start: float, end: float, steps: int) -> float:
    r"""Return a rate that moves on a straight line from `start` to `end`, and then stays.

    $$p(t) = a + (b - a)\,\min(t / T, 1)$$

    Args:
        step: Step t, counted from 0.
        start: Rate a at step 0.
        end: Rate b at step `steps` and after it.
        steps: Length T of the ramp, at least 1.

    Returns:
        The rate at this step.

    Raises:
        ArgumentError: If `step` is negative, `steps` below 1 or a rate is no drop probability.

    Example:
        >>> [linear(t, start=0.0, end=0.4, steps=4) for t in (0, 2, 4, 9)]
        [0.0, 0.2, 0.4, 0.4]
    """
    _check_step(step)
    _check_steps(steps)
    start = check_p(start, where="start")
    end = check_p(end, where="end")
    done = min(step / steps, 1.0)
    return _snap((1.0 - done) * start + done * end)


def early(step: int, *, p: float, steps: int, decay: bool = False) -> float:
    r"""Return `p` during the first `steps` steps and 0 after them.

    $$p(t) = p\,[t < T], \qquad \text{with decay: } p(t) = p\,\max(1 - t / T, 0)$$

    Early dropout is meant for models that underfit: it makes the first gradients agree more with
    each other, and is then gone.

    Args:
        step: Step t, counted from 0.
        p: Drop probability of the early phase.
        steps: Length T of the early phase, at least 0.
        decay: Fall linearly to 0 over the early phase instead of all at once at its end.

    Returns:
        The rate at this step.

    Raises:
        ArgumentError: If `step` or `steps` is negative or `p` is no drop probability.

    Source:
        Liu, Xu, Jin, Shen and Darrell, "Dropout Reduces Underfitting", ICML 2023, section 4.

    Example:
        >>> [early(t, p=0.1, steps=50) for t in (0, 49, 50)]
        [0.1, 0.1, 0.0]
        >>> early(25, p=0.1, steps=50, decay=True)
        0.05
    """
    _check_step(step)
    _check_steps(steps, least=0)
    p = check_p(p)
    if step >= steps:
        return 0.0
    return _snap(p * (1.0 - step / steps)) if decay else float(p)


def late(step: int, *, p: float, start: int) -> float:
    r"""Return 0 before step `start` and `p` from it on.

    $$p(t) = p\,[t \ge t_0]$$

    Late dropout is meant for models that overfit: the first phase trains undisturbed.

    Args:
        step: Step t, counted from 0.
        p: Drop probability of the late phase.
        start: First step t0 of the late phase, at least 0.

    Returns:
        The rate at this step.

    Raises:
        ArgumentError: If `step` or `start` is negative or `p` is no drop probability.

    Source:
        Liu, Xu, Jin, Shen and Darrell, "Dropout Reduces Underfitting", ICML 2023, section 4.

    Example:
        >>> [late(t, p=0.4, start=50) for t in (0, 49, 50)]
        [0.0, 0.0, 0.4]
    """
    _check_step(step)
    _check_steps(start, least=0, where="start")
    p = check_p(p)
    return float(p) if step >= start else 0.0


def curriculum(step: int, *, p: float, steps: int, sharpness: float = 10.0) -> float:
    r"""Return a rate that rises from 0 towards `p` and never gets there exactly.

    $$p(t) = p\,\left(1 - e^{-\gamma t}\right), \qquad \gamma = \text{sharpness} / T$$

    Training begins with the easy problem, all units present, and gets harder.

    Args:
        step: Step t, counted from 0.
        p: Drop probability in the limit.
        steps: Length T of the whole training, at least 1.
        sharpness: How many time constants fit into the training; the paper takes 10.

    Returns:
        The rate at this step.

    Raises:
        ArgumentError: If `step` is negative, `steps` below 1, `sharpness` not positive and finite,
            or `p` is no drop probability.

    Source:
        Morerio, Cavazza, Volpi, Vidal and Murino, "Curriculum Dropout", ICCV 2017, equation 4,
        written for the drop probability where the paper has the keep probability.

    Example:
        >>> [round(curriculum(t, p=0.5, steps=100), 3) for t in (0, 10, 100)]
        [0.0, 0.316, 0.5]
    """
    _check_step(step)
    _check_steps(steps)
    p = check_p(p)
    if not (math.isfinite(sharpness) and sharpness > 0):
        raise ArgumentError(
            f"sharpness: expected a positive number, got {sharpness!r}; the paper takes 10"
        )
    return _snap(p * -math.expm1(-sharpness * step / steps))


def by_depth(index: int, *, count: int, p: float) -> float:
    r"""Return the rate of layer `index` when rates grow linearly with depth up to `p`.

    $$p_l = \frac{l}{L}\,p, \qquad l = 1 \dots L$$

    This is a schedule over layers, not over time: early layers compute features that everything
    else builds on and are dropped least.

    Args:
        index: Position l - 1 of the layer, counted from 0.
        count: Number of layers L.
        p: Drop probability of the last layer.

    Returns:
        The rate of this layer.

    Raises:
        ArgumentError: If `index` is not in [0, count) or `p` is no drop probability.

    Source:
        Huang, Sun, Liu, Sedra and Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016,
        section 3, equation 4.

    Example:
        >>> [by_depth(i, count=4, p=0.2) for i in range(4)]
        [0.05, 0.1, 0.15, 0.2]
    """
    p = check_p(p)
    if not 0 <= index < count:
        raise ArgumentError(
            f"index: expected the layer's position in [0, count) = [0, {count}), got {index}; "
            "positions count from 0"
        )
    return _snap(p * (index + 1) / count)


def _check_step(step: int) -> None:
    number = whole(step)
    if number is None or number < 0:
        raise ArgumentError(
            f"step: expected an integer of at least 0, got {quote(step)}; count steps from 0"
        )


def _check_steps(steps: int, *, least: int = 1, where: str = "steps") -> None:
    number = whole(steps)
    if number is None or number < least:
        raise ArgumentError(
            f"{where}: expected an integer of at least {least}, got {quote(steps)}; "
            "count in the same unit as the step"
        )


def _snap(p: float) -> float:
    """Return `p` with rounding noise removed, and 0 or 1 where no finer rate exists.

    A rate that a ramp passes through on its way to 0 or 1 may be too close to it for the masks
    (see `droplab.probability`); a schedule goes to the end of the ramp there, where a rate that
    somebody wrote by hand is refused.
    """
    finest = 1.0 / 131072
    if p <= finest:
        return 0.0
    if p >= 1.0 - finest:
        return 1.0
    return round(float(p), 12)
