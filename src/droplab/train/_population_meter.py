"""Loss, accuracy and calibration error of a whole population at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.data import Split
from droplab.train._evaluate import EVAL_BATCH
from droplab.train._meter import ECE_BINS, Score
from droplab.train._population import Population
from droplab.train._population_step import record_population

EVAL_EXAMPLES = 8192
"""Forward passes of one example that are run together, over all members."""


class PopulationMeter:
    """Accumulates one `Score` for each of K members over batches that all of them saw.

    Args:
        members: How many there are, K.

    Example:
        >>> meter = PopulationMeter(2)
        >>> logits = torch.tensor([[[4.0, 0.0], [0.0, 4.0]], [[4.0, 0.0], [4.0, 0.0]]])
        >>> meter.add(logits, torch.tensor([0, 0]))
        >>> [score.accuracy for score in meter.scores()]
        [0.5, 1.0]
    """

    def __init__(self, members: int, device: torch.device | None = None) -> None:
        self._members = members
        self._count = 0
        self._sums = torch.zeros(2, members, dtype=torch.float64, device=device)
        size = members * ECE_BINS
        self._bins = torch.zeros(2, size, dtype=torch.float64, device=device)
        self._first = torch.arange(members, device=device)[:, None] * ECE_BINS

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Add logits of shape (K, B, C) for integer targets of shape (B,)."""
        log_probabilities = F.log_softmax(logits.float(), dim=2)
        index = targets.expand(self._members, -1)[:, :, None]
        losses = -log_probabilities.gather(2, index).squeeze(2)
        confidence, predicted = log_probabilities.max(dim=2)
        confidence = confidence.exp().double()
        correct = (predicted == targets).double()
        self._count += len(targets)
        self._sums[0] += losses.double().sum(1)
        self._sums[1] += correct.sum(1)
        # bins are (0, 1/15], (1/15, 2/15], ...: the upper edge belongs to the bin
        bins = (confidence * ECE_BINS).ceil().long().sub_(1).clamp_(0, ECE_BINS - 1) + self._first
        for row, weights in enumerate((confidence, correct)):
            flat = weights.reshape(-1)
            size = self._members * ECE_BINS
            self._bins[row] += torch.bincount(bins.reshape(-1), flat, minlength=size)

    def scores(self) -> list[Score]:
        """Return every member's score of what was added so far; NaN if nothing was."""
        if self._count == 0:
            return [Score(float("nan"), float("nan"), float("nan"))] * self._members
        gaps = (self._bins[0] - self._bins[1]).abs().view(self._members, ECE_BINS).sum(1)
        table = (torch.stack((*self._sums, gaps)) / self._count).T.tolist()
        return [Score(*row) for row in table]


class PopulationEvaluation:
    """Scores all members over a split, in eval mode; all of them read the same batches.

    Args:
        population: The members.
        captured: Whether the forward pass is recorded and replayed.
    """

    def __init__(self, population: Population, *, captured: bool) -> None:
        self._population = population
        self._captured = captured
        self._replays: dict[torch.Size, Callable[[Tensor], Tensor]] = {}

    def __call__(self, split: Split) -> list[Score]:
        """Return the score of every member over all examples of `split`."""
        population = self._population
        size = max(64, min(EVAL_BATCH, EVAL_EXAMPLES // population.members))
        meter = PopulationMeter(population.members, population.device)
        flags = [(module, module.training) for module in population.template.modules()]
        population.template.eval()
        try:
            for inputs, targets in split.batches(torch.arange(len(split)), size):
                logits = self._logits(inputs.to(population.device))
                with torch.inference_mode():
                    meter.add(logits, targets.to(population.device))
        finally:
            for module, flag in flags:
                module.training = flag
        return meter.scores()

    def _logits(self, inputs: Tensor) -> Tensor:
        if not self._captured:
            with torch.no_grad():
                return eval_logits(self._population, inputs)
        replay = self._replays.get(inputs.shape)
        if replay is None:
            with torch.no_grad():
                replay = record_population(eval_logits, self._population, inputs)
            self._replays[inputs.shape] = replay
        with torch.inference_mode():
            return replay(inputs)


def eval_logits(population: Population, inputs: Tensor) -> Tensor:
    """Return the logits of every member for the same inputs, (K, B, C)."""
    return population.logits(inputs, shared=True).flatten(0, 1)
