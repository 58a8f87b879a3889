"""Calibrate the verdict on simulated experiments: `python tools/calibrate.py`.

Prints the tables of docs/verdict.md, or puts them into that page with `--write docs/verdict.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from droplab.errors import ArgumentError
from droplab.verdict._signflip import LEVEL, Comparison, compare
from droplab.verdict._skewed import compare_skewed

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
Test = Callable[[Floats], Sequence[Comparison]]

EXPERIMENTS = 2000
ARMS = (2, 4, 9)
SEEDS = (6, 8, 12)
EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0)
BEGIN = "<!-- calibration: made by python tools/calibrate.py, do not edit -->"
END = "<!-- end of calibration -->"


@dataclass(frozen=True)
class Noise:
    """How the results of replicas scatter around the mean of their arm.

    Args:
        name: Its name in the table.
        draw: Noise of replicas, shape (arms, seeds), with mean 0 and variance 1.
        baseline: How the baseline's noise enters the differences: -1 as it is subtracted, where
            arm and baseline follow one law, which makes differences symmetric; 1 mirrored, which
            makes them skewed; 0 not at all, which makes them as skewed as the noise.
    """

    name: str
    draw: Draw
    baseline: float = -1.0


NOISES = (
    Noise("normal", lambda rng, shape: rng.normal(size=shape)),
    Noise("heavy-tailed runs", lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3.0)),
    Noise("skewed runs", lambda rng, shape: rng.exponential(size=shape) - 1.0),
    Noise("skewed differences", lambda rng, shape: rng.exponential(size=shape) - 1.0, 1.0),
    Noise("exponential differences", lambda rng, shape: rng.exponential(size=shape) - 1.0, 0.0),
)
NORMAL = NOISES[0]
SKEWED = tuple(noise for noise in NOISES if noise.baseline != -1)


def experiments(
    noise: Noise, arms: int, seeds: int, effects: Floats, count: int
) -> Iterator[Floats]:
    """Yield the paired differences of simulated experiments, shape (arms - 1, seeds).

    Differences have standard deviation 1; they share the baseline's noise, as in a real run.
    The same setting always gives the same experiments.
    """
    rng = np.random.default_rng([NOISES.index(noise), arms, seeds])
    for _ in range(count):
        runs = noise.draw(rng, (arms, seeds))
        differences = runs[1:] + noise.baseline * runs[:1]
        yield differences / np.hypot(1.0, noise.baseline) + effects[:, None]


@dataclass(frozen=True)
class Outcome:
    """Shares of experiments.

    Args:
        alarmed: With "helps" or "hurts" for an arm that has no effect.
        covered: With every interval over its arm's effect.
        found: With the right word for the first arm.
    """

    alarmed: float
    covered: float
    found: float


def simulate(
    noise: Noise,
    arms: int,
    seeds: int,
    effects: Sequence[float] = (),
    count: int = EXPERIMENTS,
    test: Test = compare,
) -> Outcome:
    """Return what the verdict says of simulated experiments.

    Args:
        noise: How replicas scatter.
        arms: Number of arms, the baseline among them.
        seeds: Number of seeds.
        effects: Effects of the first arms, in standard deviations of the differences; 0 beyond.
        count: Number of experiments.
        test: `compare` for the words, `compare_skewed` for the words without a caveat on skewness.
    """
    true = np.zeros(arms - 1)
    true[: len(effects)] = effects
    alarmed = covered = found = 0
    for differences in experiments(noise, arms, seeds, true, count):
        results = test(differences)
        said = [result.p <= 1 - LEVEL for result in results]
        alarmed += any(word and effect == 0 for word, effect in zip(said, true, strict=True))
        covered += all(r.low <= effect <= r.high for r, effect in zip(results, true, strict=True))
        found += said[0] and results[0].mean * true[0] > 0
    return Outcome(alarmed / count, covered / count, found / count)


def false_alarm_row(noise: Noise, arms: int, count: int = EXPERIMENTS, test: Test = compare) -> str:
    """Return a row of the table of false alarms."""
    found = [simulate(noise, arms, seeds, (), count, test).alarmed for seeds in SEEDS]
    return row(noise.name, arms, *(f"{100 * share:.1f}" for share in found))


def coverage_row(noise: Noise, arms: int, count: int = EXPERIMENTS, test: Test = compare) -> str:
    """Return a row of the table of coverage: the lowest over none, half and all arms different."""
    others = arms - 1
    rising = [1.0 + i / max(others - 1, 1) for i in range(others)]
    patterns: list[list[float]] = [[], [1.5] * ((others + 1) // 2), rising]
    found = [
        min(simulate(noise, arms, seeds, effects, count, test).covered for effects in patterns)
        for seeds in SEEDS
    ]
    return row(noise.name, arms, *(f"{100 * share:.1f}" for share in found))


def power_row(arms: int, seeds: int, count: int = EXPERIMENTS, test: Test = compare) -> str:
    """Return a row of the table of power."""
    found = [simulate(NORMAL, arms, seeds, [effect], count, test).found for effect in EFFECTS]
    return row(arms, seeds, *(f"{100 * share:.0f}" for share in found))


def row(*cells: object) -> str:
    """Return a row of a table in Markdown."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _tables_of(noises: Sequence[Noise], count: int, test: Test) -> Iterator[str]:
    """Yield the lines of three tables, Markdown: false alarms, coverage, power."""
    seeds = [f"{n} seeds" for n in SEEDS]
    yield f"False alarms, in per cent of {count} experiments without any effect:"
    yield ""
    yield row("noise", "arms", *seeds)
    yield "|---|---|---|---|---|"
    for noise in noises:
        for arms in ARMS:
            yield false_alarm_row(noise, arms, count, test)
    yield ""
    yield (
        f"Simultaneous coverage, in per cent of {count} experiments; the lowest of three cases: no "
        "arm differs, half of them do (1.5 standard deviations), all do (1 to 2):"
    )
    yield ""
    yield row("noise", "arms", *seeds)
    yield "|---|---|---|---|---|"
    for noise in noises:
        for arms in ARMS:
            yield coverage_row(noise, arms, count, test)
    yield ""
    yield (
        f"Power: how often an effect is found, in per cent of {count} experiments with normal "
        "noise in which one arm has it. Effects are in standard deviations of the paired "
        "differences:"
    )
    yield ""
    yield row("arms", "seeds", *EFFECTS)
    yield "|---|---|" + "---|" * len(EFFECTS)
    for arms in ARMS:
        for n in SEEDS:
            yield power_row(arms, n, count, test)


def tables(count: int = EXPERIMENTS, said: Callable[[str], None] = lambda line: None) -> str:
    """Return all tables as Markdown: of every word, and of the words without a caveat."""
    lines: list[str] = []
    for title, noises, test in (
        ("### Every word", NOISES, compare),
        ("### Words without the caveat on skewed differences", SKEWED, compare_skewed),
    ):
        for line in chain((title, ""), _tables_of(noises, count, test), ("",)):
            said(line)
            lines.append(line)
    return "\n".join(lines[:-1])


def written(page: str, text: str, mark: str = BEGIN, last: str = END) -> str:
    """Return the page with the text between its marks.

    Raises:
        ArgumentError: The marks are not there.
    """
    head, begin, rest = page.partition(mark)
    _, end, tail = rest.partition(last)
    if not begin or not end:
        raise ArgumentError("calibrate: expected a page with the marks of the calibration tables")
    return f"{head}{mark}\n{text}\n{last}{tail}"


def fill(
    prog: str,
    about: str | None,
    tables: Callable[..., str],
    marks: tuple[str, str],
    experiments: int,
    arguments: Sequence[str] | None,
) -> None:
    """Run the command of a calibration: print its tables, or write them between a page's marks."""
    parser = argparse.ArgumentParser(prog=prog, description=about, allow_abbrev=False)
    parser.add_argument("--experiments", type=int, default=experiments)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args(arguments)
    if options.write is None:
        print(tables(options.experiments))
        return
    page = options.write.read_text(encoding="utf-8")
    text = tables(options.experiments, lambda line: print(line, file=sys.stderr, flush=True))
    options.write.write_text(written(page, text, *marks), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    fill("python tools/calibrate.py", __doc__, tables, (BEGIN, END), EXPERIMENTS, arguments)


if __name__ == "__main__":
    main()
