"""The examples' own error: what another draw of validation examples would change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from droplab.results import RunResult
from droplab.verdict._folds import critical

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExamplesError:
    """The standard error over examples of an arm's difference to the baseline.

    Attributes:
        error: The standard error.
        freedom: Its degrees of freedom.
    """

    error: float
    freedom: int

    def widened(self, mean: float, low: float, high: float, level: float) -> tuple[float, float]:
        """Return an interval of seeds with this error added: both are independent.

        Example:
            >>> ExamplesError(0.0, 7).widened(-0.3, -0.4, -0.2, 0.95)
            (-0.4, -0.2)
        """
        reach = critical(self.freedom, 1, level) * self.error
        return mean - math.hypot(mean - low, reach), mean + math.hypot(high - mean, reach)


def per_example(result: RunResult, metric: str) -> dict[tuple[str, int], tuple[Floats, Floats]]:
    """Return the metric that decides at the last epoch, of each example, and its weights."""
    if metric != result.recipe.primary:
        return {}
    return {
        (row.arm, row.seed): (
            np.asarray(row.values, dtype=np.float64),
            np.asarray(row.weights, dtype=np.float64),
        )
        for row in result.examples
    }


def of_examples(
    known: dict[tuple[str, int], tuple[Floats, Floats]], arm: str, baseline: str, seeds: list[int]
) -> ExamplesError | None:
    """Return the error of the mean over examples of an arm's difference, averaged over seeds."""
    both = [seed for seed in seeds if (arm, seed) in known and (baseline, seed) in known]
    sizes = {len(known[name, seed][0]) for seed in both for name in (arm, baseline)}
    if not both or len(sizes) != 1:
        return None
    mean = np.mean([known[arm, seed][0] - known[baseline, seed][0] for seed in both], axis=0)
    return _error(mean, known[arm, both[0]][1])


def of_blocks(blocks: Floats, weights: Floats, i: int, baseline: int) -> ExamplesError | None:
    """Return the same from blocks of examples, shape (arms, seeds, blocks)."""
    differences = blocks[i] - blocks[baseline]
    there = np.isfinite(differences).all(axis=1)
    if not there.any():
        return None
    return _error(differences[there].mean(axis=0), weights[i][there][0])


def _error(values: Floats, weights: Floats) -> ExamplesError | None:
    """Return the error of a weighted mean, with the correction for estimating it by itself."""
    kept = weights > 0
    values, weights = values[kept], weights[kept]
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    share = weights / weights.sum()
    off = values - share @ values
    squares = float((share**2) @ (off**2)) * len(values) / (len(values) - 1)
    return ExamplesError(math.sqrt(squares), len(values) - 1)
