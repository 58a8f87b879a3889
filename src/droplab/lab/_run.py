"""One run as the server knows it: what its worker tells of steps, and what is on disk."""

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
from droplab.limits import COUNT
from droplab.recipe import Recipe
from droplab.results import Member, RunResult

State = Literal["queued", "running", "stopping", "stopped", "done", "failed"]
ENDED: tuple[State, ...] = ("stopped", "done", "failed")

OFTEN = 0.2
"""Seconds between two events about progress: five a second."""


class Run:
    """A run: its state, what it has on disk, and its events. Several threads may use one.

    Rows, states of replicas, plan and verdict come from the disk alone (`fill`), for a run at work
    as for one that ended last year. A worker tells of what is not there: steps.

    Args:
        id: Name of its folder under the runs.
        recipe: What it trains.
    """

    def __init__(self, id: str, recipe: Recipe) -> None:
        self.id = id
        self.recipe = recipe
        self.state: State = "queued"
        self.message = ""
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self.lock = threading.RLock()
        self._log = EventLog()
        self._steps = self._steps_done = 0
        self._what = ""
        self._progress_told = (0, "")
        self._began: tuple[float, int] | None = None
        self._flushed = 0.0
        self._counted = False
        self._plan: Mapping[str, Any] = {}
        self._verdict: dict[str, Any] | None = None
        self._patch: str | None = None
        self._metrics = recipe.metrics
        self._curves = Curves(recipe)
        self._members: tuple[Member, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will happen any more, unless it is resumed."""
        return self.state in ENDED

    def fill(self, result: RunResult, state: State | None = None, message: str = "") -> None:
        """Take what is on disk and tell of what is new; with a state, change to that one as well.

        The verdict is that of an ended run.
        """
        verdict = judged(result) if (state or self.state) in ENDED else None
        patch = solution(result, verdict) if verdict else None
        curves = Curves(self.recipe, result.rows, result.metrics)
        steps = _steps_an_epoch(result)
        with self.lock:
            points = curves.changed_since(self._curves)
            if points:
                self._log.add("points", {"points": points})
            planned = result.plan != self._plan
            self.created, self._plan = result.created, result.plan
            self._curves, self._members = curves, result.members
            self._metrics = result.metrics
            self._verdict = verdict_view(verdict) if verdict else None
            self._patch = patch
            if not self._counted or state in ENDED:
                self._steps = steps * self.recipe.epochs * len(result.members)
                self._steps_done = steps * sum(m.epochs_done for m in result.members)
            if state is not None:
                self.set_state(state, message)
            elif planned:
                self._tell_state()

    def set_state(self, state: State, message: str = "") -> None:
        """Change the state, and tell of it; an ended run tells its verdict first."""
        with self.lock:
            self.flush(force=True)
            self.state, self.message = state, one_sentence(message)
            if state != "stopping":
                self._began, self._counted = None, False
            if self.ended:
                self._log.add("verdict", {"verdict": self._verdict, "patch": self._patch})
            self._tell_state()

    def _tell_state(self) -> None:
        self._log.add("state", {"state": self.state, "message": self.message, **self._planned()})

    def _planned(self) -> dict[str, Any]:
        return {
            "plan": plan_sentence(self.recipe, self._plan),
            "train_scored": self._plan.get("score_train", 0),
        }

    def take(self, message: dict[str, Any]) -> None:
        """Take one message of the worker."""
        with self.lock:
            event = message.get("event")
            if event == "started":
                self._steps, self._steps_done = message["steps"], message["steps_done"]
                self._began, self._counted = None, True
                self._what = "training"
            elif event == "steps":
                self._steps_done, self._what = message["steps_done"], message["what"]
                if self._began is None:  # the first step is slower than all others: not counted
                    self._began = (time.monotonic(), self._steps_done)
            elif event == "data":
                self._what = _getting_data(message)
            elif event == "note":
                self._what = message["message"]
            self.flush()

    def flush(self, *, force: bool = False) -> None:
        """Tell how far it is, if the last time is long enough ago."""
        with self.lock:
            now = time.monotonic()
            if not force and now - self._flushed < OFTEN:
                return
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
            newest, curves = self._log.newest, self._curves
            found = {
                "run": self.summary(),
                "arms": [arm.name for arm in self.recipe.arms],
                "rates": {arm.name: dict(arm.rates) for arm in self.recipe.arms},
                "seeds": list(self.recipe.seeds),
                "epochs": self.recipe.epochs,
                "once": self.recipe.reports_once,
                "metrics": [
                    {
                        "name": each.name,
                        "label": each.label,
                        "unit": each.unit,
                        "higher": each.higher_is_better,
                    }
                    for each in self._metrics.values()
                ],
                "primary": self.recipe.primary,
                "members": self._replicas(),
                "progress": self.progress(),
                "verdict": self._verdict,
                "patch": self._patch,
                **self._planned(),
            }
        return newest, {**found, **curves.whole()}  # this takes a while: nobody is kept waiting

    def _replicas(self) -> list[dict[str, Any]]:
        """Return the state of every replica; one that is not on disk yet waits."""
        there = {(member.arm, member.seed): member for member in self._members}
        places = [(arm.name, seed) for arm in self.recipe.arms for seed in self.recipe.seeds]
        found = [there.get(place) or Member(*place) for place in places]
        return [
            {
                "arm": member.arm,
                "seed": member.seed,
                "state": member.state,
                "epochs_done": member.epochs_done,
                "message": one_sentence(member.message)[-300:],
            }
            for member in found
        ]

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


def size_of_split(result: RunResult, split: str) -> int:
    """Return how many examples a split of the run's data has; 0 where that is not recorded."""
    try:
        return min(COUNT, int(json.loads(result.notes.get("data", "{}"))[split]))
    except (ArithmeticError, ValueError, LookupError, TypeError, RecursionError):
        return 0


def _steps_an_epoch(result: RunResult) -> int:
    """Return the steps of an epoch, 1 where the size of the data is not recorded."""
    return max(1, math.ceil(size_of_split(result, "train") / result.recipe.step_size))


def _getting_data(message: dict[str, Any]) -> str:
    done, total = message["done"], message["total"]
    part = f" ({100 * done // total} %)" if total else ""
    return f"{message['what']}{part}"
