"""Measuring which execution plan is the fastest, and stopping in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from time import perf_counter, process_time

import torch

from droplab.data import Split
from droplab.recipe import Arm
from droplab.study._experiment import Experiment
from droplab.study._grouping import Group, make_groups
from droplab.study._recording import why_eager
from droplab.study._trial import Trial, first_batch
from droplab.study._worker import can_send
from droplab.train import ExecutionPlan, UnsupportedError, compiler
from droplab.train.memory import available_bytes, evaluation_bytes, is_out_of_memory, member_bytes
from droplab.train.timing import (
    Candidate,
    fastest,
    own_seconds,
    plan_variants,
    time_turns,
    usable_threads,
    wait_for,
)

_LARGEST = 128
"""Replicas in a group at most: beyond, weights that fall out of the caches cost what is saved."""

_GAIN = 0.95
"""What training together must save at least."""

_BESIDE = 0.9
"""How fast processes are beside each other, compared with each alone: they share the memory."""

_COMPILE_SECONDS = 5.0
"""Seconds of training, replica by replica, from which it is tried to compile the step: it takes one
or two."""

_RECORD_SECONDS = 1.5
"""What a replica in a process of its own takes to begin, recording its steps included."""

_START_SECONDS = 10.0
"""What worker processes must save at least: they have to start, and each loads the data."""

_AT_ONCE = 3.0
"""Seconds of steps, replica by replica, up to which training begins at once."""

_GROUP_STEPS = 8
"""Steps that a group takes at least while it is recorded and timed."""

_PROOF_STEPS, _PROOF_SECONDS = 40, 2.0
"""What it takes to find out whether a model of one's own may be recorded."""

_SHARE = 0.15
"""The part of the training from which on nothing more is measured."""


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What is known of a plan.

    Attributes:
        plan: The plan.
        step: Seconds of a step for one replica.
        setup: Seconds that a replica or a group takes to begin, recording included.
        run: Takes a step of the throw-away replica, where it is kept.
    """

    plan: ExecutionPlan
    step: float
    setup: float
    run: Callable[[], object] | None = None


class Planner:
    """Measures plans from the plainest on, as long as measuring is cheap beside training.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        device: Where.
        why_alone: Returns why replicas cannot be trained together, "" if they can.

    Attributes:
        at_once: Whether training takes so few seconds that nothing was compared.
    """

    def __init__(
        self,
        experiment: Experiment,
        arms: Sequence[Arm],
        device: str,
        why_alone: Callable[[], str],
    ) -> None:
        self._began, self._began_cpu = perf_counter(), process_time()
        self._experiment, self._arms, self._device = experiment, arms, device
        self._why_alone = why_alone
        self._seeds = experiment.recipe.seeds
        self._count = len(arms) * len(self._seeds)
        self._steps = experiment.recipe.epochs * experiment.steps_an_epoch
        partial = len(experiment.splits.train) % experiment.recipe.batch_size
        self._shapes = 2 if partial and experiment.steps_an_epoch > 1 else 1
        self._groups: dict[int, list[_Measured]] = {}
        self.at_once = False
        self._eager: dict[bool, str] = {}

    def choose(self) -> ExecutionPlan:
        """Return the plan."""
        plan = self._chosen()
        reason = "" if plan.captured else self._eager.get(plan.group > 1, "")
        return dataclasses.replace(plan, eager_reason=reason)

    def _chosen(self) -> ExecutionPlan:
        plain = self._plain()
        self.at_once = self._total(plain) <= _AT_ONCE
        if self.at_once:
            return self._alone(plain, "training takes seconds, and measuring would as well")
        best, reason = self._best_group(plain) if self._count > 1 else (plain, "")
        singles = [plain]
        if best is plain or self._may(best):
            singles = self._singles(plain)
        single = singles[fastest([self._total(each) for each in singles])]
        if not self._total(best) < _GAIN * self._total(single):
            best = single
        compiled = self._compiled(single, best)
        driver = best if best.plan.group > 1 else compiled or best
        told = reason if driver.plan.group == 1 else ""
        beside = self._beside(driver, singles, compiled, told)
        if beside is not None:
            return beside
        if driver.plan.group > 1:
            return driver.plan
        return self._alone(driver, reason + self._unsent(driver))

    def _alone(self, found: _Measured, reason: str) -> ExecutionPlan:
        return dataclasses.replace(found.plan, reason=reason if self._count > 1 else "")

    def _total(self, found: _Measured) -> float:
        """Seconds of the steps of all replicas under a plan without worker processes."""
        begun = self._count if found.plan.group == 1 else len(self._made(found.plan.group))
        return begun * found.setup + self._count * self._steps * found.step

    def _made(self, size: int) -> Sequence[Group]:
        return make_groups(self._arms, self._seeds, size)

    def _records(self, best: _Measured, *, together: bool) -> bool:
        """Whether steps may be recorded: a model of one's own is looked at, if there is time."""
        if not self._experiment.has_recordable_schedule(together=together):
            return False
        if self._experiment.is_known:
            return together or self._experiment.capturable
        if together not in self._eager:
            if not self._may(best, _PROOF_STEPS, _PROOF_SECONDS):
                return False
            self._eager[together] = why_eager(self._experiment, self._arms, together=together)
        return not self._eager[together]

    def _may(self, best: _Measured, steps: float = 0.0, seconds: float = 0.0) -> bool:
        """Whether more may be measured, as training would take what the best plan does.

        Args:
            best: The best plan so far.
            steps: How many steps of one replica the next measurement takes, as far as is known.
            seconds: What it takes besides.
        """
        # processor seconds, since what other processes take says nothing about this training
        spent = min(perf_counter() - self._began, process_time() - self._began_cpu)
        return spent + seconds + steps * best.step < _SHARE * self._total(best)

    def _seconds(self, best: _Measured, most: float) -> float:
        """How long the next measurement may take."""
        return min(most, _SHARE / 3 * self._total(best))

    def _begun(self, plan: ExecutionPlan, make: Callable[[], Trial]) -> tuple[Trial, float]:
        """Return a trial that has taken its first steps, and what that took, for all shapes."""
        began, used = perf_counter(), process_time()
        with plan.active():
            trial = make()
            for _ in range(3 if plan.captured else 1):
                trial.step()
            wait_for(self._device)
        took = own_seconds(perf_counter() - began, process_time() - used, self._device)
        return trial, self._shapes * took

    def _plain(self) -> _Measured:
        """The direct step of one replica, with one thread."""
        plan = ExecutionPlan(1, device=self._device)
        trial, _ = self._begun(plan, lambda: Trial(self._experiment, self._arms, plan))
        cost = time_turns([Candidate(plan, trial.step)], seconds=0.05)
        return _Measured(plan, cost[0], 0.0, trial.step)

    def _singles(self, plain: _Measured) -> list[_Measured]:
        """One replica: the direct step, and the recorded one if it may be recorded."""
        made = [(False, plain.run, 0.0)]
        if self._records(plain, together=False):
            plan = ExecutionPlan(1, captured=True, device=self._device)
            trial, setup = self._begun(plan, lambda: Trial(self._experiment, self._arms, plan))
            made.append((True, trial.step, setup))
        found = [
            _Measured(plan, plain.step, setup, run)
            for captured, run, setup in made
            for plan in plan_variants(captured=captured, device=self._device)
        ]
        return self._in_turns(found, self._seconds(plain, 0.6))

    def _in_turns(self, found: Sequence[_Measured], seconds: float) -> list[_Measured]:
        """Time steps of one replica against the first, of which it is known what it takes."""
        candidates = [Candidate(each.plan, each.run) for each in found if each.run is not None]
        costs = time_turns(candidates, seconds=seconds)
        known = found[0].step / costs[0]
        return [
            dataclasses.replace(each, step=known * cost)
            for each, cost in zip(found, costs, strict=True)
        ]

    def _compiled(self, single: _Measured, best: _Measured) -> _Measured | None:
        """The compiled step of one replica, None if it is not there or not faster."""
        if not single.plan.captured or self._device != "cpu" or not self._may(best):
            return None
        if self._total(single) <= _COMPILE_SECONDS or compiler() is None:
            return None
        plan = ExecutionPlan(1, captured=True, compiled=True)
        try:
            trial, setup = self._begun(plan, lambda: Trial(self._experiment, self._arms, plan))
        except UnsupportedError:
            return None
        pair = [single, _Measured(plan, single.step, setup, trial.step)]
        two = self._in_turns(pair, self._seconds(best, 0.4))[1]
        return two if two.step < _GAIN * single.step else None

    def _best_group(self, plain: _Measured) -> tuple[_Measured, str]:
        """Return the fastest of one replica and the groups, and why it is none of the groups."""
        best, reason = plain, "training is too short to measure whether groups are faster"
        for size in group_sizes(self._experiment, self._count, device=self._device):
            if not self._may(best, _GROUP_STEPS * size):
                continue
            if not self._groups:
                reason = self._why_alone()
                if reason:
                    break
            reason = "training them together was measured to be slower"
            best = self._better_group(size, plain, best)
        return best, reason

    def _better_group(
        self, size: int, single: _Measured, best: _Measured, threads: Sequence[int] = ()
    ) -> _Measured:
        """Measure a group in turns with one replica; return it if it saves enough, else `best`.

        What looks faster is measured once more, and the worse of the two results counts.
        """
        experiment, arms, device = self._experiment, self._arms, self._device
        plan = ExecutionPlan(1, captured=self._records(best, together=True), device=device)

        def make() -> Trial:
            return Trial(experiment, arms, dataclasses.replace(plan, group=size))

        try:
            trial, setup = self._begun(plan, make)
            plans = plan_variants(
                captured=plan.captured, threads=threads, device=device, group=size
            )
            members = trial.members
            assert single.run is not None
            rival = Candidate(single.plan, single.run)
            groups = [Candidate(plan, trial.step, members) for plan in plans]
            costs = time_turns([rival, *groups], seconds=self._seconds(best, 0.6))
            ratios = [cost / costs[0] for cost in costs[1:]]
            found = [
                _Measured(plan, ratio * single.step, setup)
                for plan, ratio in zip(plans, ratios, strict=True)
            ]
            at = fastest(ratios)
            if self._total(found[at]) < _GAIN * self._total(best):
                again = time_turns([rival, groups[at]], seconds=self._seconds(best, 0.2))
                ratio = max(ratios[at], again[1] / again[0])
                found[at] = dataclasses.replace(found[at], step=ratio * single.step)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return best
        self._groups[size] = found
        return found[at] if self._total(found[at]) < _GAIN * self._total(best) else best

    def _workers(self) -> int:
        return min(usable_threads(), self._count) if self._device == "cpu" else 1

    def _worthwhile(self, driver: _Measured) -> float:
        """Seconds that training in worker processes may take at most to be worth their start."""
        rival = self._total(driver)
        return min(_GAIN * rival, rival - _START_SECONDS)

    def _unsent(self, driver: _Measured) -> str:
        """What is said where replicas would go to worker processes, and cannot."""
        held = isinstance(self._experiment.splits.train, Split)
        if not held or self._workers() < 2 or self._worthwhile(driver) <= 0:
            return ""
        if can_send(self._experiment):
            return ""
        return (
            "; and the factory of model or optimizer cannot be sent to worker processes, for "
            "which it must be at the top of a module that can be imported, so replicas are "
            "trained one by one"
        )

    def _beside(
        self,
        driver: _Measured,
        singles: Sequence[_Measured],
        compiled: _Measured | None,
        reason: str,
    ) -> ExecutionPlan | None:
        """Return the best plan with worker processes, None if it saves too little.

        Args:
            driver: The best plan without.
            singles: One replica under the plans that were measured.
            compiled: The compiled step of one replica, if it is faster.
            reason: Why replicas are not trained in groups, if they are not.
        """
        workers, most = self._workers(), self._worthwhile(driver)
        if workers < 2 or most <= 0 or not can_send(self._experiment):
            return None
        choices: list[tuple[float, ExecutionPlan]] = []
        for each in [*singles, *([compiled] if compiled else [])]:
            if each.plan.threads == 1:
                rounds = -(-self._count // workers)
                took = rounds * (_RECORD_SECONDS + self._steps * each.step / _BESIDE)
                why = reason or "each was measured to be faster by itself"
                if each.plan.compiled:
                    why = "each is faster compiled, by itself"
                plan = dataclasses.replace(each.plan, workers=workers, reason=why)
                choices.append((took, plan))
        if self._groups:
            choices += self._groups_beside(driver, singles, workers)
        took, plan = min(choices, key=lambda choice: choice[0])
        return plan if took < most else None

    def _groups_beside(
        self, driver: _Measured, singles: Sequence[_Measured], workers: int
    ) -> list[tuple[float, ExecutionPlan]]:
        """Seconds and plans of groups in worker processes."""
        single = min((s for s in singles if s.plan.threads == 1), key=self._total)
        found: list[tuple[float, ExecutionPlan]] = []
        for size in group_sizes(self._experiment, -(-self._count // workers), beside=workers):
            groups = self._made(size)
            if len(groups) < workers:
                continue
            if size not in self._groups:
                if not self._may(driver, _GROUP_STEPS * size):
                    continue
                self._better_group(size, single, single, threads=(1,))
            rounds, largest = -(-len(groups) // workers), max(len(g.members) for g in groups)
            for each in self._groups.get(size, []):
                if each.plan.threads == 1:
                    took = largest * self._steps * each.step / _BESIDE
                    plan = dataclasses.replace(each.plan, workers=workers)
                    found.append((rounds * (each.setup + took), plan))
        return found


def group_sizes(
    experiment: Experiment, count: int, *, beside: int = 1, device: str = "cpu"
) -> list[int]:
    """Group sizes to measure, the largest that memory allows first; `beside` groups at a time."""
    model = experiment.replica(experiment.recipe.baseline, experiment.recipe.seeds[0]).model
    inputs, targets = first_batch(experiment)
    replica = max(1, member_bytes(model, inputs, targets, experiment.task))
    common = evaluation_bytes(model, inputs, targets, experiment.task)
    room = max(0, available_bytes(torch.device(device)) // beside - common) // replica
    largest = max(1, min(count, _LARGEST, room))
    sizes = [largest, largest // 2, largest // 4] if largest >= 16 else [largest]
    return [size for size in sizes if size > 1]
