"""What every task answers: what outputs look like, what a batch's loss is, and what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from droplab.errors import DataError, DroplabError
from droplab.recipe import TARGETS, TASKS
from droplab.train.tasks._answers import AnswerCounts
from droplab.train.tasks._in_parts import InParts, Values
from droplab.train.tasks._losses import Loss, total

Score = Mapping[str, float]
"""What was measured over a set of examples, by name: see `droplab.recipe.TASKS`."""

Terms = tuple[Tensor, Tensor | None]
"""A number for each example, and the weight of each; None where all weigh the same."""


class FurtherMetric(Protocol):
    """A metric beside those of a task: a function of outputs and targets of a whole split."""

    @property
    def terms(self) -> Callable[[Tensor, Tensor], Terms] | None:
        """What it is the mean of, where it is a mean over examples."""
        ...

    def __call__(self, outputs: Tensor, targets: Tensor) -> float: ...


class Task(ABC):
    """What is learned: one specification for all executors and for scoring.

    Outputs are of shape (B, ...) and targets too, B examples side by side: of one model, or of all
    members of a population, flattened. So nothing here may look from one example at another.

    Args:
        loss: The loss, where it is not the task's usual one.
        further: What is measured besides, by functions of all outputs of a split.
        weighted: Of examples with a weight each, the shape of a target; None: all weigh the same.
            Targets come packed then, float32 (B, D + 1), the weight last, so that no executor has
            to know of it.

    Attributes:
        name: As recipes have it.
        usual: The loss that it has unless a recipe says otherwise.
        counts: Whether targets are whole numbers.
        means: Which measures are means over examples, of those that its meter keeps the terms of.
        answers_classes: Whether each example has one class and its answer is one.
    """

    name: ClassVar[str]
    usual: ClassVar[Loss]
    counts: ClassVar[bool] = True
    means: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    answers_classes: ClassVar[bool] = False

    def __init__(
        self,
        loss: Loss | None = None,
        further: Mapping[str, FurtherMetric] | None = None,
        weighted: tuple[int, ...] | None = None,
    ) -> None:
        self.loss = self.usual if loss is None else loss
        self.further = further or {}
        self.weighted = weighted

    @property
    def plain(self) -> bool:
        """Whether the loss is the task's usual one, without arguments or weights."""
        return self.loss is self.usual and self.weighted is None

    def unpacked(self, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return targets (B, ...) as the task has them, and the weights of the examples, (B,)."""
        if self.weighted is None:
            return targets, None
        plain = targets[..., :-1].unflatten(-1, self.weighted or (1,))
        plain = plain if self.weighted else plain.squeeze(-1)
        return (plain.long() if self.counts else plain), targets[..., -1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is measured; the first two also while training."""
        return tuple(measure.name for measure in TASKS[self.name])

    @classmethod
    def check_form(cls, targets: Tensor, split: str) -> None:
        """Raise a DataError unless the targets of a split are of the task's form."""
        form = TARGETS[cls.name]
        wanted = f"{form.values}, {form.dtype} {form.shape}, for task = '{cls.name}'"
        if targets.dtype != getattr(torch, form.dtype) or targets.ndim not in form.dimensions:
            raise DataError(
                f"{split} targets: expected {wanted}, got {targets.dtype} of shape "
                f"{tuple(targets.shape)}"
            )
        if form.dtype != "float32":
            return
        good = (targets == 0) | (targets == 1) if form.values == "0 and 1" else targets.isfinite()
        if not bool(good.all()):
            at = int((~good.flatten(1 if targets.ndim > 1 else 0)).nonzero()[0][0])
            missing = not bool(targets[at].isfinite().all())
            raise DataError(
                f"{split} targets: expected {wanted}, got {targets[at].tolist()} at example {at}"
                f"{'; leave examples without a target out' if missing else ''}"
            )

    @classmethod  # noqa: B027
    def check_scored(cls, targets: Tensor, split: str) -> None:
        """Raise a DataError if a metric of the task cannot be measured on such a split."""

    @abstractmethod
    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the output for an example that is the best one for all, by the usual loss.

        Args:
            targets: What it is fitted on, (N, ...), without weights.
            others: What it is to be compared with as well, alike.
        """

    @abstractmethod
    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected for these targets, for an error message."""

    @abstractmethod
    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether outputs have the shape that these targets ask for."""

    def aligned(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the outputs as the loss takes them beside these targets."""
        return outputs

    def terms(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return the loss of every example times its weight, (B,), and the weights."""
        targets, weights = self.unpacked(targets)
        losses, own = self.loss.terms(self.aligned(outputs, targets), targets)
        if weights is None:
            return losses, own
        return losses * weights, weights if own is None else own * weights

    def mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch: the weighted mean over its examples."""
        if self.weighted is None:
            return self.loss.mean(self.aligned(outputs, targets), targets)
        losses, weights = self.terms(outputs, targets)
        assert weights is not None  # they are packed with the targets
        return losses.sum() / total(weights)

    @abstractmethod
    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return what the score is the mean of, for every example, and the weights.

        Targets are as the task has them, unpacked: a score counts every example once.
        """

    def score_of(self, mean: Tensor) -> Tensor:
        """Return the score that such a mean is."""
        return mean

    @abstractmethod
    def meter(self, members: int = 1, device: torch.device | None = None) -> Meter:
        """Return a new meter for so many members."""


class Meter(ABC):
    """Accumulates one `Score` for each of K members over batches that all of them saw.

    Args:
        task: What is measured.
        members: How many there are, K.
        device: Where the outputs come from.

    Attributes:
        parts: What is kept of one metric, for `of_blocks`; see `ask`.
        answers: What is counted of answers, where they are classes.
    """

    def __init__(self, task: Task, members: int = 1, device: torch.device | None = None) -> None:
        self.task = task
        self.members = members
        self.count = 0
        self.device = device
        self.parts: InParts | None = None
        self.answers: AnswerCounts | None = None
        self._loss = torch.zeros(2, members, dtype=torch.float64, device=device)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def ask(self, in_parts: str | None, *, answers: bool = False) -> None:
        """Say what is wanted besides scores, before anything is added.

        Args:
            in_parts: The metric that is wanted on parts of the examples; None: of none.
            answers: Whether answers are counted, where they are classes.
        """
        if in_parts is not None:
            self.parts = InParts(in_parts, self.members)
        if answers and self.task.answers_classes:
            self.answers = AnswerCounts(self.members, self.device)

    def take(self, outputs: Tensor, targets: Tensor, *, keep: bool = False) -> None:
        """Add a batch as `add` does, and keep it for the further metrics if `keep` is set."""
        self.add(outputs, targets)
        parts, more = self.parts, self.task.further
        if parts is not None and parts.metric not in (*self.task.means, *more):
            parts.keep_outputs(outputs, targets)
        if keep and more:
            targets, _ = self.task.unpacked(targets)
            same = targets.expand(self.members, *targets.shape).flatten(0, 1)
            aligned = self.task.aligned(outputs.float().flatten(0, 1), same)
            kept = aligned.unflatten(0, (self.members, -1)).cpu(), targets.cpu()
            self._kept.append(kept)
            if parts is not None and parts.metric in more:
                terms = more[parts.metric].terms
                if terms is None:
                    parts.keep_outputs(*kept)
                else:
                    parts.keep_terms(*terms(aligned, same))

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add outputs of shape (K, B, ...) for targets of shape (B, ...)."""
        self.count += len(targets)
        members = self.members
        flat = outputs.float().flatten(0, 1)
        targets = targets.expand(members, *targets.shape)
        same = targets.flatten(0, 1)
        losses, weights = self.task.terms(flat, same)
        self._loss[0] += losses.double().view(members, -1).sum(1)
        if weights is None:
            self._loss[1] += targets.shape[1]
        else:
            self._loss[1] += weights.double().view(members, -1).sum(1)
        self.keep_terms("loss", losses, weights)
        plain, _ = self.task.unpacked(same)
        outputs = self.task.aligned(flat, plain).unflatten(0, (members, -1))
        self.measure(outputs, plain.unflatten(0, (members, -1)))

    def keep_terms(self, metric: str, values: Tensor, weights: Tensor | None = None) -> None:
        """Keep the terms of a mean over examples, (K, B) or (K * B,), if they are asked for."""
        if self.parts is not None and metric == self.parts.metric:
            self.parts.keep_terms(values, weights)

    def zeros(self, *shape: int) -> Tensor:
        """Return sums that begin at 0, (K, ...)."""
        return torch.zeros(self.members, *shape, dtype=torch.float64, device=self.device)

    @abstractmethod
    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add aligned outputs (K, B, ...) for targets (K, B, ...) to whatever is kept."""

    @abstractmethod
    def results(self) -> list[Tensor]:
        """Return what the task measures besides the loss, in its order, each of shape (K,)."""

    def scores(self) -> list[Score]:
        """Return every member's score of what was added so far; NaN if nothing was."""
        names = self.task.names
        if self.count == 0:
            return [dict.fromkeys(names, float("nan")) for _ in range(self.members)]
        table = torch.stack([self._loss[0] / self._loss[1], *self.results()]).T.tolist()
        scores: list[dict[str, float]] = [dict(zip(names, row, strict=True)) for row in table]
        if self._kept:
            outputs = torch.cat([each for each, _ in self._kept], dim=1)
            targets = torch.cat([each for _, each in self._kept])
            for name, function in self.task.further.items():
                for score, own in zip(scores, outputs, strict=True):
                    score[name] = function(own, targets)
        return list[Score](scores)

    def of_blocks(self, blocks: Tensor) -> Values:
        """Return the metric of `parts` on each block of what was added, (K, blocks).

        Args:
            blocks: int64 (N,), the block of each example, from 0 on.
        """
        assert self.parts is not None  # it was asked for before
        return self.parts.of_blocks(blocks, self._of_some)

    def _of_some(self, outputs: Tensor, targets: Tensor) -> list[float]:
        """Return the metric of `parts`, no mean over examples, on some examples."""
        assert self.parts is not None
        metric = self.parts.metric
        function = self.task.further.get(metric)
        if function is None:
            meter = self.task.meter(self.members, self.device)
            meter.add(outputs, targets)
            return [score[metric] for score in meter.scores()]
        values: list[float] = []
        for own in outputs:
            try:
                values.append(function(own, targets))
            except DroplabError:  # one's own may not take a part: one without a class, for example
                values.append(float("nan"))
        return values
