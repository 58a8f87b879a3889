"""Work out what effect seeds can see: `python tools/power.py`, `--write` puts it in its place.

An arm with the effect d is found by the test of `droplab.verdict.compare` exactly when its interval
for the noise alone begins above -d, since the interval is the inversion of that test. So the d that
is found in 80 % of experiments is the 80 % quantile of what that beginning is below 0, in simulated
experiments in which a baseline and all arms follow one normal law.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from droplab.verdict import compare
from droplab.verdict._power import LEVELS, POWER, SEEDS, TESTS
from droplab.verdict._signflip import enough

PLACE = Path(__file__).parents[1] / "src" / "droplab" / "verdict" / "_power.py"
BEGIN, END = "# made by python tools/power.py, do not edit\n", "# end of what it made\n"
SAMPLES, LEAST, MANY = 8000, 500, 400_000

Floats = NDArray[np.float64]


def differences(rng: np.random.Generator, tests: int, seeds: int) -> Floats:
    """Return paired differences with variance 1, which share the noise of their baseline."""
    noise = rng.normal(size=(tests + 1, seeds)) / math.sqrt(2)
    return noise[1:] - noise[0]


def effect(tests: int, seeds: int, level: float) -> float:
    """Return the effect that is found with probability `POWER`, times the root of the seeds."""
    if not enough(seeds, level):
        return math.inf
    rng = np.random.default_rng([tests, seeds])
    ends = [
        -found.low
        for _ in range(max(LEAST, SAMPLES // tests))
        for found in compare(differences(rng, tests, seeds), level=level)
    ]
    return math.sqrt(seeds) * float(np.quantile(ends, POWER))


def limit(tests: int, level: float) -> float:
    """Return the same for any number of seeds, where means are normal and spreads known."""
    clearest = np.abs(differences(np.random.default_rng(tests), tests, MANY)).max(axis=0)
    return float(np.quantile(clearest, level)) + 0.8416


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    lines = ["_EFFECTS: Mapping[float, tuple[tuple[float, ...], ...]] = {\n"]
    for level in LEVELS:
        lines.append(f"    {level}: (\n")
        for tests in TESTS:
            row = [effect(tests, seeds, level) for seeds in SEEDS]
            shown = ", ".join(f"{value:.2f}" if value < 1e9 else "math.inf" for value in row)
            lines.append(f"        ({shown}, {limit(tests, level):.2f}),\n")
            print(level, tests, shown, flush=True)
        lines.append("    ),\n")
    lines.append("}\n")
    if write:
        before, _, rest = PLACE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PLACE.write_text(before + BEGIN + "".join(lines) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
