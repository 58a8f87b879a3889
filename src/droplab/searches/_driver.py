"""The driver of a search: generation after generation, each an ordinary run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from droplab.recipe import Arm
from droplab.results import ProposedPlan, RunResult, SearchRecord
from droplab.searches._asked import Asked
from droplab.searches._observer import SearchObserver
from droplab.searches._proposals import Proposal, Proposals
from droplab.searches._space import Space, arm_key
from droplab.searches._spec import SECONDS
from droplab.searches._trainer import Trainer

CONFIRMED = "confirmed"
"""The folder of the run that judges the winner."""

_COMMON = (0.25, 0.5, 0.125, 0.75)
"""Where in their ranges the common rates lie that the first generation begins with."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a plan reached in the search.

    Attributes:
        values: Metric -> mean over its seeds, NaN where it is not finite on one of them.
        seeds: How many seeds these are.
        pruned: Whether it was given up before it had all.
    """

    values: Mapping[str, float]
    seeds: int
    pruned: bool = False


@dataclasses.dataclass
class Driver:
    """One driver at work on a search.

    Args:
        trainer: Trains what is proposed.
        space: What may be proposed.
        asked: The settings.
        proposals: Optuna's side.
        folder: Where.
        record: What is known so far; it is written after every generation.
        observer: Told of everything as it happens.
        first: Choices that are proposed before Optuna is asked; empty for some common rates.
    """

    trainer: Trainer
    space: Space
    asked: Asked
    proposals: Proposals
    folder: Path
    record: SearchRecord
    observer: SearchObserver
    first: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        self.known: dict[tuple[Any, ...], Measured] = {}
        self.timed = any(each.metric == SECONDS for each in self.space.spec.constraints)
        self.baseline = Arm("as built" if self.space.changes_existing else "none")
        if not self.first:
            count = min(len(_COMMON), self.asked.batch // 2)
            self.first = [self.space.common(share) for share in _COMMON[:count]]

    def search(self) -> None:
        """Propose, train and tell until all plans are done, from where it was left."""
        size, trials = self.asked.batch, self.asked.trials
        generations = -(-trials // size)
        for generation in range(1, generations + 1):
            wanted = min(size, trials - (generation - 1) * size)
            mine = self._own()[(generation - 1) * size : generation * size]
            if len(mine) < wanted:
                done = len(self._own())
                self.proposals.propose(
                    [dict(each) for each in self.first[done:]], wanted - len(mine)
                )
                mine = self._own()[(generation - 1) * size : generation * size]
            self.observer.generation(generation, generations)
            self._train(generation, mine)
            self._tell(generation, mine)
            self.record = dataclasses.replace(self.record, plans=self._plans())
            self.record.write(self.folder)
            self.observer.told(self.record)

    def _own(self) -> list[Proposal]:
        return [each for each in self.proposals.all() if each.source in ("common", "sampler")]

    def arm(self, proposal: Proposal) -> Arm:
        """Return the arm of a proposal."""
        return self.space.arm(f"plan {proposal.number}", proposal.choice)

    def _train(self, generation: int, mine: Sequence[Proposal]) -> None:
        """Train what is new among the plans of a generation, rung by rung."""
        arms: dict[tuple[Any, ...], Arm] = {}
        nothing = arm_key(self.baseline)
        for each in mine:
            arm = self.arm(each)
            key = arm_key(arm)
            if key not in self.known and key != nothing:
                arms.setdefault(key, arm)
        everything = list(arms.values())
        names = [arm.name for arm in everything]
        with_baseline = [self.baseline.name] if generation == 1 else []
        going, rows = names, dict[str, list[Mapping[str, float]]]()
        for rung, (start, stop) in enumerate(self.asked.rungs):
            if not going and not with_baseline:
                break
            place = f"generation-{generation:03}" + (f"-rung-{rung + 1}" if rung else "")
            found = self.trainer.train(
                [self.baseline, *everything],
                [*with_baseline, *going],
                self.record.seeds[start:stop],
                place,
                f"searched, generation {generation}",
                check=generation == 1,
            )
            for arm, own in values_of(found, timed=self.timed).items():
                rows[arm] = [*rows.get(arm, []), *own]
            if stop < self.asked.seeds:
                going = self._better_half(going, rows)
        for key, arm in arms.items():
            own = rows.get(arm.name, [])
            self.known[key] = Measured(mean(own), len(own), len(own) < self.asked.seeds)
        if generation == 1:
            own = rows[self.baseline.name]
            self.known[nothing] = Measured(mean(own), len(own))
            baseline = {name: finite(value) for name, value in mean(own).items()}
            self.record = dataclasses.replace(self.record, baseline=baseline)

    def _better_half(
        self, names: Sequence[str], rows: Mapping[str, Sequence[Mapping[str, float]]]
    ) -> list[str]:
        name, sign = self.record.objective[0], -1 if self.record.higher[0] else 1
        found = {each: sign * mean(rows.get(each, ())).get(name, math.nan) for each in names}
        order = sorted(
            (each for each in names if math.isfinite(found[each])), key=found.__getitem__
        )
        kept = set(order[: -(-len(names) // 2)])
        return [each for each in names if each in kept]

    def _tell(self, generation: int, mine: Sequence[Proposal]) -> None:
        for each in mine:
            if each.finished:
                continue
            measured = self.known[arm_key(self.arm(each))]
            values = [measured.values.get(name, math.nan) for name in self.record.objective]
            over = self.over(measured)
            sound = all(map(math.isfinite, (*values, *over.values())))
            pruned = (measured.seeds, values[0]) if measured.pruned and sound else None
            about = {"generation": generation, "arm": f"plan {each.number}"}
            self.proposals.tell(
                each.number,
                values if sound else None,
                over=over if sound else None,
                pruned=pruned,
                about=about,
            )

    def over(self, measured: Measured) -> dict[str, float]:
        """Return by how much a plan breaks each constraint; at most 0 where it meets it."""
        return {
            str(each): each.over(measured.values.get(each.metric, math.nan))
            for each in self.space.spec.constraints
        }

    def _plans(self) -> tuple[ProposedPlan, ...]:
        """Return every plan that was proposed, with what it reached."""
        told = {plan.number: plan for plan in self.record.plans if not plan.generation}
        plans: list[ProposedPlan] = []
        own = 0
        for each in self.proposals.all():
            if each.number in told:
                plans.append(told[each.number])
                continue
            arm, own = self.arm(each), own + 1
            measured = self.known.get(arm_key(arm))
            if measured is None:
                continue
            over = self.over(measured)
            decides = [measured.values.get(name, math.nan) for name in self.record.objective]
            sound = all(map(math.isfinite, (*decides, *over.values())))
            plans.append(
                ProposedPlan(
                    each.number,
                    each.source,
                    "failed" if not sound else "pruned" if measured.pruned else "done",
                    (own - 1) // self.asked.batch + 1,
                    each.choice,
                    dict(arm.rates),
                    dict(arm.existing),
                    arm.kind,
                    None if arm.schedule is None else str(arm.schedule),
                    {name: finite(value) for name, value in measured.values.items()},
                    measured.seeds,
                    all(value <= 0 for value in over.values()),
                )
            )
        return tuple(plans)


def values_of(result: RunResult, *, timed: bool = False) -> dict[str, list[Mapping[str, float]]]:
    """Return what each arm of a run measured after the last epoch, a mapping for each seed.

    A replica that became NaN or failed has one, too, in which nothing is finite.

    Args:
        result: The run.
        timed: Whether the seconds of all epochs are among it.
    """
    last: dict[tuple[str, int], Mapping[str, float]] = {}
    seconds: dict[tuple[str, int], float] = {}
    for row in result.rows:  # in the order of epochs
        of = row.arm, row.seed
        seconds[of] = seconds.get(of, 0.0) + row.seconds
        last[of] = {**row.values, SECONDS: seconds[of]} if timed else row.values
    found: dict[str, list[Mapping[str, float]]] = {}
    for member in result.members:
        values = last.get((member.arm, member.seed)) if member.state == "done" else None
        nothing = dict.fromkeys(result.recipe.metrics, math.nan)
        found.setdefault(member.arm, []).append(values or nothing)
    return found


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of every metric over seeds; NaN where one of them is not finite."""
    if not rows:
        return {}
    return {name: sum(row.get(name, math.nan) for row in rows) / len(rows) for name in rows[0]}


def finite(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return float(value) if math.isfinite(value) else None
