"""What determines the proposals of a search, kept with it and compared when it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from droplab.errors import ArgumentError, RunError, quote
from droplab.limits import COUNT, SEEDS
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
        first_epochs: After how many epochs of its first seed half of a generation is given up
            already; seeds and epochs are then doubled together. None: after all epochs.
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
    first_epochs: int | None = None

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
        if self.first_epochs is not None:
            _count(self.first_epochs, "first_epochs", COUNT)
            if self.halving is False:
                raise ArgumentError(
                    "first_epochs: goes with halving, which gives plans up after them; leave one "
                    "of both out"
                )
        elif self.halving and self.seeds < 2:
            raise ArgumentError(
                f"halving: expected at least 2 seeds, after the first of which half of the plans "
                f"are given up, got {self.seeds}"
            )

    def decided(self, objectives: int, epochs: int) -> Asked:
        """Return the settings with what follows from the objectives and epochs of a search.

        Args:
            objectives: How many there are.
            epochs: How many a whole training has.

        Raises:
            ArgumentError: If half of the plans are to be given up by two objectives, or after more
                epochs than there are.
        """
        if objectives > 1 and (self.halving or self.first_epochs):
            raise ArgumentError(
                "halving: expected one objective, by which half of the plans are given up, got "
                f"{objectives}"
            )
        if self.first_epochs is not None and self.first_epochs >= epochs:
            raise ArgumentError(
                f"first_epochs: expected fewer than the {epochs} epochs of a whole training, got "
                f"{self.first_epochs}; leave it out to give plans up after whole trainings alone"
            )
        if self.halving is not None:
            return self
        several = self.seeds > 1 or self.first_epochs is not None
        return replace(self, halving=objectives == 1 and several)

    def rungs(self, epochs: int) -> tuple[tuple[int, int], ...]:
        """How many seeds, and epochs of each, a plan is trained for up to each rung.

        Args:
            epochs: How many a whole training has.

        Example:
            >>> Asked(seeds=4, halving=True).rungs(20), Asked(seeds=4).rungs(20)
            (((1, 20), (2, 20), (4, 20)), ((4, 20),))
            >>> Asked(seeds=4, halving=True, first_epochs=5).rungs(30)
            ((1, 5), (2, 10), (4, 20), (4, 30))
        """
        if not self.halving:
            return ((self.seeds, epochs),)
        rungs = [(1, self.first_epochs or epochs)]
        while rungs[-1] != (self.seeds, epochs):
            seeds, stop = rungs[-1]
            rungs.append((min(2 * seeds, self.seeds), min(2 * stop, epochs)))
        return tuple(rungs)

    def search_epochs(self, epochs: int, generations: int | None = None) -> int:
        """Return how many epochs are trained up to the last run, the baseline's among them.

        Plans that are proposed twice, or fail, take less.

        Args:
            epochs: How many a whole training has.
            generations: Of how many generations; None: of all.

        Example:
            >>> Asked(trials=12, batch=8, seeds=4, halving=True).search_epochs(10)
            280
        """
        whole = -(-self.trials // self.batch)
        count = min(self.trials, (whole if generations is None else generations) * self.batch)
        done, rest = divmod(count, self.batch)
        plans = done * self.most_epochs(self.batch, epochs) + self.most_epochs(rest, epochs)
        return plans + (self.seeds * epochs if count else 0)

    def most_epochs(self, plans: int, epochs: int) -> int:
        """Return how many epochs a generation of so many plans is trained for, over all seeds.

        Example:
            >>> Asked(seeds=4, halving=True).most_epochs(8, 10), Asked(seeds=4).most_epochs(8, 10)
            (160, 320)
        """
        whole = before = 0
        for seeds, stop in self.rungs(epochs):
            whole += plans * (seeds * stop - before)
            before, plans = seeds * stop, -(-plans // 2)
        return whole

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
