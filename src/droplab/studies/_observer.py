"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from droplab.recipe import Recipe
from droplab.results import EpochRow, State, TestRow
from droplab.studies._forecast import Forecast
from droplab.train import ExecutionPlan


class Observer:
    """Does nothing at every event of a run; override what you want to see.

    Example:
        >>> class Printer(Observer):
        ...     def epoch_done(self, row):
        ...         print(row.arm, row.epoch, row.val_accuracy)
    """

    def data_progress(self, what: str, done: int, total: int | None) -> None:
        """Data is being fetched: `done` of `total` bytes of `what` (None: not known)."""

    def planning(self) -> None:
        """A few steps are measured, to find how to train fastest; not where a plan is known."""

    def expected(self, cost: Forecast) -> None:
        """What the run will take; not where a plan was given or the run is resumed."""

    def noted(self, note: str) -> None:
        """Something about the data that its user should know, before training begins."""

    def started(
        self, recipe: Recipe, folder: Path, plan: ExecutionPlan, steps: int, steps_done: int
    ) -> None:
        """Training begins: `steps` optimizer steps over all replicas, `steps_done` before."""

    def steps_done(self, members: Sequence[tuple[str, int]], steps: int) -> None:
        """`steps` more steps were taken by replicas (arm, seed) that train together, or by one."""

    def group_halved(self, before: int, after: int) -> None:
        """Memory did not suffice for `before` replicas together; `after` are tried."""

    def diverged(self, arm: str, seed: int, message: str) -> None:
        """The loss of a replica became NaN; it is stopped, and the others go on."""

    def batches_logged(self, arm: str, seed: int, step: int, loss: float) -> None:
        """The mean loss of the mini-batches up to `step`, every `log_every` of them."""

    def epoch_done(self, row: EpochRow) -> None:
        """A row was measured and is safe on disk."""

    def ended(self, arm: str, seed: int, state: State) -> None:
        """A replica, or a trial, is done, has diverged or has failed."""

    def tested(self, row: TestRow) -> None:
        """A replica was measured on the test split."""


class Observers(Observer):
    """Tells several observers every event, in their order.

    Example:
        >>> class Counter(Observer):
        ...     seen = 0
        ...     def ended(self, arm, seed, state):
        ...         self.seen += 1
        >>> one, other = Counter(), Counter()
        >>> Observers(one, other).ended("half", 0, "done")
        >>> one.seen, other.seen
        (1, 1)
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    @staticmethod
    def _tells(event: str) -> Callable[..., None]:
        def tell(self: Observers, *about: Any, **named: Any) -> None:
            for each in self._observers:
                getattr(each, event)(*about, **named)

        return tell


for _event in vars(Observer):
    if not _event.startswith("_"):
        setattr(Observers, _event, Observers._tells(_event))


def named(members: Sequence[tuple[str, int]]) -> str:
    """Return what replicas that train together are called in a line of progress.

    Example:
        >>> named([("half", 3)]), named([("none", 0), ("half", 0)])
        ('half, seed 3', '2 replicas together')
    """
    if len(members) == 1:
        return f"{members[0][0]}, seed {members[0][1]}"
    return f"{len(members)} replicas together"
