"""One run as the server knows it: waiting, at work, or read from disk."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from droplab.lab._curves import Curves
from droplab.lab._limits import one_sentence
from droplab.lab._log import EventLog, dumps
from droplab.lab._plan import plan_sentence
from droplab.lab._verdict import judged, solution, verdict_view
from droplab.recipe import METRICS, Recipe
from droplab.results import RunResult

State = Literal["queued", "running", "stopping", "stopped", "done", "failed"]
ENDED: tuple[State, ...] = ("stopped", "done", "failed")

OFTEN = 0.2
"""Seconds between two events about points or progress: five a second."""


class Run:
    """A run: its state, its rows so far, and its events. Several threads may use one.

    Args:
        id: Name of its folder under the runs.
        recipe: What it trains.
        state: How it is.
        created: When it was ordered or begun, ISO 8601 in UTC.
    """

    def __init__(
        self, id: str, recipe: Recipe, *, state: State = "queued", created: str = ""
    ) -> None:
        self.id = id
        self.recipe = recipe
        self.state: State = state
        self.message = ""
        self.created = created or datetime.now(UTC).isoformat(timespec="seconds")
        self.lock = threading.RLock()
        self._log = EventLog()
        self._steps = self._steps_done = 0
        self._what = ""
        self._progress_told = (0, "")
        self._began: tuple[float, int] | None = None
        self._flushed = 0.0
        self._plan: Mapping[str, Any] = {}
        self._verdict: dict[str, Any] | None = None
        self._patch: str | None = None
        self._curves = Curves(recipe)
        self._members = _members(recipe)

    @classmethod
    def from_result(cls, id: str, result: RunResult, *, state: State) -> Run:
        """Return a run that was read from disk, with its verdict."""
        run = cls(id, result.recipe, state=state, created=result.created)
        run.fill(result)
        return run

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more, unless it is resumed."""
        return self.state in ENDED

    def fill(self, result: RunResult) -> None:
        """Take everything from what is on disk, the verdict too."""
        verdict = judged(result)
        patch = solution(result, verdict) if verdict else None
        curves, members = Curves(self.recipe), _members(self.recipe)
        for row in result.rows:
            values = {name: getattr(row, name) for name in METRICS}
            curves.add(row.arm, row.seed, row.epoch, values)
        curves.take_changed()
        for found in result.members:
            message = one_sentence(found.message)[-300:]
            members[found.arm, found.seed] = _member(
                found.arm, found.seed, found.state, found.epochs_done, message
            )
        steps = _steps_an_epoch(result)
        with self.lock:
            self.created = result.created
            self._curves, self._members = curves, members
            self._plan = result.plan
            self._steps = steps * result.recipe.epochs * len(result.members)
            self._steps_done = steps * sum(m.epochs_done for m in result.members)
            self._verdict = verdict_view(verdict) if verdict else None
            self._patch = patch

    def set_state(self, state: State, message: str = "") -> None:
        """Change the state, and tell of it; an ended run tells its verdict first."""
        with self.lock:
            self.flush(force=True)
            self.state, self.message = state, one_sentence(message)
            if state != "stopping":
                self._began = None
            if self.ended:
                self._log.add("verdict", {"verdict": self._verdict, "patch": self._patch})
            self._tell_state()

    def _tell_state(self) -> None:
        plan = plan_sentence(self.recipe, self._plan)
        state = {"state": self.state, "message": self.message, "plan": plan}
        self._log.add("state", {**state, "train_scored": self._plan.get("score_train", 0)})

    def take(self, message: dict[str, Any]) -> None:
        """Take one message of the worker."""
        with self.lock:
            event = message.get("event")
            if event == "row":
                self._take_row(message)
            elif event == "started":
                self._steps, self._steps_done = message["steps"], message["steps_done"]
                self._began = None
                self._plan = message["plan"]
                self._what = "training"
                self._tell_state()
            elif event == "steps":
                self._steps_done, self._what = message["steps_done"], message["what"]
                if self._began is None:  # the first step is slower than all others: not counted
                    self._began = (time.monotonic(), self._steps_done)
            elif event == "data":
                self._what = _fetching(message)
            elif event == "note":
                self._what = message["message"]
            elif event == "diverged":
                member = self._members.get((message["arm"], message["seed"]))
                if member is not None:
                    member.update(state="nan", message=one_sentence(message["message"])[:300])
            self.flush()

    def _take_row(self, row: dict[str, Any]) -> None:
        arm, seed, epoch = row["arm"], row["seed"], row["epoch"]
        if not self._curves.add(arm, seed, epoch, row):
            return
        member = self._members[arm, seed]
        member["epochs_done"] = max(member["epochs_done"], epoch)
        member["state"] = "done" if epoch == self.recipe.epochs else "running"

    def flush(self, *, force: bool = False) -> None:
        """Make events of what has changed, if the last ones are old enough."""
        with self.lock:
            now = time.monotonic()
            if not force and now - self._flushed < OFTEN:
                return
            points = self._curves.take_changed()
            if points:
                self._log.add("points", {"points": points})
            if (self._steps_done, self._what) != self._progress_told:
                self._progress_told = (self._steps_done, self._what)
                self._log.add("progress", self.progress())
            self._flushed = now

    def progress(self) -> dict[str, Any]:
        """Return how far it is, and how long it will take."""
        left = None
        began, before = self._began or (0.0, self._steps_done)
        if self.state == "running" and self._steps_done > before:
            seconds = time.monotonic() - began
            rest = max(0, self._steps - self._steps_done)
            left = round(rest * seconds / (self._steps_done - before), 1)
        return {
            "steps": self._steps,
            "steps_done": self._steps_done,
            "seconds_left": left,
            "what": self._what,
        }

    def summary(self) -> dict[str, Any]:
        """Return the run as a list shows it."""
        with self.lock:
            sweep = self.recipe.name.endswith("-sweep")
            return {
                "id": self.id,
                "recipe": self.recipe.name,
                "title": self.recipe.title or self.recipe.name,
                "kind": "sweep" if sweep else "experiment",
                "state": self.state,
                "message": self.message,
                "created": self.created,
                "arms": len(self.recipe.arms),
                "seeds": len(self.recipe.seeds),
                "epochs": self.recipe.epochs,
                "steps": self._steps,
                "steps_done": self._steps_done,
                "headline": self._verdict["headline"] if self._verdict else None,
            }

    def snapshot(self) -> dict[str, Any]:
        """Return everything about the run."""
        return self._snapshot()[1]

    def _snapshot(self) -> tuple[str, dict[str, Any]]:
        with self.lock:
            self.flush(force=True)
            newest, curves = self._log.newest, self._curves.copy()
            found = {
                "run": self.summary(),
                "arms": [arm.name for arm in self.recipe.arms],
                "rates": {arm.name: dict(arm.rates) for arm in self.recipe.arms},
                "seeds": list(self.recipe.seeds),
                "epochs": self.recipe.epochs,
                "metrics": list(METRICS),
                "primary": self.recipe.primary,
                "members": [dict(member) for member in self._members.values()],
                "progress": self.progress(),
                "verdict": self._verdict,
                "plan": plan_sentence(self.recipe, self._plan),
                "train_scored": self._plan.get("score_train", 0),
                "patch": self._patch,
            }
        return newest, {**found, **curves.whole()}  # this takes a while: nobody is kept waiting

    def snapshot_event(self) -> tuple[str, str, str]:
        """Return (id, "snapshot", content), where what is told later follows the id."""
        newest, content = self._snapshot()
        return newest, "snapshot", dumps(content)

    def missed(self, known: str) -> list[tuple[str, str, str]] | None:
        """Return the events after the one with the id `known`; None: take a snapshot."""
        with self.lock:
            self.flush()
            return self._log.since(known)

    def all_told(self, known: str) -> bool:
        """Whether the run has ended and its last event is `known`."""
        with self.lock:
            return self.ended and self._log.newest == known


def _member(
    arm: str, seed: int, state: str = "waiting", epochs_done: int = 0, message: str = ""
) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "state": state,
        "epochs_done": epochs_done,
        "message": message,
    }


def _members(recipe: Recipe) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (arm.name, seed): _member(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds
    }


def _steps_an_epoch(result: RunResult) -> int:
    """Return the steps of an epoch, 1 where the size of the data is not recorded."""
    try:
        images = json.loads(result.notes.get("data", "{}"))["train"]
        return max(1, math.ceil(images / result.recipe.batch_size))
    except (ArithmeticError, ValueError, KeyError, TypeError):
        return 1


def _fetching(message: dict[str, Any]) -> str:
    done, total = message["done"], message["total"]
    part = f" ({100 * done // total} %)" if total else ""
    return f"fetching {message['what']}{part}"
