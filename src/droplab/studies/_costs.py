"""What whole training costs under the plans that were measured, and which one is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from droplab.data import Split
from droplab.recipe import Arm
from droplab.studies._experiment import Experiment
from droplab.studies._grouping import Group, make_groups
from droplab.studies._timed import TimedReplicas
from droplab.studies._worker import can_send
from droplab.train import ExecutionPlan, Tried
from droplab.train.timing import fastest, usable_threads

_GAIN = 0.95
"""What worker processes must save at least."""

_BESIDE = 0.9
"""How fast processes are beside each other, compared with each alone: they share the memory."""

_TASK_SECONDS = 0.1
"""What each group takes in a worker beside its own setup: a process is forked for it."""

_START_SECONDS = 5.0
"""What worker processes must save at least: they have to start, and each loads the data. (2.2 to
3.7 seconds for 60 000 images on two cores.)"""

TOO_LITTLE = "would save too little: it may be chance"


@dataclass(frozen=True)
class Measured:
    """What is known of a plan.

    Attributes:
        plan: The plan, without worker processes.
        step: Seconds of a step for one replica.
        setup: Seconds that a replica or a group takes to begin, recording included.
        trial: Takes steps under it, as long as it is kept.
        score: Seconds in which a replica is scored after an epoch; 0 until that is measured.
    """

    plan: ExecutionPlan
    step: float
    setup: float
    trial: TimedReplicas | None
    score: float = 0.0

    @property
    def kind(self) -> str:
        """What it differs from others in, threads and matmul path aside."""
        return "compiled" if self.plan.compiled else "group" if self.plan.group > 1 else "single"


class Costs:
    """Seconds of training under a plan, in this process or in worker processes.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        device: Where.

    Attributes:
        folds: Whether each seed has examples of its own.
        replicas: How many there are.
        together: How many of them may be in one group.
        workers: How many processes may train beside each other; 1 if there is no use in it.
        largest: Replicas in a group at most, where each worker trains one.
    """

    def __init__(self, experiment: Experiment, arms: Sequence[Arm], device: str) -> None:
        self._experiment, self._arms = experiment, arms
        self._seeds = experiment.recipe.seeds
        self._epochs, self._steps_an_epoch = experiment.recipe.epochs, experiment.steps_an_epoch
        self.folds = experiment.recipe.data.of_seed
        self.replicas = len(arms) * len(self._seeds)
        self.together = len(arms) if self.folds else self.replicas
        self.workers = min(usable_threads(), self.replicas) if device == "cpu" else 1
        self.largest = 1

    def total(self, found: Measured, workers: int = 0) -> float:
        """Return the seconds that all replicas take to be trained, in so many worker processes."""
        each = self._epochs * (self._steps_an_epoch * found.step + found.score)
        alone = found.plan.group == 1
        groups = () if alone else self._groups(found.plan.group)
        begun = self.replicas if alone else len(groups)
        if not workers:
            return begun * found.setup + self.replicas * each
        largest = max((len(group.members) for group in groups), default=1)
        return -(-begun // workers) * (_TASK_SECONDS + found.setup + largest * each / _BESIDE)

    def can_share(self, found: Measured) -> bool:
        """Whether workers may each train a part of the replicas under a plan."""
        size = found.plan.group
        if found.plan.threads > 1 or self.workers < 2 or size > self.largest:
            return False
        return size == 1 or len(self._groups(size)) >= self.workers

    def _groups(self, size: int) -> tuple[Group, ...]:
        return make_groups(self._arms, self._seeds, size, folds=self.folds)

    def worthwhile(self, driver: Measured) -> float:
        """Return the seconds that training in workers may take at most to be worth their start."""
        rival = self.total(driver)
        return min(_GAIN * rival, rival - _START_SECONDS)

    def decided(self, found: Sequence[Measured], reason: str) -> ExecutionPlan:
        """Return the best of plans that were compared with each other: of two alike, the plainer.

        Args:
            found: The plans.
            reason: Why replicas are trained alone, if they are.
        """
        usual = _of_kind(found, "single", "group")
        driver = usual[fastest([self.total(each) for each in usual])]
        if driver.kind == "single":
            both = [driver, *_of_kind(found, "compiled")]
            driver = both[fastest([each.step for each in both])]
        told = reason if driver.plan.group == 1 else ""
        beside = self._beside(driver, found, told)
        if beside is not None:
            return beside
        if driver.kind == "group":
            return driver.plan
        told = reason + self._unsent(driver) if self.replicas > 1 else ""
        return replace(driver.plan, reason=told)

    def _beside(
        self, driver: Measured, found: Sequence[Measured], reason: str
    ) -> ExecutionPlan | None:
        """Return the best plan with worker processes, None if it saves too little."""
        most = self.worthwhile(driver)
        if self.workers < 2 or most <= 0 or not can_send(self._experiment):
            return None
        able = list(filter(self.can_share, _of_kind(found, "single", "group", "compiled")))
        took = [self.total(each, self.workers) for each in able]
        if not able or min(took) >= most:
            return None
        best = able[fastest(took)]
        if best.kind == "single":
            reason = reason or "each was measured to be faster by itself"
        else:
            reason = "each is faster compiled, by itself" if best.kind == "compiled" else ""
        return replace(best.plan, workers=self.workers, reason=reason)

    def _unsent(self, driver: Measured) -> str:
        """What is said where replicas would go to worker processes, and cannot."""
        held = isinstance(self._experiment.splits.train, Split)
        if not held or self.workers < 2 or self.worthwhile(driver) <= 0:
            return ""
        if can_send(self._experiment):
            return ""
        return (
            "; and the factory of model or optimizer cannot be sent to worker processes, for "
            "which it must be at the top of a module that can be imported, so replicas are "
            "trained one by one"
        )

    def table(
        self, found: Sequence[Measured], plan: ExecutionPlan, untried: Sequence[Tried]
    ) -> list[Tried]:
        """Return the plans that were measured, the fastest first, and why each was not chosen."""
        rows: list[Tried] = []
        sent = can_send(self._experiment)
        for each in found:
            for workers in (0, self.workers) if sent and self.can_share(each) else (0,):
                how = replace(each.plan, workers=workers)
                rows.append(Tried.of(how, step=each.step, total=self.total(each, workers)))
        rows.sort(key=lambda row: row.total)
        own = next(row for row in rows if row.like(plan))
        return [
            *(replace(row, chosen=row is own, reason=_why_not(row, own)) for row in rows),
            *untried,
        ]


def _of_kind(found: Sequence[Measured], *kinds: str) -> list[Measured]:
    """The plans of these kinds, in the order of the kinds."""
    return [each for kind in kinds for each in found if each.kind == kind]


def _why_not(row: Tried, chosen: Tried) -> str:
    """Return why a plan was not chosen; "" of the one that was."""
    if row is chosen:
        return ""
    if row.total >= chosen.total:
        return "slower"
    if row.workers > chosen.workers:
        return "would save less than worker processes take to start"
    if row.compiled and chosen.group > 1 and not chosen.workers:
        return "the first replica that diverges would end the run"
    return TOO_LITTLE
