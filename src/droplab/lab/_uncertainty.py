"""The page of many passes with dropout of a run's models, made when it is asked for and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from droplab.errors import DroplabError, nearest, quote
from droplab.lab._body import Body
from droplab.lab._disk import DATABASE
from droplab.lab._limits import Refusal
from droplab.lab._queue import check_own
from droplab.lab._run import Run


class OfArm(Body):
    """Whose models are to predict."""

    arm: Annotated[str, Field(max_length=1000)]


class UncertaintyPages:
    """Makes pages as `droplab uncertainty RUN --arm ARM --out PAGE` does, one at a time.

    Args:
        folder: Returns the folder of a run.
        find: Returns a run.
        closing: Set when work is to end.
    """

    def __init__(
        self,
        folder: Callable[[str], Path],
        find: Callable[[str], Run],
        closing: threading.Event,
    ) -> None:
        self._folder, self._find, self._closing = folder, find, closing
        self._at_work = threading.Lock()

    def make(self, id: str, arm: str) -> None:
        """Predict with all models of an arm, unless their page is there already.

        Raises:
            Refusal: There is no such run or arm, the run is not done or needs code that is not
                droplab's, its models cannot be averaged, or another page is being made.
        """
        run, path = self._find(id), self._path(id, arm)
        if run.state != "done":
            raise Refusal(409, f"the run is {run.state}; only models of one that is done predict")
        check_own(run.recipe, "use droplab uncertainty RUN --out PAGE")
        if not self._at_work.acquire(blocking=False):
            raise Refusal(429, "the passes of another run are being made; wait until they are")
        try:
            if not self._is_new(path):
                self._write(path, id, arm)
        except DroplabError as problem:
            raise Refusal(409, str(problem)) from None
        finally:
            self._at_work.release()

    def read(self, id: str, arm: str) -> str:
        """Return a page that was made.

        Raises:
            Refusal: It was not, or not from the models that are there now.
        """
        path = self._path(id, arm)
        if not self._is_new(path):
            raise Refusal(404, "there is no such page yet; it is made in the view of the run")
        return path.read_text(encoding="utf-8")

    def _path(self, id: str, arm: str) -> Path:
        names = [each.name for each in self._find(id).recipe.arms]
        if arm not in names:
            raise Refusal(404, f"the run has no arm {quote(arm)}{nearest(arm, names)}")
        return self._folder(id) / f"uncertainty-{names.index(arm)}.html"

    @staticmethod
    def _is_new(path: Path) -> bool:
        database = path.with_name(DATABASE)
        return path.is_file() and path.stat().st_mtime_ns >= database.stat().st_mtime_ns

    def _write(self, path: Path, id: str, arm: str) -> None:
        from droplab.report import render_averaging
        from droplab.results import whole_file
        from droplab.studies import compare_averaging

        def progress(done: float, total: int) -> None:
            if self._closing.is_set():
                raise Refusal(503, "the lab is closing")

        found = compare_averaging(path.parent, arm=arm, figures=True, progress=progress)
        with whole_file(path) as part:
            part.write_text(render_averaging(found, id), encoding="utf-8")
