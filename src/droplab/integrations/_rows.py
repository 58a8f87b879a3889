"""What receives the rows of a run, while it goes on or afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from droplab import results
from droplab.results import RunResult
from droplab.studies import Observer


class RowReceiver(Observer):
    """An observer for which rows are all that counts. Use it as a context, or close it."""

    def send(self, run: RunResult | str | Path) -> None:
        """Send the rows of a run that is there already.

        Args:
            run: The run, or its folder.

        Raises:
            RunError: If there is none in the folder.
        """
        result = run if isinstance(run, RunResult) else results.load(run)
        for row in result.rows:
            self.epoch_done(row)
        for member in result.members:
            if member.state in ("done", "nan", "failed"):
                self.ended(member.arm, member.seed, member.state)

    def close(self) -> None:
        """Let go of what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
