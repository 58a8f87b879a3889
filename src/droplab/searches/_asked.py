"""What determines the proposals of a search, kept with it and compared when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from droplab.errors import ArgumentError, RunError, quote
from droplab.limits import SEEDS
from droplab.numeric import whole
from droplab.recipe import Recipe
from droplab.rng import check_seed
from droplab.searches._spec import SpaceSpec

TRIALS, BATCH, SEARCH_SEEDS = 32, 8, 4
"""Plans, plans of a generation, and seeds of each, unless somebody says otherwise."""

_MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Asked:
    """The settings of a search.

    Args:
        trials: How many plans are proposed.
        batch: How many of them are trained together, before Optuna hears of any.
        seeds: How many seeds each is trained with.
        confirm_seeds: How many fresh seeds the winner and the baseline are trained with.
        sampler: One of `SAMPLERS`.
        sampler_seed: Its seed.
        finalists: How many plans are trained again; with two objectives it is the Pareto front.
        fresh: "test" or "validation": what the winner is judged on; None: see `divide`.
        halving: Whether half of a generation is given up after each doubling of its seeds; None:
            with one objective and several seeds. A winner of few seeds is one of luck.
    """

    trials: int = TRIALS
    batch: int = BATCH
    seeds: int = SEARCH_SEEDS
    confirm_seeds: int | None = None
    sampler: str = "tpe"
    sampler_seed: int = 0
    finalists: int = 1
    fresh: str | None = None
    halving: bool | None = None

    def __post_init__(self) -> None:
        for name, most in (
            ("trials", _MOST_TRIALS),
            ("batch", _MOST_TRIALS),
            ("seeds", SEEDS // 2),
            ("finalists", 100),
        ):
            _count(getattr(self, name), name, most)
        if self.confirm_seeds is not None:
            _count(self.confirm_seeds, "confirm_seeds", SEEDS // 2)
        check_seed(self.sampler_seed, where="sampler_seed")
        if self.halving and self.seeds < 2:
            raise ArgumentError(
                f"halving: expected at least 2 seeds, after the first of which half of the plans "
                f"are given up, got {self.seeds}"
            )

    def decided(self, objectives: int) -> Asked:
        """Return the settings with what follows from how many objectives there are.

        Raises:
            ArgumentError: If half of the plans are to be given up by two objectives.
        """
        if objectives > 1 and self.halving:
            raise ArgumentError(
                "halving: expected one objective, by which half of the plans are given up, got "
                f"{objectives}"
            )
        if self.halving is not None:
            return self
        return replace(self, halving=objectives == 1 and self.seeds > 1)

    @property
    def rungs(self) -> tuple[tuple[int, int], ...]:
        """From which to which of its seeds each rung of a generation trains.

        Example:
            >>> Asked(seeds=4, halving=True).rungs, Asked(seeds=4).rungs
            (((0, 1), (1, 2), (2, 4)), ((0, 4),))
        """
        if not self.halving:
            return ((0, self.seeds),)
        rungs, start, stop = [(0, 1)], 1, 2
        while start < self.seeds:
            rungs.append((start, min(stop, self.seeds)))
            start, stop = stop, 2 * stop
        return tuple(rungs)

    def to_dict(
        self, recipe: Recipe, space: SpaceSpec, warm: Mapping[str, str], versions: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        parts = [asdict(part) for part in space.parts]
        return {
            **asdict(self),
            "recipe": recipe.digest,
            "parts": [{**part, "names": list(part["names"])} for part in parts],
            "objective": list(space.objective),
            "constraints": list(map(str, space.constraints)),
            "kinds": list(space.kinds),
            "schedules": ["none" if s is None else str(s) for s in space.schedules],
            "warm": dict(warm),
            **versions,
        }


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: object) -> None:
    """Raise a RunError if a search would go on with other settings than it began with."""
    found = [
        f"{key}: it has {quote(before.get(key))}, asked for {quote(now.get(key))}"
        for key in dict.fromkeys((*before, *now))
        if before.get(key) != now.get(key)
    ]
    if found:
        raise RunError(
            f"{folder}: the search was begun otherwise: {'; '.join(found[:5])}. Its proposals "
            "would be others; go on with what it began with, or begin anew with another --out"
        )


def _count(value: Any, name: str, most: int) -> None:
    number = whole(value)
    if number is None or not 1 <= number <= most:
        raise ArgumentError(f"{name}: expected a whole number from 1 to {most}, got {quote(value)}")
