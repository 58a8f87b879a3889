"""Which training examples are behind the training figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SPACE = "\u00a0"


def check_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a stored plan whose count of scored examples is one; the rest of it is only shown."""
    count = plan.get("score_train", 0)
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"plan: expected score_train as a count of examples, got {count!r}")
    return plan


def scored_note(plan: Mapping[str, Any]) -> str:
    """Return what the training figures in eval mode are of; "" where it is all examples.

    Args:
        plan: The execution plan as it is stored; those of old runs say nothing, and mean all.

    Example:
        >>> print(scored_note({"score_train": 500}))
        Training figures in eval mode are on 500 training examples, and after the last epoch on all.
        >>> scored_note({})
        ''
    """
    count = plan.get("score_train", 0)
    if not count:
        return ""
    return (
        f"Training figures in eval mode are on {_grouped(count)} training examples, and after the "
        "last epoch on all."
    )


def scored_at(plan: Mapping[str, Any], epoch: int, epochs: int) -> str:
    """Return how the training figures of one epoch are labelled; "" where they are of all examples.

    Args:
        plan: As in `scored_note`.
        epoch: The epoch, from 1.
        epochs: How many epochs the whole run has.

    Example:
        >>> scored_at({"score_train": 500}, 3, 4), scored_at({"score_train": 500}, 4, 4)
        ('on 500 training examples', '')
    """
    count = plan.get("score_train", 0)
    return f"on {_grouped(count)} training examples" if count and epoch < epochs else ""


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", _SPACE)
