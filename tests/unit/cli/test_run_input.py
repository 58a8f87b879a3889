"""Every bad input of `droplab run`: one clear error, exit 2, at most the title on stdout."""

from __future__ import annotations

import re

import pytest

from droplab.cli import main
from droplab.cli.run import parse_seeds, parse_time
from droplab.errors import ArgumentError
from droplab.recipe import load
from droplab.train import ExecutionPlan, Tried
from droplab.verdict import foresee

TITLE = (
    "Handwritten digits, 8x8: a network that overfits in seconds\n4 arms x 8 seeds x 60 epochs\n"
    f"{foresee(load('digits')).sentence}\n"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit",), "did you mean 'digits'"),
        (("digits", "--set", "epoch=3"), "did you mean 'epochs'"),
        (("digits", "--set", "epochs"), "expected KEY=VALUE"),
        (("digits", "--set", 'arms."0.3".rates.fc2=30'), "percentage; did you mean 0.3"),
        (("digits", "--set", 'arms."0.3".rates.fc2=-0.1'), "expected a drop probability"),
        (("digits", "--set", 'arms."0.3".rates.fc9=0.1'), "fc9"),
        (("digits", "--set", "optimizer.name=Adan"), "did you mean 'Adam'"),
        (("digits", "--set", "model.path=nets:Net"), "nets"),
        (("digits", "--set", "batch_size=5000"), "at most the 200 training examples"),
        (("digits", "--seeds", "zero"), "expected a count"),
        (("digits", "--budget", "soon"), "expected a time"),
        (("digits", "--arm", "nne"), "did you mean 'none'"),
        (("digits", "--resume", "--out", "nowhere"), "nowhere"),
        (("digits", "--out", "/proc/run"), "choose another folder"),
    ],
)
def test_bad_input_is_one_error_and_exit_2(
    arguments, message, capsys, monkeypatch, tmp_path, keep_plan
):
    monkeypatch.chdir(tmp_path)  # where no earlier run tells of its spread
    if arguments[-1] == "/proc/run":  # which is looked at after the plan
        tried = (Tried(step=1e-3, total=100.0, chosen=True),)
        keep_plan(load("digits"), ExecutionPlan(1, tried=tried))
    with pytest.raises(SystemExit) as stop:
        main(["run", *arguments])
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "defect" not in shown.err
    after = re.fullmatch(
        rf"({re.escape(TITLE)})?(measuring .*\n)?(Training takes .*\n)?", shown.out
    )
    assert after is not None


def test_an_unknown_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["rum"])
    assert stop.value.code == 2
    assert "did you mean 'run'" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback_in_a_file(capsys, monkeypatch):
    import droplab.recipe

    def broken(_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(droplab.recipe, "load", broken)
    with pytest.raises(SystemExit) as stop:
        main(["run", "digits"])
    assert stop.value.code == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: on purpose" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("2", (0, 1, 2), [0, 1]),
        ("4", (1, 7), [1, 7, 0, 2]),
        ("3,", (0,), [3]),
        ("5,6", (0,), [5, 6]),
    ],
)
def test_seeds(text, own, expected):
    assert parse_seeds(text, own) == expected


@pytest.mark.parametrize("text", ["0", "-1", "", "1.5", "a,b"])
def test_bad_seeds(text):
    with pytest.raises(ArgumentError, match="--seeds"):
        parse_seeds(text, (0,))


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600)])
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5m", "5 minutes", "m"])
def test_bad_times(text):
    with pytest.raises(ArgumentError, match="--budget"):
        parse_time(text)
