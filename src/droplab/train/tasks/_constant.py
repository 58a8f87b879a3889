"""The best answer that is always the same: what any model has to beat."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from droplab.train.tasks._task import Score, Task

_MOST, _BATCH = 400_000, 1_000_000
"""Numbers in the outputs that a constant is fitted on, and that are scored at once."""


def constant_scores(
    task: Task, train: Tensor, validation: Tensor, metric: str | None
) -> tuple[Score, Tensor | None]:
    """Return what a constant answer, fitted on training targets, has on validation targets.

    It is the class shares (for labels, the share of each; for quantities the mean), or, where the
    loss is another than the usual one, whatever that loss likes best.

    Args:
        task: What is learned.
        train: Training targets, (N, ...), packed with weights if the task has them.
        validation: Validation targets, alike.
        metric: The metric whose value is wanted for each example, too.

    Returns:
        The score, and float64 (N,) if `metric` is a mean over examples.

    Example:
        >>> from droplab.train.tasks import CLASSIFICATION
        >>> labels = torch.tensor([0, 0, 0, 1])
        >>> score, each = constant_scores(CLASSIFICATION, labels, labels, "accuracy")
        >>> score["accuracy"], each.tolist()
        (0.75, [1.0, 1.0, 1.0, 0.0])
    """
    start = task.constant(task.unpacked(train)[0], task.unpacked(validation)[0])
    seen = train[: max(1, _MOST // max(start.numel(), 1))]
    answers = [start, *_by_loss(task, seen, start)]
    losses = [float(task.mean(_repeated(each, len(seen)), seen)) for each in answers]
    best = answers[losses.index(min(losses))] if all(map(math.isfinite, losses)) else start
    meter = task.meter()
    meter.ask(metric)
    for part in validation.split(max(1, _BATCH // max(best.numel(), 1))):
        # without the further metrics: one's own may not take answers that are all alike
        meter.take(_repeated(best, len(part))[None], part)
    found = meter.parts.of_examples() if meter.parts is not None else None
    return meter.scores()[0], None if found is None else found.values[0]


def _repeated(answer: Tensor, count: int) -> Tensor:
    return answer.expand(count, *answer.shape)


def _by_loss(task: Task, train: Tensor, start: Tensor) -> list[Tensor]:
    """Return the answer that a loss other than the usual likes best: a quantile, for one."""
    if task.plain:
        return []
    answer = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([answer], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = task.mean(_repeated(answer, len(train)), train)
        loss.backward()
        return loss

    with torch.enable_grad(), contextlib.suppress(RuntimeError):  # of NaN, or without a bound
        optimizer.step(closure)  # pyright: ignore[reportUnknownMemberType, reportArgumentType]
    return [answer.detach()] if torch.isfinite(answer).all() else []
