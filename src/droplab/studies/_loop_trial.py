"""One trial of a study: one arm, one seed, and a training loop that is somebody's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch.distributed as dist
from torch import nn

from droplab.errors import ArgumentError, DroplabError, RunError, nearest, quote
from droplab.numeric import real, whole
from droplab.ops.rank import rank
from droplab.recipe import Recipe
from droplab.results import EpochRow
from droplab.rng import stream_key
from droplab.studies._control import Watch
from droplab.studies._ended import Ended, reason
from droplab.studies._folders import file_stem
from droplab.studies._placing import ArmsError, Placed, place
from droplab.studies._seeding import Generators, seed_generators
from droplab.studies._trial_checkpoint import END, TrialCheckpoint, iter_of, skip
from droplab.train.freed_memory import freed_memory_kept

M = TypeVar("M", bound=nn.Module)
B = TypeVar("B")


class Trial:
    """One arm with one seed. It places dropout, seeds the generators, and takes what is measured.

    Args:
        recipe: The study.
        arm: Name of the arm.
        seed: The seed.
        tell: Called with every row.
        keep: The file in which `checkpoint` keeps states; None for nowhere.

    Attributes:
        arm: Name of the arm.
        seed: The seed of the trial, for whatever wants one.
        name: What files of this trial may be called; no other trial of the study has it.
        metrics: What the study wants to be told after every epoch, what decides first.
        rng: A generator of numpy's with this seed, which is nobody else's.
    """

    def __init__(
        self,
        recipe: Recipe,
        arm: str,
        seed: int,
        tell: Callable[[EpochRow], None],
        keep: Path | None = None,
    ) -> None:
        self.arm, self.seed = arm, seed
        self.name, self.metrics = file_stem(recipe, arm, seed), tuple(recipe.metrics)
        self.rng = np.random.default_rng(stream_key(seed, "trial"))
        self._recipe, self._tell = recipe, tell
        self._placed: list[Placed] = []
        self._watch = Watch()
        self._memory = freed_memory_kept()
        self._rows: list[EpochRow] = []
        self._epoch = 0
        self._began = time.perf_counter()
        self._ended = False
        self._error: Exception | None = None
        self._generators: Generators | None = None
        self._keep = keep
        self._checkpoint: TrialCheckpoint | None = None
        self._left: dict[str, Any] | None = None
        """What was kept of an earlier attempt, as long as this one has not reached that place."""
        self._is_looped = False
        """Whether there was a loop over `batches` in this epoch."""

    def __repr__(self) -> str:
        return f"Trial({self.arm!r}, seed {self.seed})"

    def place(self, model: M, example: Any = None) -> M:
        """Put the arm's dropout into a model and guard it; return the same model.

        Every outermost call into it then runs on generators of its own, so that nothing that drops
        in it can move the order of batches, or an augmentation. Several models that are trained at
        once are placed together, in a `nn.ModuleDict`; models of the same kind one after another.

        Args:
            model: Any module.
            example: A batch to run once: functions that drop can then be named in "existing", and
                share their random numbers over arms.

        Raises:
            PlacementError: If an arm means no site of the model, or a rate that is not there.
        """
        self._check_open("place")
        if self._checkpoint is not None:
            raise RunError(f"{self}: expected one placed model where trial.checkpoint is used")
        generators = Generators()
        placed = place(
            *(self._recipe, self.arm, self.seed, model, example, len(self._placed)),
            seen=self._watch.called,
        )
        generators.restore()
        self._placed.append(placed)
        self._watch.stepped = placed.follow if placed.schedule is not None else None
        self._watch.placed(model)
        return model

    def checkpoint(self, *parts: Any, every: float = 60.0) -> None:
        """Keep what this trial needs to go on where it was stopped, to the same bits.

        Call it once, right before `epochs`. If an earlier attempt at this trial was stopped,
        `epochs` then goes on after what that one has kept, with all parts as they were. States are
        written after an epoch, and after a batch of `batches`.

        Args:
            parts: All that changes while the loop runs: model, optimizer, scheduler, scaler,
                whatever has `state_dict` and `load_state_dict`; generators; dicts and lists of
                what the loop adds up.
            every: Seconds that pass between two times at the least.

        Raises:
            ArgumentError: If a part is of a kind whose state is not known.
            RunError: If not one model was placed, or it is not among the parts.
        """
        self._check_open("checkpoint")
        seconds = real(every)
        if seconds is None or not seconds >= 0:
            raise ArgumentError(f"checkpoint: every: expected seconds, got {quote(every)}")
        if self._epoch or self._rows or self._checkpoint is not None:
            raise RunError(f"{self}: expected trial.checkpoint once, right before trial.epochs")
        if len(self._placed) != 1:
            count = len(self._placed)
            raise RunError(
                f"{self}: expected one placed model before trial.checkpoint, got {count}"
            )
        if rank() or (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            raise RunError(
                f"{self}: expected trial.checkpoint in one process, got one of several that train "
                "together; leave it out, the trial then begins anew if it is stopped"
            )
        found = TrialCheckpoint((self.rng, *parts), self._keep, seconds)
        self._placed[0].check_among(found.models)
        self._checkpoint, self._left = found, found.read()

    def batches(self, loader: Iterable[B]) -> Iterator[B]:
        """Yield what a loader gives, so that a trial can go on in the middle of an epoch.

        Without `checkpoint` it is the loader. A trial that goes on takes the batches that it has
        trained on from the loader again, and leaves them out.

        Args:
            loader: Any iterable of batches, the same ones whenever the epoch is begun.

        Raises:
            RunError: If it is called outside of `epochs`, or more than once in an epoch.
        """
        kept, left = self._checkpoint, self._left
        if kept is None:
            yield from loader
            return
        if not self._epoch or self._is_looped:
            raise RunError(
                f"{self}: expected one loop over trial.batches inside of each of trial.epochs, got "
                + (
                    "another; write trial.batches(zip(one, two)), or leave it out of one of them"
                    if self._is_looped
                    else "one outside"
                )
            )
        self._is_looped = True
        if left is not None:
            kept.restore_starts(left["trial"]["starts"])
        starts, done = kept.starts(), 0
        iterator = iter_of(loader, self)
        if left is not None:
            done = left["trial"]["batches"]
            skip(iterator, done, self)
            self._restore(left)
            self._left = None
        batch = next(iterator, END)
        while batch is not END:
            yield batch
            done += 1
            # Kept with a batch to come alone: what the loop's body binds is then bound again. And
            # as it was before that batch was made, which draws.
            content = self._content(kept, done, starts) if kept.is_due else None
            batch = next(iterator, END)
            if content is not None and batch is not END:
                kept.write(content)

    def _content(self, kept: TrialCheckpoint, batches: int, starts: Any) -> dict[str, Any]:
        return kept.content(
            {
                "batches": batches,
                "starts": starts,
                "rows": [asdict(row) for row in self._rows],
                "seconds": time.perf_counter() - self._began,
                "watch": self._watch.state(kept.optimizers()),
            }
        )

    def _restore(self, left: dict[str, Any]) -> None:
        assert self._checkpoint is not None
        self._checkpoint.restore(left)
        mine = left["trial"]
        self._watch.restore(mine["watch"], self._checkpoint.optimizers())
        self._rows = [EpochRow(**row) for row in mine["rows"]]
        self._began = time.perf_counter() - mine["seconds"]

    def epochs(self, n: int) -> Iterator[int]:
        """Yield 1 to n, with the generators of torch, numpy and Python seeded before each epoch.

        After `checkpoint` it begins with the epoch in which an earlier attempt was stopped.

        Raises:
            ArgumentError: If n is no whole number of at least 1.
        """
        count = whole(n)
        if count is None or count < 1:
            raise ArgumentError(f"epochs: expected a whole number of at least 1, got {quote(n)}")
        return self._epochs(count)

    def _epochs(self, count: int) -> Iterator[int]:
        kept, left, first = self._checkpoint, self._left, 1
        if kept is not None and self._epoch:
            raise RunError(f"{self}: expected one trial.epochs where trial.checkpoint is used")
        if left is not None:
            self._restore(left)
            for row in self._rows:
                self._tell(row)
            first = len(self._rows) + 1
            if left["trial"]["starts"] is None:  # it was stopped between two epochs
                self._left = None
        for epoch in range(first, count + 1):
            self._check_open("epochs")
            self._epoch, self._is_looped = epoch, False
            seed_generators(self.seed, "epoch", epoch)
            yield epoch
            if len(self._rows) < epoch and not rank():
                raise RunError(
                    f"{self}: expected a report in every epoch, got none in epoch {epoch}; call "
                    "trial.report at its end"
                )
            if self._left is not None:
                raise RunError(
                    f"{self}: expected to go on in the loop over trial.batches of epoch {epoch}, "
                    f"got none; delete {self._keep} to begin this trial anew"
                )
            if kept is not None and epoch < count and kept.is_due:
                kept.write(self._content(kept, 0, None))

    def report(self, **metrics: Any) -> None:
        """Keep what was measured at the end of an epoch.

        Args:
            metrics: A number for each metric that the study declares; the one that decides is
                needed in every epoch, any other may be left out.

        Raises:
            ArgumentError: If a metric is not declared, or a value is no number.
            RunError: If the trial has ended, or the epoch was reported before.
            PlacementError: If nothing was placed, or a site has not fired until now.
        """
        self._check_open("report")
        if rank():
            return
        declared = self._recipe.metrics
        for name in metrics:
            if name not in declared:
                raise ArgumentError(
                    f"report: expected metrics that the study declares, got {quote(name)}"
                    f"{nearest(name, declared)}"
                )
        if self._recipe.primary not in metrics:
            raise ArgumentError(
                f"report: expected {self._recipe.primary}, which decides, got "
                f"{', '.join(metrics) or 'nothing'}"
            )
        values: dict[str, float] = {}
        for name in declared:
            number = real(metrics[name]) if name in metrics else math.nan
            if number is None:
                raise ArgumentError(
                    f"report: {name}: expected a number, got {quote(metrics[name])}"
                )
            values[name] = float(number)
        epoch = len(self._rows) + 1
        if self._epoch and epoch > self._epoch:
            raise RunError(f"{self}: expected one report an epoch, got two in epoch {self._epoch}")
        if len(self._rows) < 2:
            self._check_placed(untrained=not self._rows)
        now = time.perf_counter()
        row = EpochRow(values, self.arm, self.seed, epoch, now - self._began)
        self._began = now
        self._watch.reported()
        self._rows.append(row)
        self._tell(row)

    def _check_open(self, what: str) -> None:
        if self._ended:
            raise RunError(f"{self}: {what} was called after the trial had ended")

    def _check_placed(self, *, untrained: bool = False) -> None:
        if not self._placed:
            raise RunError(
                f"{self}: nothing was placed, so all arms would be the same; call "
                "model = trial.place(model) before the optimizer is made"
            )
        if self._placed[-1].calls or not untrained:  # a loop may measure before its first step
            self._placed[-1].check_fired()

    def __enter__(self) -> Self:
        """Return the trial; an error inside the block fails this trial alone."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        """Keep an error as the reason why the trial failed, and go on."""
        self._error = error if isinstance(error, Exception) else None
        return self._error is not None

    # what a driver calls

    def open(self) -> None:
        """Seed the generators and begin to watch."""
        self._generators = Generators()
        self._watch.__enter__()
        self._memory.__enter__()
        seed_generators(self.seed, "init")

    def close(self, error: BaseException | None = None) -> Ended:
        """Stop watching, give the generators back, and return how the trial ended."""
        error = error or self._error
        if error is None and not rank():
            try:
                if not self._rows:
                    raise RunError(f"{self}: ended without a report; call trial.report")
                self._check_placed()
            except DroplabError as found:
                error = found
        self._ended = True
        self._watch.__exit__()
        self._memory.__exit__(None, None, None)
        if self._generators is not None:
            self._generators.restore()
        if error is not None:
            hopeless = isinstance(error, ArmsError)
            return Ended("failed", reason(error), self._seen(), hopeless=hopeless)
        decides = self._recipe.primary
        odd = [row.epoch for row in self._rows if not math.isfinite(row.values[decides])]
        if odd:
            return Ended("nan", f"{decides} is not finite in epoch {odd[0]}", self._seen())
        return Ended("done", "", self._seen())

    def _seen(self) -> dict[str, Any]:
        if not self._placed:
            return {}
        last = self._placed[-1]
        return {
            **self._watch.to_dict(),
            "rates": dict(last.rates),
            "existing": dict(last.existing),
            "own": dict(last.own),
            "fired": last.applied.fired,
            "drawn": last.applied.drawn,
            "kept": last.applied.kept,
            "scheduled": last.schedule is not None,
            "without_gradients": sum(each.without_gradients for each in self._placed),
        }


def run_trial(
    recipe: Recipe,
    arm: str,
    seed: int,
    train: Callable[[Trial], Any],
    tell: Callable[[EpochRow], None],
    keep: Path | None = None,
) -> Ended:
    """Run one trial in this process and return how it ended; only what ends a process escapes."""
    trial = Trial(recipe, arm, seed, tell, keep)
    trial.open()
    error: BaseException | None = None
    try:
        train(trial)
    except Exception as found:
        error = found
    except BaseException as found:
        trial.close(found)
        raise
    return trial.close(error)
