"""Calibrate the two questions, absence and trends: `python -m tools.calibrate_questions`.

Prints the tables of docs/verdict.md on them, or puts them into that page with
`--write docs/verdict.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from droplab.recipe import StoppingSpec
from droplab.verdict._constant import beats
from droplab.verdict._examples import ExamplesError
from droplab.verdict._folds import outside
from droplab.verdict._margin import Margin
from droplab.verdict._method import OverSeeds
from droplab.verdict._metrics import WrittenMetric
from droplab.verdict._signflip import LEVEL, Comparison, compare
from droplab.verdict._stopped import BLOCKS, stopped_blocks
from droplab.verdict._trend import FEWEST, contrasts
from tools.calibrate import ARMS, SEEDS, fill, row

Floats = NDArray[np.float64]

EXPERIMENTS = 2000
EPOCHS = 8
EXAMPLES = 500
EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0)
BEGIN = "<!-- questions: made by python -m tools.calibrate_questions, do not edit -->"
END = "<!-- end of questions -->"

LOSS = WrittenMetric("val_loss", "validation loss", False, "", "validation")
RULE = StoppingSpec()
BY = OverSeeds(LEVEL)


@dataclass(frozen=True)
class Law:
    """How replicas scatter around the curve of their arm.

    Args:
        name: Its name in the table.
        draw: Noise of replicas with mean 0 and variance 1.
        noisier: How many times the noise of the others the first arm with dropout has.
    """

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], Floats]
    noisier: float = 1.0


LAWS = (
    Law("normal", lambda rng, shape: rng.normal(size=shape)),
    Law("heavy-tailed", lambda rng, shape: rng.standard_t(3, size=shape) / math.sqrt(3.0)),
    Law("skewed", lambda rng, shape: rng.exponential(size=shape) - 1.0),
    Law("one arm three times as noisy", lambda rng, shape: rng.normal(size=shape), 3.0),
)


def curves(rng: np.random.Generator, law: Law, arms: int, seeds: int) -> Floats:
    """Return losses of replicas, shape (arms, seeds, epochs, blocks), of one law for all arms.

    Each falls to its least at an epoch of its own and rises after it; replicas differ in their
    level, and blocks and epochs add noise.
    """
    level = law.draw(rng, (arms, seeds))
    level[1] *= law.noisier
    best = rng.integers(1, EPOCHS, size=(arms, seeds))
    away = np.arange(EPOCHS) - best[..., None]
    shape = 1.0 + 0.02 * away**2 + 0.05 * level[..., None]
    return shape[..., None] + rng.normal(0, 0.03, size=(arms, seeds, EPOCHS, BLOCKS))


def answers(found: Floats) -> tuple[Floats, Floats]:
    """Return the loss at the last epoch and stopped early, shape (arms, seeds) each."""
    weights = np.ones(BLOCKS)
    stopped = np.array(
        [[stopped_blocks(each, weights, LOSS, RULE).mean() for each in arm] for arm in found]
    )
    return found[:, :, -1].mean(axis=2), stopped


def family(values: Sequence[Floats]) -> tuple[Comparison, ...]:
    """Judge all arms to all questions, and their trends, as a verdict does."""
    rows = [each[1:] - each[:1] for each in values]
    if len(values[0]) >= FEWEST:
        rows += [contrasts(each, range(len(each))) for each in values]
    return compare(np.concatenate(rows))


@dataclass(frozen=True)
class Outcome:
    """Shares of experiments.

    Args:
        alarmed: With any false word in the family of both questions.
        apart: The same if each question were judged at 5 % by itself.
        covered: With every interval over its effect, where every arm has one.
        found: With the effect of the first arm found after the budget, in the family of both.
        alone: The same if that is asked alone.
        holm: The same by Holm's correction of paired t tests.
    """

    alarmed: float
    apart: float
    covered: float
    found: float
    alone: float
    holm: float


def simulate(law: Law, arms: int, seeds: int, effect: float = 0.0, count: int = 0) -> Outcome:
    """Return what a verdict says of simulated experiments.

    Args:
        law: How replicas scatter.
        arms: Number of arms, the baseline among them.
        seeds: Number of seeds.
        effect: An improvement of the first arm, in standard deviations of its differences after
            the budget.
        count: Number of experiments; 0 for `EXPERIMENTS`.
    """
    count = count or EXPERIMENTS
    rng = np.random.default_rng([LAWS.index(law), arms, seeds])
    spread = _spread(law)
    shifts = np.linspace(0.5, 1.5, arms - 1) * spread
    counts = np.zeros(6)
    for _ in range(count):
        values = answers(curves(rng, law, arms, seeds))
        plain = family(values)
        counts[0] += any(each.p <= 1 - LEVEL for each in plain)
        alone = [compare(each[1:] - each[:1]) for each in values]
        counts[1] += any(each.p <= 1 - LEVEL for one in alone for each in one)
        moved = [each - np.append(0.0, shifts)[:, None] for each in values]
        wide = family(moved)[: 2 * (arms - 1)]
        counts[2] += all(
            found.low <= -shift <= found.high
            for found, shift in zip(wide, [*shifts, *shifts], strict=True)
        )
        one = np.zeros(arms)
        one[1] = effect * spread
        better = [each - one[:, None] for each in values]
        counts[3] += _found(family(better)[0])
        counts[4] += _found(compare(better[0][1:] - better[0][:1])[0])
        counts[5] += holm(better[0][1:] - better[0][:1])[0]
    return Outcome(*(counts / count))


def _found(comparison: Comparison) -> bool:
    return comparison.p <= 1 - LEVEL and comparison.mean < 0


def _spread(law: Law) -> float:
    """Return the standard deviation of a difference after the budget."""
    rng = np.random.default_rng(0)
    found = curves(rng, law, 2, 20_000)[:, :, -1].mean(axis=2)
    return float((found[1] - found[0]).std())


def holm(differences: Floats) -> list[bool]:
    """Return which arms improve by Student's paired t, corrected by Holm's rule."""
    n = differences.shape[1]
    t = differences.mean(axis=1) / (differences.std(axis=1, ddof=1) / math.sqrt(n))
    p = np.array([outside(float(each), n - 1) for each in t])
    said = [False] * len(p)
    for rank, i in enumerate(np.argsort(p)):
        if p[i] > (1 - LEVEL) / (len(p) - rank):
            break
        said[i] = bool(t[i] < 0)
    return said


def absence(
    law: Law, arms: int, seeds: int, *, at_margin: bool, count: int = 0, margin: float = 1.5
) -> float:
    """Return the share of experiments in which an improvement by the margin is called absent.

    Args:
        law: How replicas scatter.
        arms: Number of arms, the baseline among them.
        seeds: Number of seeds.
        at_margin: Whether the first arm improves by exactly the margin, and the others hurt; else
            no arm has an effect.
        count: Number of experiments; 0 for `EXPERIMENTS`.
        margin: The margin in standard deviations of the differences.
    """
    count = count or EXPERIMENTS
    rng = np.random.default_rng([LAWS.index(law), arms, seeds, 7, at_margin])
    size, said = margin * math.sqrt(2.0), 0
    judged = Margin(math.nan, size, LOSS)
    for _ in range(count):
        noise = law.draw(rng, (arms, seeds))
        noise[1] *= law.noisier
        differences = noise[1:] - noise[:1]
        if at_margin:
            differences[0] -= size
            differences[1:] += 20.0
        examples = ExamplesError(1e-9, EXAMPLES - 1)
        said += all(judged.excluded(each, np.ones(seeds), BY, examples) for each in differences)
    return said / count


def population(seeds: int, share: float, count: int = 0) -> tuple[float, float]:
    """Return how often intervals cover an effect in the population: of seeds, with the examples.

    Args:
        seeds: Number of seeds.
        share: The standard error over examples, in standard errors over seeds.
        count: Number of experiments; 0 for `EXPERIMENTS`.
    """
    count = count or EXPERIMENTS
    rng = np.random.default_rng([seeds, round(100 * share)])
    covered = np.zeros(2)
    for _ in range(count):
        each = rng.normal(0, share / math.sqrt(seeds) * math.sqrt(EXAMPLES), EXAMPLES)
        differences = rng.normal(size=seeds) + each.mean()
        (found,) = compare(differences[None])
        error = ExamplesError(float(each.std(ddof=1)) / math.sqrt(EXAMPLES), EXAMPLES - 1)
        low, high = error.widened(found.mean, found.low, found.high, LEVEL)
        covered += (found.low <= 0 <= found.high, low <= 0 <= high)
    return float(covered[0]) / count, float(covered[1]) / count


def base_rate(seeds: int, share: float, margin: float = 0.0, count: int = 0) -> float:
    """Return how often an arm is shown to beat a constant answer.

    Args:
        seeds: Number of seeds.
        share: The standard error over examples, in standard errors over seeds.
        margin: By how much it does in the population, in standard errors over examples.
        count: Number of experiments; 0 for `EXPERIMENTS`.
    """
    count = count or EXPERIMENTS
    rng = np.random.default_rng([seeds, round(100 * share), 5])
    said, spread = 0, share / math.sqrt(seeds)
    for _ in range(count):
        each = rng.normal(margin * spread, spread * math.sqrt(EXAMPLES), EXAMPLES)
        margins = rng.normal(size=seeds) + each.mean()
        said += beats(margins, float(each.std(ddof=1)) / math.sqrt(EXAMPLES))
    return said / count


def looks(seeds: int, level: float, count: int = 0) -> float:
    """Return how often one of two looks at two arms says something false.

    Args:
        seeds: Seeds at the first look; the second has twice as many.
        level: Coverage at each look.
        count: Number of experiments; 0 for `EXPERIMENTS`.
    """
    count = count or EXPERIMENTS
    rng = np.random.default_rng([seeds, round(1000 * level)])
    said = 0
    for _ in range(count):
        runs = rng.normal(size=(3, 2 * seeds))
        differences = runs[1:] - runs[:1]
        said += any(
            found.p <= 1 - level
            for part in (differences[:, :seeds], differences)
            for found in compare(part, level=level)
        )
    return said / count


def tables(count: int = EXPERIMENTS, said: Callable[[str], None] = lambda line: None) -> str:
    """Return all tables as Markdown."""
    lines: list[str] = []
    for line in chain(
        _words(count), _absence(count), _population(count), _base_rate(count), _looks(count)
    ):
        said(line)
        lines.append(line)
    return "\n".join(lines)


def _words(count: int) -> Iterator[str]:
    yield (
        f"Both questions, with trends from {FEWEST} rates on, in per cent of {count} experiments. "
        "False words where no arm differs: in one family, and if each question were judged at 5 % "
        "by itself. Coverage where every arm improves by 0.5 to 1.5 standard deviations. Power: "
        "how often an improvement of the first arm by 1.5 is found after the budget, by one family "
        "for both questions, if only that is asked, and by Holm's rule over paired t tests."
    )
    yield ""
    yield row(
        "replicas", "arms", "seeds", "false", "apart", "coverage", "power", "asked alone", "Holm"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for law in LAWS:
        for arms in ARMS:
            for seeds in SEEDS:
                found = simulate(law, arms, seeds, 1.5, count)
                rates = (found.alarmed, found.apart, found.covered)
                power = (found.found, found.alone, found.holm)
                yield row(
                    *(law.name, arms, seeds),
                    *(f"{100 * each:.1f}" for each in rates),
                    *(f"{100 * each:.0f}" for each in power),
                )
    yield ""


def _absence(count: int) -> Iterator[str]:
    yield (
        f'How often "does not help by the margin or more" is said of all arms, in per cent of '
        f"{count} experiments; the margin is 1.5 standard deviations of the differences. False: "
        "one arm improves by exactly the margin. Power: no arm has an effect."
    )
    yield ""
    heads = [f"{what}, {n} seeds" for what in ("false", "power") for n in SEEDS]
    yield row("replicas", "arms", *heads)
    yield "|---|---|" + "---|" * (2 * len(SEEDS))
    for law in LAWS:
        for arms in ARMS:
            cells = [
                f"{100 * absence(law, arms, seeds, at_margin=at, count=count):.1f}"
                for at in (True, False)
                for seeds in SEEDS
            ]
            yield row(law.name, arms, *cells)
    yield ""


def _population(count: int) -> Iterator[str]:
    yield (
        "How often intervals cover an effect in the population of examples, in per cent of "
        f"{count} experiments on {EXAMPLES} examples: of seeds alone, and with the examples' error:"
    )
    yield ""
    yield row("examples' error over seeds' error", "seeds", "seeds alone", "with examples")
    yield "|---|---|---|---|"
    for share in (0.5, 1.0, 2.0):
        for seeds in SEEDS:
            alone, wide = population(seeds, share, count)
            yield row(share, seeds, f"{100 * alone:.1f}", f"{100 * wide:.1f}")
    yield ""


def _base_rate(count: int) -> Iterator[str]:
    yield (
        f"How often an arm is shown to beat a constant answer, in per cent of {count} experiments "
        f"on {EXAMPLES} examples: where it is no better, and where it is by 4 standard errors over "
        "examples:"
    )
    yield ""
    yield row("examples' error over seeds' error", "seeds", "no better", "better")
    yield "|---|---|---|---|"
    for share in (0.5, 1.0, 2.0):
        for seeds in SEEDS:
            rates = [base_rate(seeds, share, margin, count) for margin in (0.0, 4.0)]
            yield row(share, seeds, *(f"{100 * each:.1f}" for each in rates))
    yield ""


def _looks(count: int) -> Iterator[str]:
    yield (
        f"False words at two looks, the second with twice the seeds, in per cent of {count} "
        "experiments with three arms:"
    )
    yield ""
    yield row("seeds at first", "each look at 5 %", "each at 2.5 %")
    yield "|---|---|---|"
    for seeds in (7, 8):
        rates = [f"{100 * looks(seeds, level, count):.1f}" for level in (0.95, 0.975)]
        yield row(seeds, *rates)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    fill(
        "python -m tools.calibrate_questions",
        __doc__,
        tables,
        (BEGIN, END),
        EXPERIMENTS,
        arguments,
    )


if __name__ == "__main__":
    main()
