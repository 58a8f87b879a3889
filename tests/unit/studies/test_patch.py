"""The winner of a run, as a change of the user's own file."""

from __future__ import annotations

import dataclasses

from droplab.recipe import Arm, ModelSpec, load, override
from droplab.studies import run
from droplab.train import ExecutionPlan

NET = """
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 16), nn.Linear(16, 10)])

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)
        return x


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


class Installed(nn.Sequential):
    def __new__(cls):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


def result_of(tmp_path, monkeypatch, model, site):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / f"nets_{model.lower()}.py").write_text(NET)
    monkeypatch.chdir(folder)
    recipe = dataclasses.replace(
        override(load("digits"), {"epochs": 1, "seeds": [0]}),
        model=ModelSpec(f"nets_{model.lower()}:{model}"),
        arms=(Arm("none"), Arm("half", {site: 0.5})),
    )
    return run(recipe, tmp_path / "run", plan=ExecutionPlan(1))


def test_the_patch_of_the_chosen_arm_is_kept(tmp_path, monkeypatch):
    notes = result_of(tmp_path, monkeypatch, "Net", "fc2").notes
    added = [line for line in notes["patch"].splitlines() if line.startswith("+ ")]
    assert len(added) == 2
    assert "nn.Dropout(p=0.5)" in added[0]
    assert "fc2" in added[1]


def test_a_source_that_cannot_be_patched_is_told(tmp_path, monkeypatch):
    notes = result_of(tmp_path, monkeypatch, "Looped", "layers.1").notes
    assert "patch" not in notes
    assert "nets_looped.py" in notes["patch refused"]


def test_a_network_that_a_function_makes_is_patched_there(tmp_path, monkeypatch):
    notes = result_of(tmp_path, monkeypatch, "make", "3").notes
    (added,) = [line for line in notes["patch"].splitlines() if line.startswith("+ ")]
    assert "nn.ReLU(), nn.Dropout(p=0.5), nn.Linear(16, 10))" in added
    assert "nets_make.py" in notes["patch"]


def test_a_network_of_a_package_is_not_the_users_to_patch(tmp_path, monkeypatch):
    notes = result_of(tmp_path, monkeypatch, "Installed", "3").notes
    assert "patch" not in notes
    assert "which is installed here and not yours to change" in notes["patch refused"]
