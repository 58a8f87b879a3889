"""TensorBoard receives the rows of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from droplab.errors import RunError
from droplab.importing import optional
from droplab.integrations._rows import RowReceiver
from droplab.results import EpochRow, State


class Rows(RowReceiver):
    """Writes rows as scalars, a folder for each arm and seed, such as logs/half/seed-3.

    Give it to `droplab.study` or `droplab.run` as `observer=`, or let it `send` a run that is
    there already. A replica that is begun again, or sent again, replaces what was written of it.

    Args:
        folder: Where TensorBoard looks.

    Raises:
        BackendError: If tensorboard is not installed.
        RunError: If the folder cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        optional("tensorboard", install="droplab[tensorboard]")
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"tensorboard: {folder}: expected a folder for rows, and cannot make it "
                f"({error.strerror or error}); choose another place"
            ) from error
        self._open: dict[tuple[str, int], tuple[Any, int]] = {}

    def epoch_done(self, row: EpochRow) -> None:
        """Write a row."""
        writer = self._writer(row)
        for name, value in row.values.items():
            writer.add_scalar(name, value, row.epoch)
        writer.flush()

    def _writer(self, row: EpochRow) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # slow

        writer, last = self._open.get((row.arm, row.seed), (None, 0))
        if writer is not None and row.epoch <= last:
            writer.close()
            writer = None
        if writer is None:
            place = self.folder / row.arm / f"seed-{row.seed}"
            _wait_for_the_next_second(place)
            # TensorBoard then leaves out what an earlier attempt has written from here on
            writer = SummaryWriter(str(place), purge_step=row.epoch)
        self._open[row.arm, row.seed] = writer, row.epoch
        return writer

    def ended(self, arm: str, seed: int, state: State) -> None:
        """Close the file of a replica."""
        writer, _ = self._open.pop((arm, seed), (None, 0))
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Close all files."""
        for arm, seed in list(self._open):
            self.ended(arm, seed, "done")


def _wait_for_the_next_second(place: Path) -> None:
    """Wait until a new file is read after those that are there: names begin with whole seconds."""
    begun = [each.name.split(".")[3] for each in place.glob("events.out.tfevents.*")]
    newest = max((int(second) for second in begun if second.isdigit()), default=0)
    wait = newest + 1 - time.time()
    if 0 < wait <= 1:  # a later one is of another clock
        time.sleep(wait)
