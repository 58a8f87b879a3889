"""The help of every command, as a terminal shows it."""

from __future__ import annotations

import pytest

from droplab.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_stand_on_lines_of_their_own(name: str, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "\\b" not in shown
    examples = [line for line in shown.splitlines() if line.lstrip().startswith("droplab ")]
    assert len(examples) >= 2 * ("Examples:" in shown)
