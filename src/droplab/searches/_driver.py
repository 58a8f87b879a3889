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
        epochs: After how many epochs of each.
        pruned: Whether it was given up before it had all.
        steps: The values after each rung, and how many epochs it had over all seeds.
    """

    values: Mapping[str, float]
    seeds: int
    epochs: int
    pruned: bool = False
    steps: tuple[tuple[int, Mapping[str, float]], ...] = ()

    @classmethod
    def of(
        cls,
        rows: Sequence[Mapping[str, float]],
        epochs: int,
        before: tuple[tuple[int, Mapping[str, float]], ...],
        *,
        pruned: bool,
    ) -> Measured:
        """Return what the rows of all seeds come to, after the rungs before."""
        values = mean(rows)
        steps = (*before, (len(rows) * epochs, values))
        return cls(values, len(rows), epochs, pruned, steps)

    def reported(self, objective: Sequence[str]) -> dict[int, float]:
        """Return the value after each rung that Optuna is told of: of one objective, finite."""
        if len(objective) > 1:
            return {}
        found = {step: values.get(objective[0], math.nan) for step, values in self.steps}
        return {step: value for step, value in found.items() if math.isfinite(value)}


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
        self.trained = 0
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
            self.record = dataclasses.replace(
                self.record, plans=self._plans(), epochs_trained=self.trained
            )
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
        with_baseline = [self.baseline.name] if generation == 1 else []
        reached = self._climbed(generation, list(arms.values()), with_baseline)
        for key, arm in arms.items():
            self.known[key] = reached[arm.name]
        if generation == 1:
            own = self.known[nothing] = reached[self.baseline.name]
            baseline = {name: finite(value) for name, value in own.values.items()}
            self.record = dataclasses.replace(self.record, baseline=baseline)

    def _climbed(
        self, generation: int, arms: Sequence[Arm], with_baseline: Sequence[str]
    ) -> dict[str, Measured]:
        """Train arms on more seeds and epochs from rung to rung, half of them to the next one.

        The seeds that a rung adds are a run, which goes on with the arms of each later rung.
        """
        rungs = self.asked.rungs(self.trainer.recipe.epochs)
        going, reached = [arm.name for arm in arms], dict[str, Measured]()
        runs, had, before = dict[str, RunResult](), 0, 0
        for rung, (seeds, epochs) in enumerate(rungs):
            names = [*with_baseline, *going]
            if not names:
                break
            places = list(runs) if epochs > before else []
            if seeds > had:
                places.append(f"generation-{generation:03}" + (f"-rung-{rung + 1}" if rung else ""))
            until = epochs if self.asked.first_epochs else None
            for place in places:
                runs[place] = self.trainer.train(
                    [self.baseline, *arms],
                    names,
                    runs[place].recipe.seeds if place in runs else self.record.seeds[had:seeds],
                    place,
                    f"searched, generation {generation}",
                    until=until,
                    check=generation == 1,
                )
            had, before = seeds, epochs
            found = [values_of(run, epoch=until, timed=self.timed) for run in runs.values()]
            for name in names:
                own = [row for rows in found for row in rows[name]]
                steps = reached[name].steps if name in reached else ()
                reached[name] = Measured.of(own, epochs, steps, pruned=rung + 1 < len(rungs))
            if rung + 1 < len(rungs):
                going = self._better_half(going, reached)
        self.trained += sum(len(run.rows) for run in runs.values())
        return reached

    def _better_half(self, names: Sequence[str], reached: Mapping[str, Measured]) -> list[str]:
        name, sign = self.record.objective[0], -1 if self.record.higher[0] else 1
        found = {each: sign * reached[each].values.get(name, math.nan) for each in names}
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
            self.proposals.tell(
                each.number,
                values if sound else None,
                over=over if sound else None,
                steps=measured.reported(self.record.objective),
                pruned=measured.pruned,
                about={"generation": generation, "arm": f"plan {each.number}"},
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
                    measured.epochs,
                    all(value <= 0 for value in over.values()),
                )
            )
        return tuple(plans)


def values_of(
    result: RunResult, *, epoch: int | None = None, timed: bool = False
) -> dict[str, list[Mapping[str, float]]]:
    """Return what each arm of a run measured after an epoch, a mapping for each seed.

    A replica that became NaN or failed has one, too, in which nothing is finite.

    Args:
        result: The run.
        epoch: The epoch; None: the last one of a replica that is done.
        timed: Whether the seconds of all epochs up to there are among it.
    """
    last: dict[tuple[str, int], Mapping[str, float]] = {}
    seconds: dict[tuple[str, int], float] = {}
    for row in result.rows:  # in the order of epochs
        if epoch is not None and row.epoch > epoch:
            continue
        of = row.arm, row.seed
        seconds[of] = seconds.get(of, 0.0) + row.seconds
        if epoch in (None, row.epoch):
            last[of] = {**row.values, SECONDS: seconds[of]} if timed else row.values
    found: dict[str, list[Mapping[str, float]]] = {}
    for member in result.members:
        sound = epoch is not None or member.state == "done"
        values = last.get((member.arm, member.seed)) if sound else None
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
