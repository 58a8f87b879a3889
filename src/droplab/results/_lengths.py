"""How long the trials of somebody else are, and the last epoch at which all can be judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from droplab.errors import ArgumentError

Trial = tuple[str, int]
"""An arm and a seed."""


def scored(
    measured: Mapping[Trial, Mapping[int, dict[str, float]]], decisive: Sequence[str]
) -> tuple[dict[Trial, dict[int, dict[str, float]]], list[str]]:
    """Return the rows in which the trial was scored, and what is to be said of the others.

    Logs have rows of other things between. Where no trial has a number in what decides, none was
    scored; where a later row of the trial has one, it did not diverge.
    """
    scored = {n for rows in measured.values() for n, v in rows.items() if _sound(v, decisive)}
    found: dict[Trial, dict[int, dict[str, float]]] = {}
    count = 0
    for trial, rows in measured.items():
        latest = max((n for n, values in rows.items() if _sound(values, decisive)), default=0)
        kept = {
            n: values
            for n, values in rows.items()
            if _sound(values, decisive) or (n > latest and n in scored)
        }
        found[trial] = kept or dict(rows)
        count += len(rows) - len(found[trial])
    if not count:
        return found, []
    what = "One row has" if count == 1 else f"{count} rows have"
    names = " and ".join(f"'{name}'" for name in decisive)
    return found, [
        f"{what} no number in {names} where no trial has one, or before a later one of the same "
        "trial: left out."
    ]


def _sound(values: Mapping[str, float], decisive: Sequence[str]) -> bool:
    return all(math.isfinite(values[name]) for name in decisive)


@dataclass(frozen=True)
class Length:
    """How long trials are.

    Attributes:
        last: The last epoch that all trials have, but for those that diverged.
        lost: The trials that diverged.
        shortest: The first trial that goes no further than any other.
        gaps: Whether a trial goes on after the last epoch, though no further than the others.
    """

    last: int
    lost: frozenset[Trial]
    shortest: Trial
    gaps: bool

    @classmethod
    def of(
        cls,
        trials: Mapping[Trial, Mapping[int, dict[str, float]]],
        decisive: Sequence[str],
        where: str,
    ) -> Length:
        """Compare the trials."""
        ends = {trial: max(rows) for trial, rows in trials.items()}
        lost = {t for t, rows in trials.items() if not _sound(rows[ends[t]], decisive)}
        sound = [trial for trial in trials if trial not in lost]
        if not sound:
            raise ArgumentError(
                f"{where}: no trial ends with a number in '{decisive[0]}', so there is nothing to "
                "judge"
            )
        common = {n for n in trials[sound[0]] if all(n in trials[trial] for trial in sound)}
        if not common:
            raise ArgumentError(
                f"{where}: no epoch is common to all trials, so there is none to judge them at; "
                "keep rows of the same epochs for each"
            )
        shortest = min(sound, key=ends.__getitem__)
        return cls(max(common), frozenset(lost), shortest, ends[shortest] > max(common))

    def kept(self, trial: Trial, epoch: int) -> bool:
        """Return whether a row is kept: with gaps, none after the last common epoch is."""
        return not self.gaps or epoch <= self.last or trial in self.lost

    def said(self, epochs: int) -> list[str]:
        """Say which trial is shorter than others."""
        if self.last == epochs:
            return []
        arm, seed = self.shortest
        return [f"No trial is shorter than that of '{arm}' with seed {seed}."]
