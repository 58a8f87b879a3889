"""What writes the store of a study while its trials run."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from droplab.errors import RunError
from droplab.recipe import Recipe, loads
from droplab.results import EpochRow, StudyStore
from droplab.studies._ended import Ended
from droplab.studies._folders import file_stem
from droplab.studies._loop_trial import Trial
from droplab.studies._observer import Observer
from droplab.studies._ray_pool import RayPool
from droplab.studies._trial_worker import work
from droplab.studies._worker_pool import Pool, WorkerPool
from droplab.studies.cluster import RayCluster

Train = Callable[[Trial], Any]
Member = tuple[str, int]


def with_loop(recipe: Recipe, *, train: str | None = None, epochs: int | None = None) -> Recipe:
    """Return the recipe of a study with another place of its loop, or another length."""
    loop = recipe.loop
    assert loop is not None  # a study has one
    return dataclasses.replace(
        recipe,
        loop=dataclasses.replace(loop, train=loop.train if train is None else train),
        epochs=epochs or recipe.epochs,
    )


class StudyDriver:
    """One driver at work on a study; it alone writes the store.

    Args:
        store: Where the study is kept.
        quiet: Whether nothing is printed.
        observer: Told of every row, once it is safe on disk, and of how each trial ended.
    """

    def __init__(self, store: StudyStore, quiet: bool, observer: Observer) -> None:
        self._store, self._quiet, self._observer = store, quiet, observer
        self._recipe = loads(store.recipe_toml)
        self._began = time.perf_counter()
        self._members = len(store.members())
        self._todo = self._ended = 0
        self._is_in_vain = False
        self._last: dict[Member, EpochRow] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_in_vain:
            self._store.close_unmeasured()
        else:
            self._store.close()

    def todo(self) -> list[Member]:
        """The trials that are not done, seed by seed; those that failed before are among them."""
        found = [
            (member.arm, member.seed)
            for member in self._store.members()
            if member.state not in ("done", "nan")
        ]
        self._todo = len(found)
        return found

    def begin(self, arm: str, seed: int) -> None:
        self._store.begin(arm, seed)

    def row(self, row: EpochRow) -> None:
        """Keep a row."""
        if row.epoch > self._recipe.epochs:
            self._recipe = with_loop(self._recipe, epochs=row.epoch)
            self._store.lengthen(self._recipe)
        self._store.commit_epoch(row)
        self._last[row.arm, row.seed] = row
        self._observer.epoch_done(row)

    def keep(self, arm: str, seed: int) -> Path:
        """Return where a trial keeps what it needs to go on, if it is stopped."""
        return self._store.trials_folder / f"{file_stem(self._recipe, arm, seed)}.pt"

    def end(self, arm: str, seed: int, ended: Ended) -> None:
        """Keep how a trial ended, and what was seen of it.

        Raises:
            RunError: If every other trial would fail for the same reason.
        """
        notes = self._store.notes()
        if ended.state != "failed" and (twin := self._twin(arm, seed, ended.seen, notes)):
            ended = Ended("failed", twin, ended.seen)
        kept: dict[str, str] = {}
        if ended.state != "failed":
            seen = ended.seen
            arms = json.loads(notes.get("arms", "{}"))
            arms[arm] = {"rates": seen["rates"], "existing": seen["existing"]}
            kept = {
                seen_name(arm, seed): json.dumps(seen),
                "arms": json.dumps(arms),
                "dropout": json.dumps(seen["own"]),
                "model": json.dumps(
                    {"parameters": seen["parameters"][-1], "optimizers": seen["optimizers"]}
                ),
            }
        self._store.end(arm, seed, ended.state, ended.message, kept)
        if not ended.killed:
            self.keep(arm, seed).unlink(missing_ok=True)
        self._observer.ended(arm, seed, ended.state)
        self._ended += 1
        self._say(arm, seed, ended)
        if ended.hopeless:
            self._is_in_vain = not self._store.rows()
            raise RunError(f"{self._store.folder}: no trial can be run; {ended.message}")

    def _twin(self, arm: str, seed: int, seen: Mapping[str, Any], notes: Mapping[str, str]) -> str:
        """Say of which other seed a trial is a copy; "" of none."""
        looked = seen["batches"] or seen["inputs"]
        for other in self._recipe.seeds:
            text = notes.get(seen_name(arm, other))
            if other == seed or text is None or not looked:
                continue
            before = json.loads(text)
            if all(before[each] == seen[each] for each in ("weights", "batches", "inputs")):
                return (
                    f"seed {seed} has the same initial weights and the same batches as seed "
                    f"{other}, so the two are one; take torch.manual_seed and fixed generators out "
                    "of the loop, or seed them with trial.seed"
                )
        return ""

    def run_beside(
        self,
        todo: Sequence[Member],
        train: Any,
        count: int,
        *,
        main: bool,
        cluster: RayCluster | None = None,
        target: Callable[..., None] = work,
    ) -> None:
        """Run trials in processes, `count` at a time, or on a cluster.

        Args:
            todo: The trials.
            train: What `target` is given for each.
            count: Processes at a time of this machine.
            main: Whether they need the caller's script.
            cluster: Whose processes do it instead.
            target: Does one trial: see `droplab.studies._trial_worker.work`.
        """
        pool: Pool[Member]
        if cluster is None:
            pool = WorkerPool[Member](target, self._store.folder, count, main=main)
        else:
            pool = RayPool[Member](cluster, target, self._store.folder)

        def kept(member: Member) -> Path:
            return self.keep(*member).relative_to(self._store.folder)

        def needs(member: Member) -> tuple[Path, ...]:
            return (kept(member),) if self.keep(*member).exists() else ()

        def arguments(member: Member) -> tuple[Any, ...]:
            self.begin(*member)
            return self._recipe, *member, train, kept(member)

        def take(member: Member, told: EpochRow | Ended) -> bool:
            if isinstance(told, EpochRow):
                self.row(told)
                return False
            self.end(*member, told)
            return True

        def lost(member: Member, how: str) -> tuple[Member, ...]:
            self.end(*member, Ended("failed", f"its process died ({how})", killed=True))
            return ()

        pool.run(todo, arguments=arguments, needs=needs, take=take, lost=lost)

    def _say(self, arm: str, seed: int, ended: Ended) -> None:
        if self._quiet:
            return
        decides = self._recipe.primary
        row = self._last.get((arm, seed))
        what = ended.message or (f"{decides} {row.values[decides]:.4g}" if row else "")
        word = "failed: " if ended.state == "failed" else ""
        left = ""
        if self._ended < self._todo:
            each = (time.perf_counter() - self._began) / self._ended
            left = f", about {_time(each * (self._todo - self._ended))} left"
        done = self._members - self._todo + self._ended
        line = f"{arm}, seed {seed}: {word}{what} ({done} of {self._members} trials{left})"
        print(line, file=sys.stderr, flush=True)


def seen_name(arm: str, seed: int) -> str:
    """Return the name of the note on what was seen of a trial."""
    return f"trial/{arm}/{seed}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
