"""`droplab -v` tells what is decided."""

from __future__ import annotations

import logging

import pytest

from droplab.cli import main


@pytest.fixture(autouse=True)
def quiet_after():
    logger = logging.getLogger("droplab")
    before, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_the_plan_is_told_where_it_is_asked_for(options, tmp_path, capsys):
    arguments = ["run", "digits", "--epochs", "1", "--seeds", "0,", "--arm", "none", "--quiet"]
    with pytest.raises(SystemExit):
        main([*options, *arguments, "--plan", "measure", "--out", str(tmp_path / "run")])
    told = capsys.readouterr().err
    assert ("droplab.study: plan measured: Steps" in told) is bool(options)
