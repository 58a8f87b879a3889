"""The writer of a study's folder, whose trials are trained by somebody's own loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from droplab.errors import RunError
from droplab.recipe import Recipe, dumps
from droplab.results import _schema
from droplab.results._driver import transaction
from droplab.results._rows import State
from droplab.results._store import RunStore
from droplab.results._whole_file import remove_temporary, whole_file


class StudyStore(RunStore):
    """A `RunStore` whose replicas are trials: they begin anew, and end with what was seen of them.

    Only the loop itself knows how far it is. So a trial that was stopped leaves no rows behind when
    it is begun again; one that has kept its state tells them once more.
    """

    @property
    def trials_folder(self) -> Path:
        """Where trials keep what they go on from; it is there once one has."""
        return self.folder / "trials"

    def remove_half_written(self) -> None:
        """Delete what trials that were killed have left half written, and nothing else."""
        if self.trials_folder.is_dir():
            remove_temporary(self.trials_folder)

    def begin(self, arm: str, seed: int) -> None:
        """Take away what an earlier attempt at a trial left, and say that it runs."""
        self._member(arm, seed, "state")
        place = (arm, seed)
        with transaction(self._connection, self._database) as sql:
            for table in ("epoch_values", "epochs"):
                sql.execute(f"DELETE FROM {table} WHERE arm = ? AND seed = ?", place)
            query = "UPDATE members SET state = 'running', message = '', epochs_done = 0"
            sql.execute(f"{query} WHERE arm = ? AND seed = ?", place)

    def end(
        self, arm: str, seed: int, state: State, message: str, notes: Mapping[str, str]
    ) -> None:
        """Say how a trial ended, with texts to keep beside the rows, at once."""
        self._member(arm, seed, "state")
        with transaction(self._connection, self._database) as sql:
            sql.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())
            sql.execute(
                "UPDATE members SET state = ?, message = ? WHERE arm = ? AND seed = ?",
                (state, message, arm, seed),
            )

    def close_unmeasured(self) -> None:
        """Close a study without rows and take it away, so that its folder is free for another.

        What its trials printed stays.
        """
        self.close()
        for name in (_schema.DATABASE, _schema.RECIPE):
            (self.folder / name).unlink(missing_ok=True)

    def lengthen(self, recipe: Recipe) -> None:
        """Keep the recipe with more epochs, since a trial trains longer than those before.

        Raises:
            RunError: It is another recipe.
        """
        if recipe.digest != self.digest:
            raise RunError(f"{self.folder}: expected the study's own recipe, got another")
        text = dumps(recipe)
        with whole_file(self.folder / _schema.RECIPE) as part:
            part.write_text(text, encoding="utf-8")
        with transaction(self._connection, self._database) as sql:
            sql.execute("UPDATE run SET value = ? WHERE name = 'recipe'", (text,))
