"""The checks that watch a training loop: one file a check, listed here by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from droplab.doctor.finding import Finding
from droplab.doctor.live.watching import (
    active_in_eval,
    eval_not_undone,
    monte_carlo_batchnorm,
    never_called,
    no_grad_is_not_eval,
    repeated_mask,
    shared_by_ranks,
    shared_generator,
    silent_in_training,
    train_accuracy,
    validation_in_train_mode,
)

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

WatchingCheck = Callable[["Watch"], Iterator[Finding]]

CHECKS: dict[str, WatchingCheck] = {
    item.CODE: item.check
    for item in (
        active_in_eval,
        silent_in_training,
        eval_not_undone,
        validation_in_train_mode,
        no_grad_is_not_eval,
        monte_carlo_batchnorm,
        never_called,
        repeated_mask,
        shared_by_ranks,
        train_accuracy,
        shared_generator,
    )
}
"""Every check that watches a loop, by code."""

__all__ = ["CHECKS", "WatchingCheck"]
