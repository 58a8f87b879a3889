"""No option string, however odd, ends in anything but a result or one bounded sentence."""

from __future__ import annotations

import os

import pytest

from droplab.recipe import METRICS, dumps, load, override
from droplab.results import EpochRow, RunStore
from droplab.results import load as load_run

NET = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, width=8, name="a"):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, int(width)), nn.Linear(int(width), 2)
    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))
"""


@pytest.fixture
def places(tmp_path):
    """The words that stand for a file or a folder, good ones and bad ones."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "own.toml").write_text(dumps(load("digits")), encoding="utf-8")
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "bytes.py").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "deep.py").write_text("x = " + "(" * 3000, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / os.fsdecode(b"raw\xff.py")).write_text(NET, encoding="utf-8")
    recipe = override(load("digits"), {"epochs": 1})
    members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
    with RunStore.create(tmp_path / "run", dumps(recipe), recipe.digest, {}, members) as store:
        store.commit_epochs(
            [EpochRow(dict.fromkeys(METRICS, 0.5 + s / 50), a, s, 1, 0.5) for a, s in members]
        )
    names = [str(path) for path in tmp_path.iterdir()]
    targets = [f"{name}:{item}" for name in names for item in ("Net", "None", "a.b", "nn")]
    return [*names, *targets, str(tmp_path / "none"), f"{tmp_path}/{'x' * 300}", "/dev/zero"]


USUAL = {
    "run": {
        "--arm": "none",
        "--seeds": "0,1",
        "--epochs": "3",
        "--set": "optimizer.lr=0.1",
        "--out": "out",
        "--budget": "5m",
        "--log-every": "3",
        "--device": "cpu",
        "--json": None,
        "--quiet": None,
        "--resume": None,
        "--require-target": None,
    },
    "sweep": {
        "--rates": "0:0.5:0.1",
        "--sites": "fc1,fc2",
        "--kind": "element",
        "--seeds": "2",
        "--epochs": "2",
        "--out": "out",
        "--budget": "2h",
        "--independent": None,
    },
    "report": {"--format": "md", "--out": "-", "--png": "out.png"},
    "recipes show": {"--json": None, "--toml": None},
    "sites": {"--arg": "width=4", "--example": "2x4", "--json": None},
    "patch": {"--rates": "fc2=0.3", "--plan": "plan.toml", "--run": "run", "--kind": "element"},
    "check": {
        "--example": "2x4",
        "--arguments": '{"width": 4}',
        "--format": "json",
        "--select": "DRP001",
        "--ignore": "DRP03",
        "--exclude": "a*",
        "--list": None,
    },
    "practice": {"--topic": "eval-mode", "--level": "1", "--show": "3", "--hint": "2"},
    "data where": {},
    "data get": {"--quiet": None},
    "selftest": {},
    "nothing": {},
}
"""Each command with its options and a value that each usually has."""


def test_options(count, rng, nasty, places, command, monkeypatch):
    run = next(place for place in places if place.endswith("/run"))
    monkeypatch.setattr("droplab.studies.run", lambda *args, **kwargs: load_run(run))
    codes = [command(_arguments(rng, nasty, places)) for _ in range(count)]
    assert {0, 2} <= set(codes)


def _arguments(rng, nasty, places):
    name = rng.choice(list(USUAL))
    usual = USUAL[name]
    words = name.split()
    if name == "selftest":  # which takes long, unless it is refused
        return [*words, "--device", nasty()]
    if name != "practice":
        first = {"run": "digits", "sweep": "digits", "data": "digits"}.get(words[0], "digits")
        words.append(rng.choice([first, rng.choice(places), rng.choice(places), nasty()]))
    if name == "sweep":
        words += ["--rates", rng.choice(["0.5", nasty(), _odd(rng, "0:0.5:0.1", nasty)])]
    for option in rng.sample(list(usual), min(len(usual), rng.randrange(4))):
        words.append(option)
        good = usual[option]
        if good is not None:
            kinds = [good, nasty(), rng.choice(places), _odd(rng, good, nasty)]
            words.append(rng.choice(kinds))
    return [word for word in words if "\0" not in word]  # which no shell can pass


def _odd(rng, good, nasty):
    """Return a usual value with a wound."""
    at = rng.randrange(len(good) + 1)
    return good[:at] + nasty() + good[at + rng.randrange(3) :]
