"""The checks that run a model: one file a check, listed here by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from droplab.doctor.finding import Finding
from droplab.doctor.live._exam import Exam
from droplab.doctor.live.running import (
    active_in_eval,
    before_batchnorm,
    built_in_forward,
    channel_dropout_rank,
    checkpoint_rng,
    elementwise_on_features,
    idle_rate,
    inplace,
    never_called,
    on_logits,
    repeated_mask,
    selu_mismatch,
    silent_in_training,
    single_layer_recurrent,
)

RunningCheck = Callable[[Exam], Iterator[Finding]]

CHECKS: dict[str, RunningCheck] = {
    item.CODE: item.check
    for item in (
        built_in_forward,
        active_in_eval,
        silent_in_training,
        idle_rate,
        single_layer_recurrent,
        never_called,
        inplace,
        on_logits,
        before_batchnorm,
        elementwise_on_features,
        channel_dropout_rank,
        selu_mismatch,
        repeated_mask,
        checkpoint_rng,
    )
}
"""Every check that runs a model, by code."""

__all__ = ["CHECKS", "RunningCheck"]
