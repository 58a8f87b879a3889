"""Measuring which execution plan is the fastest, and stopping in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from time import perf_counter, process_time

import torch

from droplab.data import Split
from droplab.recipe import Arm
from droplab.studies._costs import Costs, Measured
from droplab.studies._experiment import Experiment
from droplab.studies._recording import why_eager
from droplab.studies._room import group_sizes, room
from droplab.studies._scoring import scored_an_epoch
from droplab.studies._timed import TimedReplicas
from droplab.studies._worker import can_send
from droplab.train import ExecutionPlan, Tried, UnsupportedError
from droplab.train.compiled import compiler
from droplab.train.memory import is_out_of_memory
from droplab.train.timing import (
    Candidate,
    Stopwatch,
    fastest,
    plan_variants,
    time_turns,
    usable_threads,
    wait_for,
)

_COMPILE_SECONDS = 5.0
"""Seconds of training, replica by replica, from which it is tried to compile the step: it takes one
or two."""

_AT_ONCE = 3.0
"""Seconds of steps, replica by replica, up to which training begins at once."""

_THREADS = 1.5
"""Seconds of steps from which on the number of threads is compared all the same, in 0.1 s."""

_GROUP_STEPS = 8
"""Steps that a group takes at least while it is recorded and timed."""

_PROOF_STEPS, _PROOF_SECONDS = 40, {False: 0.5, True: 1.5}
"""What it takes to find out whether a model of one's own may be recorded, alone and together."""

_SHARE = 0.15
"""The part of the training from which on nothing more is measured."""

_COMPILE_SHARES = 2.0
"""How many times that compiling may wait for, which saves a third of a small network's training."""

_LAST_TURNS, _LAST_SECONDS = 6, 2.0
"""The last comparison: how many turns each plan has at least, and how long it takes about."""

_SCORED = 512
"""Validation examples that are scored under each plan of the last comparison, three times."""

_CLOSE, _MOST = 2.0, 4
"""Which plans come into the last comparison: the best of each kind, and those that seem to take at
most so many times as long as the best, so many at most in this process and as many in others."""


class Planner:
    """Measures plans from the plainest on, as long as measuring is cheap beside training.

    Each plan takes turns with the direct step of one replica first, which sorts out what is slow.
    Then all that come into question take turns with each other, and one of these is chosen: results
    of different comparisons are not compared, since what else the machine did may have changed.

    Args:
        experiment: The experiment.
        arms: The arms that are trained.
        device: Where.
        why_alone: Returns why replicas cannot be trained together, "" if they can.

    Attributes:
        at_once: Whether training takes so few seconds that nothing but threads was compared.
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
        self._costs = Costs(experiment, arms, device)
        partial = len(experiment.splits.train) % experiment.recipe.batch_size
        several = len(experiment.splits.train) > experiment.recipe.batch_size
        self._shapes = 2 if partial and several else 1
        self._found: list[Measured] = []
        self._slow: list[Measured] = []
        self._untried: list[Tried] = []
        self._eager: dict[bool, str] = {}
        self.at_once = False

    def choose(self) -> ExecutionPlan:
        """Return the plan, with what it was compared with."""
        plan = self._chosen()
        reason = "" if plan.captured else self._eager.get(plan.group > 1, "")
        rows = self._costs.table([*self._found, *self._slow], plan, untried=self._untried)
        return dataclasses.replace(plan, eager_reason=reason, tried=tuple(rows))

    def _chosen(self) -> ExecutionPlan:
        plain = self._plain()
        self._found.append(plain)
        self.at_once = self._costs.total(plain) <= _AT_ONCE
        if self.at_once:
            plain = self._on_threads(plain)
            said = self._experiment.why_apart
            said = said or "training takes seconds, and measuring would as well"
            return dataclasses.replace(plain.plan, reason=said if self._costs.replicas > 1 else "")
        own = not self._experiment.is_known
        if own:
            # whether its step may be recorded is found out sooner than for a group, and that is
            # most of what there is to gain: a short training has no time for both
            self._add_singles(plain)
        reason = self._add_groups(plain) if self._costs.together > 1 else ""
        if not own and (self._best.kind == "single" or self._may()):
            self._add_singles(plain)
        self._add_groups_beside(plain)
        self._add_compiled()
        self._compare()
        return self._costs.decided(self._found, reason)

    @property
    def _best(self) -> Measured:
        return min(self._found, key=self._costs.total)

    def _records(self, *, together: bool) -> bool:
        """Whether steps may be recorded: a model of one's own is looked at, if there is time."""
        reason = self._why_eager(together=together)
        if reason:
            self._skip(reason, captured=True, group=2 if together else 1)
        return not reason

    def _why_eager(self, *, together: bool) -> str:
        if not self._experiment.has_recordable_schedule(together=together):
            return "a recorded step cannot follow this schedule of learning rates"
        if self._experiment.is_known:
            allowed = together or self._experiment.capturable
            return "" if allowed else "the steps of this optimizer or model are not recorded"
        if together not in self._eager:
            if not self._may(_PROOF_STEPS, _PROOF_SECONDS[together]):
                return "training is too short to find out whether recording is safe"
            self._eager[together] = why_eager(self._experiment, self._arms, together=together)
        return self._eager[together]

    def _skip(self, reason: str, **how: bool | int) -> None:
        """Keep what could not be tried, and why, the first reason of each."""
        row = dataclasses.replace(ExecutionPlan(1, device=self._device), **how)
        new = Tried.of(row, reason=reason)
        if all(dataclasses.replace(each, reason=reason) != new for each in self._untried):
            self._untried.append(new)

    def _may(self, steps: float = 0.0, seconds: float = 0.0, shares: float = 1.0) -> bool:
        """Whether more may be measured, as training would take what the best plan does.

        Args:
            steps: How many steps of one replica the next measurement takes, as far as is known.
            seconds: What it takes besides.
            shares: How many times the usual part of the training all measuring may take.
        """
        # processor seconds, since what other processes take says nothing about this training
        spent = min(perf_counter() - self._began, process_time() - self._began_cpu)
        best = self._best
        return spent + seconds + steps * best.step < shares * _SHARE * self._costs.total(best)

    def _seconds(self, most: float) -> float:
        """How long the next measurement may take."""
        return min(most, _SHARE / 3 * self._costs.total(self._best))

    def _begun(self, plan: ExecutionPlan) -> tuple[TimedReplicas, float]:
        """Return a trial that has taken its first steps, and what that took, for all shapes."""
        watch = Stopwatch(plan)
        with plan.active():
            trial = TimedReplicas(self._experiment, self._arms, plan)
            for _ in range(3 if plan.captured else 1):
                trial.step()
            wait_for(self._device)
        return trial, self._shapes * watch.own

    def _plain(self) -> Measured:
        """The direct step of one replica, with one thread."""
        plan = ExecutionPlan(1, device=self._device)
        trial, _ = self._begun(plan)
        cost = time_turns([Candidate(plan, trial.step)], seconds=0.05)
        return Measured(plan, cost[0], 0.0, trial)

    def _on_threads(self, plain: Measured) -> Measured:
        """Compare one thread with all of them, where that takes a small part of the training."""
        if self._device != "cpu" or self._costs.total(plain) < _THREADS or usable_threads() == 1:
            return plain
        more = dataclasses.replace(plain.plan, threads=usable_threads())
        both = [plain, dataclasses.replace(plain, plan=more)]
        costs = time_turns([_candidate(each) for each in both], seconds=0.0, rounds=2)
        self._found = [
            dataclasses.replace(each, step=cost) for each, cost in zip(both, costs, strict=True)
        ]
        return self._found[fastest(costs)]

    def _in_turns(
        self, plain: Measured, found: Sequence[Measured], seconds: float
    ) -> list[Measured]:
        """Time plans against the direct step of one replica, of which it is known what it takes."""
        costs = time_turns([_candidate(each) for each in (plain, *found)], seconds=seconds)
        known = plain.step / costs[0]
        return [
            dataclasses.replace(each, step=known * cost)
            for each, cost in zip(found, costs[1:], strict=True)
        ]

    def _add_singles(self, plain: Measured) -> None:
        """Measure one replica: the direct step, and the recorded one if it may be recorded."""
        made = [(plain.trial, False, 0.0)]
        if self._records(together=False):
            plan = ExecutionPlan(1, captured=True, device=self._device)
            trial, setup = self._begun(plan)
            made.append((trial, True, setup))
        found = [
            Measured(plan, plain.step, setup, trial)
            for trial, captured, setup in made
            for plan in plan_variants(captured=captured, device=self._device)
        ]
        self._found += self._in_turns(plain, found[1:], self._seconds(0.6))

    def _add_compiled(self) -> None:
        """Measure the compiled step of one replica, where it may be faster."""
        singles = [each for each in self._found if each.kind == "single"]
        recorded = [each for each in singles if each.plan.captured]
        if not recorded or self._device != "cpu":
            return
        single = min(recorded, key=self._costs.total)
        plan = ExecutionPlan(1, captured=True, compiled=True)
        long = self._costs.total(single) > _COMPILE_SECONDS
        if not long or not self._may(shares=_COMPILE_SHARES):
            reason = "training is too short"
        elif compiler() is None:
            reason = "there is no C compiler here"
        elif self._experiment.why_not_compiled:
            reason = self._experiment.why_not_compiled
        else:
            try:
                trial, _ = self._begun(plan)
            except UnsupportedError as error:
                reason = str(error)
            else:
                # the next replica finds what the first has compiled, and begins as a recorded one
                self._found.append(Measured(plan, single.step, single.setup, trial))
                return
        self._skip(reason, captured=True, compiled=True)

    def _add_groups(self, plain: Measured) -> str:
        """Measure groups, the largest first; return why replicas would be trained alone."""
        reason, asked = "training is too short to measure whether groups are faster", False
        for size in group_sizes(self._experiment, self._costs.together, device=self._device):
            if not self._may(_GROUP_STEPS * size):
                self._skip("training is too short", group=size)
                continue
            if not asked:
                reason, asked = self._why_alone(), True
                if reason:
                    self._skip(reason, group=size)
                    break
            reason = "training them together was measured to be slower"
            self._add_group(size, plain)
        return reason

    def _add_group(self, size: int, plain: Measured, threads: Sequence[int] = ()) -> None:
        """Measure a group in turns with one replica."""
        captured = self._records(together=True)
        plan = ExecutionPlan(1, captured=captured, group=size, device=self._device)
        self._make_room(size)
        try:
            trial, setup = self._begun(plan)
            plans = plan_variants(
                captured=captured, threads=threads, device=self._device, group=size
            )
            found = [Measured(each, plain.step, setup, trial) for each in plans]
            self._found += self._in_turns(plain, found, self._seconds(0.6))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._skip("there is not enough memory", group=size)

    def _make_room(self, size: int) -> None:
        """Give up the trials of groups where another group has no room beside them."""
        if size > room(self._experiment, device=self._device):
            self._found = [
                dataclasses.replace(each, trial=None) if each.kind == "group" else each
                for each in self._found
            ]

    def _add_groups_beside(self, plain: Measured) -> None:
        """Measure the smaller groups that worker processes would train."""
        workers, measured = self._costs.workers, {each.plan.group for each in self._found}
        if workers < 2:
            return
        share = -(-self._costs.replicas // workers) if measured != {1} else 1
        share = min(share, self._costs.together)
        sizes = group_sizes(self._experiment, share, beside=workers)
        self._costs.largest = max(sizes, default=1)
        if self._costs.worthwhile(self._best) <= 0:
            return
        if not can_send(self._experiment):
            self._skip("the model or the optimizer cannot be sent there", workers=workers)
            return
        for size in sizes:
            if size not in measured and self._may(_GROUP_STEPS * size):
                self._add_group(size, plain, threads=(1,))

    def _compare(self) -> None:
        """Time the plans that come into question in the same turns, and keep no others."""
        able = list(filter(self._costs.can_share, self._found))
        last = [
            *self._foremost(self._found, self._costs.total),
            *self._foremost(able, lambda each: self._costs.total(each, self._costs.workers)),
        ]
        self._slow = [each for each in self._found if each not in last]
        self._found = [each for each in self._found if each in last]
        if any(each.kind != "single" for each in self._found):  # else they have had their turns
            self._take_last_turns()
        self._add_scoring()

    def _take_last_turns(self) -> None:
        begun = list(map(self._with_trial, self._found))
        last = [each for each in begun if each.trial is not None]
        self._slow += [each for each in begun if each.trial is None]
        turns = sum(2 * each.plan.group for each in last)
        rounds = _LAST_TURNS if self._may(_LAST_TURNS * turns) else 1
        seconds = self._seconds(_LAST_SECONDS)
        costs = time_turns([_candidate(each) for each in last], seconds=seconds, rounds=rounds)
        self._found = [
            dataclasses.replace(each, step=cost) for each, cost in zip(last, costs, strict=True)
        ]

    def _add_scoring(self) -> None:
        """Measure what scoring takes under the plans that are left, in turns, best of two."""
        split = self._experiment.splits.validation
        if not isinstance(split, Split):
            return  # what is streamed takes longer to read than to score, under any plan
        order = torch.arange(min(_SCORED, len(split)))
        costs = [math.inf] * len(self._found)
        for _ in range(3):  # the first one records
            for at, each in enumerate(self._found):
                assert each.trial is not None
                with each.plan.active():
                    watch = Stopwatch(each.plan)
                    each.trial.score_some(split, order, _SCORED)
                    wait_for(self._device)
                    costs[at] = min(costs[at], watch.own / each.trial.members)
        examples = scored_an_epoch(self._experiment)
        known = [cost / len(order) * examples for cost in costs]
        self._found = [
            dataclasses.replace(each, score=score)
            for each, score in zip(self._found, known, strict=True)
        ]
        # what was left behind is not measured any more: it is as good as the best of its kind
        kinds: dict[str, float] = {}
        for each in self._found:
            kinds[each.kind] = min(kinds.get(each.kind, math.inf), each.score)
        self._slow = [
            dataclasses.replace(each, score=kinds.get(each.kind, min(known))) for each in self._slow
        ]

    @staticmethod
    def _foremost(found: Sequence[Measured], total: Callable[[Measured], float]) -> list[Measured]:
        """The best of each kind, and what is close to the best of all."""
        ranked, kinds, foremost = sorted(found, key=total), set[str](), list[Measured]()
        for at, each in enumerate(ranked):
            if each.kind not in kinds or (at < _MOST and total(each) <= _CLOSE * total(ranked[0])):
                foremost.append(each)
            kinds.add(each.kind)
        return foremost

    def _with_trial(self, found: Measured) -> Measured:
        """Begin the trial anew that was given up for want of memory, if there is room now."""
        fits = found.trial is None and room(self._experiment, device=self._device)
        if fits < found.plan.group:
            return found
        return dataclasses.replace(found, trial=self._begun(found.plan)[0])


def _candidate(found: Measured) -> Candidate:
    assert found.trial is not None
    return Candidate(found.plan, found.trial.step, found.trial.members)
