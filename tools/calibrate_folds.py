"""Calibrate the verdict over folds on real learning: `python -m tools.calibrate_folds`.

Prints the tables of docs/verdict.md on folds, or puts them into that page with
`--write docs/verdict.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from droplab.verdict._folds import compare_folds, critical
from droplab.verdict._signflip import LEVEL, Comparison, compare
from tools.calibrate import fill, row

Floats = NDArray[np.float64]
Test = Callable[[Floats, int], Sequence[Comparison]]

EXPERIMENTS, FLIPPED = 1000, 200
"""Tables of which there is one for each experiment; sign flips over 30 folds take long."""
ROWS, COLUMNS, RIDGE = 300, 5, 1.0
ARMS = (2, 4, 9)
UNITS = ((5, 1), (10, 1), (10, 3))
"""Folds and repeats."""
LARGEST = ((2, 3), (3, 2), (5, 1), (5, 2), (10, 1), (10, 2), (10, 10), (20, 1))
"""Folds and repeats whose smallest visible difference is listed."""
BEGIN = "<!-- folds: made by python -m tools.calibrate_folds, do not edit -->"
END = "<!-- end of folds -->"


@dataclass(frozen=True)
class Problem:
    """What is learned, by arms of the same worth: each sees columns of its own, all alike.

    Args:
        name: Its name in the table.
        signal: What each arm's columns contribute, in standard deviations of the noise.
        wrong: Whether the share of wrong signs is measured, rather than the squared error.
    """

    name: str
    signal: float
    wrong: bool = False


PROBLEMS = (
    Problem("squared error", 0.5),
    Problem("share of wrong classes", 0.5, wrong=True),
    Problem("squared error, nothing to learn", 0.0),
)


def experiments(
    problem: Problem, arms: int, folds: int, repeats: int, count: int
) -> Iterator[Floats]:
    """Yield the differences of simulated experiments, shape (arms - 1, folds x repeats).

    Each is one table of 300 rows on which ridge regressions are cross-validated, one an arm. No
    arm is better than another on average over tables. The same setting always gives the same.
    """
    rng = np.random.default_rng([PROBLEMS.index(problem), arms, folds, repeats])
    weights = np.full(COLUMNS, problem.signal / math.sqrt(COLUMNS))
    for _ in range(count):
        inputs = rng.normal(size=(arms, ROWS, COLUMNS))
        targets = (inputs @ weights).sum(axis=0) + rng.normal(size=ROWS)
        if problem.wrong:
            targets = np.sign(targets)
        parts = [
            _losses(problem, inputs, targets, rng.permutation(ROWS), folds) for _ in range(repeats)
        ]
        losses = np.concatenate(parts, axis=1)
        yield losses[1:] - losses[:1]


def _losses(
    problem: Problem, inputs: Floats, targets: Floats, order: NDArray[np.int64], folds: int
) -> Floats:
    """Return what each arm loses on each fold, trained on the others, shape (arms, folds)."""
    rows = order.reshape(folds, -1)
    x, y = inputs[:, rows], targets[rows]  # (arms, folds, rows of a fold, columns)
    squares, products = np.swapaxes(x, 2, 3) @ x, np.swapaxes(x, 2, 3) @ y[None, ..., None]
    left = squares.sum(axis=1, keepdims=True) - squares + RIDGE * np.eye(COLUMNS)
    right = products.sum(axis=1, keepdims=True) - products
    predicted = (x @ np.linalg.solve(left, right))[..., 0]
    found = np.sign(predicted) != y if problem.wrong else (predicted - y) ** 2
    return found.mean(axis=2)


def corrected(differences: Floats, folds: int) -> Sequence[Comparison]:
    """Judge by the corrected t, as a verdict over folds does."""
    return compare_folds(differences, folds)


def flipped(differences: Floats, folds: int) -> Sequence[Comparison]:
    """Judge by sign flips, as if folds were seeds."""
    return compare(differences)


def alarmed(
    problem: Problem,
    arms: int,
    units: tuple[int, int],
    count: int = EXPERIMENTS,
    test: Test = corrected,
) -> float:
    """Return the share of experiments with "helps" or "hurts" for some arm."""
    folds, repeats = units
    return (
        sum(
            any(found.p <= 1 - LEVEL for found in test(differences, folds))
            for differences in experiments(problem, arms, folds, repeats, count)
        )
        / count
    )


def false_alarm_row(
    problem: Problem, arms: int, count: int = EXPERIMENTS, test: Test = corrected
) -> str:
    """Return a row of the table of false alarms."""
    found = [alarmed(problem, arms, units, count, test) for units in UNITS]
    return row(problem.name, arms, *(f"{100 * share:.1f}" for share in found))


def visible(units: tuple[int, int], arms: int) -> float:
    """Return from which mean on a word is given, in standard deviations of the differences."""
    folds, repeats = units
    n = folds * repeats
    return critical(n - 1, arms - 1, LEVEL) * math.sqrt(1 / n + 1 / (folds - 1))


def visible_row(units: tuple[int, int]) -> str:
    """Return a row of the table of what can be seen."""
    return row(f"{units[0]} x {units[1]}", *(f"{visible(units, arms):.2f}" for arms in ARMS))


def _alarms(count: int, test: Test, sizes: Sequence[int]) -> Iterator[str]:
    yield row("measured", "arms", *(f"{folds} x {repeats}" for folds, repeats in UNITS))
    yield "|---|---|" + "---|" * len(UNITS)
    for problem in PROBLEMS:
        for arms in sizes:
            yield false_alarm_row(problem, arms, count, test)


def tables(count: int = EXPERIMENTS, said: Callable[[str], None] = lambda line: None) -> str:
    """Return all tables as Markdown."""
    lines: list[str] = []
    for line in chain(
        (
            f"False words, in per cent of {count} tables on which no arm is better than another, "
            "with folds x repeats:",
            "",
        ),
        _alarms(count, corrected, ARMS),
        ("", f"The first {min(count, FLIPPED)} of them, if sign flips were used on folds:", ""),
        _alarms(min(count, FLIPPED), flipped, ARMS[:2]),
        (
            "",
            "From which mean difference on a word is given, in standard deviations of the "
            "differences of folds:",
            "",
            row("folds x repeats", *(f"{n} arms" for n in ARMS)),
            "|---|" + "---|" * len(ARMS),
        ),
        map(visible_row, LARGEST),
    ):
        said(line)
        lines.append(line)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    fill("python -m tools.calibrate_folds", __doc__, tables, (BEGIN, END), EXPERIMENTS, arguments)


if __name__ == "__main__":
    main()
