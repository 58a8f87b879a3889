"""`droplab judge`: the table of somebody's trials on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from droplab.cli import main

pytest.importorskip("pandas")

ASKED = ("--arm", "p", "--seed", "seed", "--metric", "val_loss=lower")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [
        f"{p},{s},{0.7 + s % 3 / 20 - p * (0.2 + s / 100)}" for p in (0, 0.5) for s in range(8)
    ]
    path = tmp_path / "results.csv"
    path.write_text("\n".join(["p,seed,val_loss", *lines]))
    return path


def judged(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["judge", *map(str, words)])
    return int(stop.value.code or 0)


def test_it_prints_the_verdict_and_writes_the_report(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["droplab"])
    page, text = tmp_path / "out" / "page.html", tmp_path / "page.md"
    assert judged(table, *ASKED, "--report", page) == 0
    shown = capsys.readouterr().out
    assert "Dropout helps at the end: validation loss is" in shown
    assert "droplab did not see these runs" in shown
    assert "droplab report" not in shown  # there is no run to make it of
    assert page.read_text().startswith("<!doctype html>")
    assert f"droplab judge {table} --arm p" in page.read_text()
    assert judged(table, *ASKED, "--report", text) == 0
    assert text.read_text().startswith("## Dropout helps")


def test_seeds_may_be_folds(table, capsys):
    assert judged(table, *ASKED, "--folds", 4, "--margin-size", 0.01, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["folds"], verdict["margin"]) == (4, "0.010")
    assert "4 folds x 2 repeats" in verdict["headline"]


def test_json_is_one_document(table, capsys):
    assert judged(table, *ASKED, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"]["arms"][1]["word"] == "helps"
    assert len(document["rows"]) == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arm", "p", "--seed", "seed", "--metric", "val_loss"], "expected COLUMN=lower"),
        (["--arm", "p", "--seed", "seed", "--metric", "=lower"], "expected COLUMN=lower"),
        (["--arm", "p", "--seed", "sed", "--metric", "val_loss=lower"], "did you mean 'seed'?"),
        ([*ASKED, "--baseline", "0.2"], "has no arm '0.2'"),
        ([*ASKED, "--folds", "5"], "whole repeats of 5 folds"),
        ([*ASKED, "--margin-size", "0"], "margin_size"),
        ([*ASKED, "--report", "/dev/null/x.html"], "cannot be written"),
        (["--arm", "p", "--metric", "val_loss=lower"], "Missing option '--seed'"),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence(table, capsys, words, said):
    assert judged(table, *words) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
