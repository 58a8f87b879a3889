"""`droplab sweep`: its result, and every bad input with one clear error and exit 2."""

from __future__ import annotations

import json

import pytest

from droplab.cli import main


def sweep(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["sweep", *arguments])
    return stop.value.code


def test_a_sweep_ends_in_one_json_document(capsys):
    code = sweep("digits", "--rates", "0.2,0.5", "--seeds", "2", "--epochs", "2", "--json")
    shown = capsys.readouterr()
    assert code == 0
    document = json.loads(shown.out)
    assert {row["arm"] for row in document["rows"]} == {"none", "0.2", "0.5"}
    assert document["verdict"]["headline"]


def test_a_grid_over_sites_says_how_it_is_run(capsys):
    arguments = (
        "--rates",
        "0.5",
        "--independent",
        "--sites",
        "fc2,fc3",
        "--seeds",
        "1,",
        "--epochs",
        "1",
    )
    assert sweep("digits", *arguments, "--out", "run") == 0
    shown = capsys.readouterr().out
    assert "4 arms x 1 seed x 1 epoch" in shown
    assert "replicas" in shown
    assert "0.5-0" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit", "--rates", "0.5"), "did you mean 'digits'"),
        (("digits",), "--rates"),
        (("digits", "--rates", ""), "at least one rate"),
        (("digits", "--rates", "0"), "got only 0"),
        (("digits", "--rates", "20,50"), "percentage; did you mean 0.2"),
        (("digits", "--rates", "0:0.8"), "expected start:stop:step"),
        (("digits", "--rates", "0.5", "--sites", "fc9"), "fc9"),
        (("digits", "--rates", "0.5", "--kind", "elment"), "did you mean 'element'"),
        (("digits", "--rates", "0.5", "--seeds", "none"), "expected a count"),
        (("digits", "--rates", "0.5", "--epochs", "0"), "--epochs"),
        (("digits", "--rates", "0:0.9:0.01", "--independent"), "at most 1000 combinations"),
    ],
)
def test_bad_input_is_one_error_and_exit_2(arguments, message, capsys):
    assert sweep(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "defect" not in shown.err
    assert shown.out == ""
