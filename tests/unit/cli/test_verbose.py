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


ARGUMENTS = ["run", "digits", "--epochs", "1", "--seeds", "0,", "--arm", "none", "--quiet"]


def stderr_of(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("-v",), ("run -v",)])
def test_the_plan_is_told_where_it_is_asked_for(options, tmp_path, capsys):
    arguments = [*ARGUMENTS, "--plan", "measure", "--out", str(tmp_path / "run")]
    arguments = [*arguments, "-v"] if options == ("run -v",) else [*options, *arguments]
    told = stderr_of(arguments, capsys)
    assert ("droplab.studies: plan measured: Steps" in told) is bool(options)
    assert ("droplab.studies: plan tried: Steps eager, 1 thread" in told) is bool(options)
    assert ("droplab.studies: checkpoint written in " in told) is bool(options)


def test_workers_recordings_and_resuming_are_told(tmp_path, capsys):
    plan = tmp_path / "plan.json"
    plan.write_text('{"threads": 1, "captured": true, "workers": 1}')
    place = ["--out", str(tmp_path / "run")]
    told = stderr_of([*ARGUMENTS, *place, "--plan", str(plan), "-v"], capsys)
    said = [
        "droplab.studies: worker process ",
        "droplab.studies: arm 'none', seed 0 begins",
        "droplab.train: step recorded for a batch of ",
        "droplab.studies: checkpoint written in ",
        " ended, exit code 0",
    ]
    at = [told.index(each) for each in said]
    assert at == sorted(at)
    told = stderr_of([*ARGUMENTS, *place, "--resume", "-v"], capsys)
    assert " is resumed: " in told


def test_the_library_says_nothing_by_itself():
    handlers = logging.getLogger("droplab").handlers
    assert any(isinstance(each, logging.NullHandler) for each in handlers)
