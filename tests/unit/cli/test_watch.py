"""What a run prints as it goes."""

from __future__ import annotations

import io

from rich.console import Console

from droplab.cli._watch import Watch
from droplab.recipe import load


def test_a_note_on_the_data_reaches_the_terminal_whole() -> None:
    note = "data/[docs] is not read, since it is no split. " * 4
    for quiet in (False, True):
        console = Console(file=io.StringIO(), width=40)
        with Watch(console, load("digits"), ["none"], quiet=quiet) as watch:
            watch.noted(note)
        assert console.file.getvalue() == ("" if quiet else f"note: {note}\n")  # type: ignore[attr-defined]
