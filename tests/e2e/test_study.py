"""`droplab study` with a script of somebody's own, as a user runs it."""

from __future__ import annotations

import json
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest

from droplab import results

SCRIPT = """
import os, subprocess, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import droplab

trial = droplab.trial()
g = torch.Generator().manual_seed(0)
x = torch.randn(40, 6, generator=g)
y = x[:, :1] + 0.5 * torch.randn(40, 1, generator=g)
loader = DataLoader(TensorDataset(x[:20], y[:20]), batch_size=5, shuffle=True)
model = trial.place(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=float(sys.argv[1]))
inner = "import os; print('inner', os.environ.get('DROPLAB_TRIAL'))"
subprocess.run([sys.executable, "-c", inner], check=True)
for epoch in trial.epochs(2):
    for a, b in loader:
        loss = (model(a) - b).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trial.report(val_loss=(model(x[20:]) - y[20:]).square().mean().item())
"""

PLAIN = """
import json, os, sys

if sys.argv[2:]:
    with open(os.environ["DROPLAB_TRIAL"]) as file:
        asked = json.load(file)
    if (asked["arm"], asked["seed"]) == ("half", 1):
        sys.exit(0)

import torch
import droplab

trial = droplab.trial()
x = torch.linspace(0.0, 1.0, 10).view(-1, 1)
model = trial.place(torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(3)]))
for epoch in trial.epochs(2):
    loss = (model(x) - x).square().mean()
    loss.backward()
    with torch.no_grad():
        for weights in model.parameters():
            weights -= float(sys.argv[1]) * weights.grad
    model.zero_grad()
    match sys.argv[2:] and (trial.arm, trial.seed):
        case ("none", 1):
            raise ValueError("broken on purpose")
        case ("half", 0):
            sys.exit(3)
    trial.report(val_loss=loss)
"""
"""With a further argument, some trials fail. It has no optimizer, which loads torch's compiler, for
a second and a half in each process."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "arms.toml").write_text('none = {}\nhalf = { "2" = 0.5 }\n')
    return tmp_path


STUDY = ("study", "train.py", "--arms", "arms.toml", "--metric", "val_loss=lower")
STUDY += ("--seeds", "2", "--out", "out")


@pytest.mark.slow
def test_a_script_is_run_once_for_each_arm_and_seed(
    place: Path, droplab, command, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["train.py", "0.05"])
    runpy.run_path(str(place / "train.py"), run_name="__main__")  # alone, as without droplab
    assert "val_loss 0." in capsys.readouterr().out
    done = droplab(*STUDY, "--seeds", "1", "--workers", "2", "--json", "--", "0.01")
    document = json.loads(done.stdout)
    assert len(document["rows"]) == 2 * 2
    assert not [each for each in document["verdict"]["caveats"] if "Not paired" in each]
    result = results.load(place / "out")
    assert result.recipe.loop is not None
    assert result.recipe.loop.train == "train.py 0.01"
    assert "lr 0.01" in result.notes["model"]
    logs = [each.read_text() for each in (place / "out" / "logs").iterdir()]
    assert logs == ["inner None\n"] * 2  # what it starts is no trial
    command("report", "out")


@pytest.mark.slow
def test_scripts_that_fail_are_kept_and_run_again(place: Path, command):
    (place / "train.py").write_text(PLAIN)
    done = command(*STUDY, "--workers", "2", "--", "0.05", "fail")
    members = {(each.arm, each.seed): each for each in results.load(place / "out").members}
    assert members.pop(("none", 0)).state == "done"
    assert {each.state for each in members.values()} == {"failed"}
    for member, words in {
        ("none", 1): "ValueError: broken on purpose",
        ("half", 0): "it ended with exit code 3",
        ("half", 1): "it ended without a word of its trial",
    }.items():
        assert words in members[member].message
    told = "3 trials failed and are not counted (the first, 'half', seed 0: it ended with exit"
    assert told in done.stdout.replace("\n", " ")
    again = command(*STUDY, "--resume", "--", "0.05")
    assert again.stderr.count("trials") == 3
    assert {each.state for each in results.load(place / "out").members} == {"done"}


@pytest.mark.slow
def test_an_interrupted_study_says_how_to_go_on_and_leaves_no_process(place: Path, start_droplab):
    (place / "train.py").write_text(PLAIN)
    process = start_droplab(*STUDY, "--", "0.05")
    process.stderr.readline()  # the first trial is done
    time.sleep(0.5)  # the second has begun, and if not, nothing here depends on it
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--out out --resume" in said
    left = [
        each
        for each in Path("/proc").glob("[0-9]*/cmdline")
        if b"train.py\x000.05" in _read(each) and _in(each, place)
    ]
    assert not left
    states = [each.state for each in results.load(place / "out").members]
    assert states[0] == "done"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _in(path: Path, place: Path) -> bool:
    try:
        return (path.parent / "cwd").resolve() == place.resolve()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--metric", "acc"], "expected NAME=lower or NAME=higher, got 'acc'"),
        (["--metric", "acc=up"], "'lower' or 'higher'"),
        (["--primary", "val_los"], "did you mean 'val_loss'"),
        (["--arms", "none.toml"], "expected a TOML file"),
        (["--seeds", "0"], "expected a count between 1 and 10000"),
        (["--arms", "train.py"], "expected TOML"),
    ],
)
def test_bad_input_is_one_sentence(place: Path, command, more: list[str], words: str):
    done = command(*STUDY, *more, check=False)
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")
    assert not (place / "out").exists()
