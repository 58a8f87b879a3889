"""The checks that read source: one file a check, listed here by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from droplab.doctor._module import Module
from droplab.doctor.finding import Finding
from droplab.doctor.static import (
    before_batchnorm,
    built_in_forward,
    channel_dropout_rank,
    checkpoint_rng,
    discarded_result,
    elementwise_on_features,
    eval_not_undone,
    flag_as_rate,
    idle_rate,
    impossible_rate,
    inplace,
    monte_carlo_batchnorm,
    never_called,
    no_grad_is_not_eval,
    on_logits,
    repeated_mask,
    selu_mismatch,
    shared_by_ranks,
    shared_generator,
    single_layer_recurrent,
    train_accuracy,
    ungated_attention,
    untied_functional,
    validation_in_train_mode,
    wrong_keyword,
)

StaticCheck = Callable[[Module], Iterator[Finding]]

CHECKS: dict[str, StaticCheck] = {
    item.CODE: item.check
    for item in (
        untied_functional,
        ungated_attention,
        built_in_forward,
        eval_not_undone,
        validation_in_train_mode,
        no_grad_is_not_eval,
        monte_carlo_batchnorm,
        impossible_rate,
        wrong_keyword,
        flag_as_rate,
        idle_rate,
        single_layer_recurrent,
        discarded_result,
        never_called,
        inplace,
        on_logits,
        before_batchnorm,
        elementwise_on_features,
        channel_dropout_rank,
        selu_mismatch,
        repeated_mask,
        shared_by_ranks,
        checkpoint_rng,
        train_accuracy,
        shared_generator,
    )
}
"""Every check that reads source, by code."""

__all__ = ["CHECKS", "StaticCheck"]
