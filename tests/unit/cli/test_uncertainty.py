"""`droplab uncertainty` of one model: made from a file, with weights and data from others."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from droplab.cli import main

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=8):
        super().__init__(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, 10)
        )
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_net.py").write_text(NET)
    torch.manual_seed(0)
    state = {
        "1.weight": torch.randn(8, 64) / 8,
        "1.bias": torch.zeros(8),
        "4.weight": torch.randn(10, 8) / 3,
        "4.bias": torch.zeros(10),
    }
    torch.save(state, "net.pt")
    return tmp_path


def asked(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["uncertainty", *words])
    return int(stop.value.code or 0)


MODEL = ("own_net.py:Net", "--weights", "net.pt", "--passes", "3")


def test_one_model_is_scored_and_what_needs_several_is_said(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert asked(*MODEL, "--data", "digits", "--out", "page.html") == 0
    shown = capsys.readouterr().out
    assert "One model, 600 validation examples, 3 passes" in shown
    assert "judged over several seeds" in shown
    assert "Monte Carlo" in shown
    assert "±" not in shown
    assert "own_net.py:Net" in (folder / "page.html").read_text(encoding="utf-8")
    assert asked(*MODEL, "--data", "digits", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "own_net.py:Net"
    assert [row["prediction"] for row in found["rows"]] == ["plain", "Monte Carlo"]
    assert "verdict" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (MODEL, "expected --data beside a model"),
        ((*MODEL, "--data", "digits", "--arm", "0.5"), "--arm is of a run; there is no run at"),
        ((*MODEL, "--data", "nowhere"), "no file or folder 'nowhere'"),
        ((*MODEL, "--data", "digit"), "no file or folder 'digit'; did you mean 'digits'"),
        ((*MODEL, "--data", "digits", "--arg", "width=9"), "expected '1.weight' of shape (9, 64)"),
        ((".", "--data", "digits"), "a run has its own weights and data"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(folder, capsys, words, said):
    assert asked(*words) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
