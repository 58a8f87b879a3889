"""Early stopping as a rule on numbers: at which epoch a replica would have been stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

from droplab.errors import ArgumentError

BLOCKS = 8
"""Into so many blocks validation examples fall, so that an epoch is chosen on one half of them and
measured on the other: enough for four halvings, each of four blocks and four."""


@dataclass
class Stopping:
    """The rule at work, told the value of one epoch after the other.

    Args:
        higher_is_better: Whether more of the metric is better.
        patience: How many epochs may pass without a gain; 0: all epochs are looked at.
        min_gain: What counts as a gain: more than so much better than at the last gain.

    Attributes:
        epoch: The stopped epoch so far, from 1; 0 before the first value.
        stopped: Whether patience is at an end: what comes later is not looked at.
    """

    _: KW_ONLY
    higher_is_better: bool
    patience: int = 0
    min_gain: float = 0.0

    def __post_init__(self) -> None:
        self.epoch = 0
        self.stopped = False
        self._seen = self._waited = 0
        self._best = self._gained = float("nan")

    def take(self, value: float) -> bool:
        """Take the value of the next epoch; return whether the stopped epoch is now this one."""
        self._seen += 1
        if self.stopped:
            return False
        good = value if self.higher_is_better else -value
        # NaN is no value: any number is better, and it is better than none
        better = good > self._best or (self._best != self._best and good == good)
        if better:
            self._best = good
        if good - self._gained > self.min_gain or (self._gained != self._gained and better):
            self._gained, self._waited = good, 0
        else:
            self._waited += 1
            self.stopped = 0 < self.patience <= self._waited
        if better or self._seen == 1:
            self.epoch = self._seen
            return True
        return False


def stopped_epoch(
    values: Iterable[float], *, higher_is_better: bool, patience: int = 0, min_gain: float = 0.0
) -> int:
    """Return the epoch at which early stopping keeps the weights, from 1.

    It is the first epoch with the best value; with patience, the best of those before training
    would have ended, which it does after `patience` epochs in a row none of which was better by
    more than `min_gain` than the last one that was.

    Args:
        values: The metric after each epoch. NaN is never best; the first epoch is where all are.
        higher_is_better: Whether more of it is better.
        patience: How many epochs may pass without a gain; 0: all epochs are looked at.
        min_gain: What counts as a gain, in the metric's own unit.

    Raises:
        ArgumentError: If there is no epoch.

    Example:
        >>> losses = [0.9, 0.6, 0.7, 0.65, 0.5]
        >>> stopped_epoch(losses, higher_is_better=False)
        5
        >>> stopped_epoch(losses, higher_is_better=False, patience=2)
        2
    """
    rule = Stopping(higher_is_better=higher_is_better, patience=patience, min_gain=min_gain)
    for value in values:
        rule.take(value)
    if not rule.epoch:
        raise ArgumentError("values: expected the metric after each epoch, got none")
    return rule.epoch
