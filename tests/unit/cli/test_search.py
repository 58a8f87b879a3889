"""`droplab search` as it is typed."""

from __future__ import annotations

import json

import pytest

from droplab.cli import main

pytest.importorskip("optuna")

SMALL = ("--set", "data.train=60", "--epochs", "1", "--seeds", "1", "--confirm-seeds", "1")


def typed(*words):
    with pytest.raises(SystemExit) as stop:
        main(["search", "digits", *SMALL, *map(str, words)])
    return stop.value.code


def test_a_search_its_page_and_its_document(tmp_path, capsys):
    out = tmp_path / "found"
    assert typed("--trials", 2, "--batch", 2, "--out", out) == 0
    said = capsys.readouterr().out
    assert "generation 1: 2 plans, best validation loss" in said
    assert "fresh seeds leave" in " ".join(said.split())
    with pytest.raises(SystemExit):
        main(["report", str(out)])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What is left of it" in page
    assert "plan 1" in page
    assert "<script" not in page
    assert "val_loss" not in page
    assert "Validation loss of every plan" in page
    capsys.readouterr()
    assert typed("--trials", 2, "--batch", 2, "--out", out, "--resume", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [plan["number"] for plan in document["search"]["plans"]] == [0, 1]
    assert document["verdict"]["headline"] == document["search"]["headline"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--space", "nowhere"), "expected one of site, block, depth, all, or a TOML file"),
        (("--trials", 0), "trials: expected a whole number from 1"),
        (("--objective", "val_los"), "did you mean 'val_loss'"),
        (("--sampler", "nsga"), "sampler: expected one of tpe"),
        (("--fresh", "train"), "fresh: expected 'test' or 'validation'"),
        (("--gpus-per-trial", 1), "goes with --executor ray"),
        (("--address", "here"), "expected the cluster's head as host:port"),
        (("--first-epochs", 1), "first_epochs: expected fewer than the 1 epochs"),
        (("--resume",), "expected a search to go on with"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(tmp_path, capsys, words, message):
    assert typed("--out", tmp_path / "a", *words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
