"""A finding points into the user's own files, and advice has the name that stands there."""

from __future__ import annotations

import importlib.util
import linecache
import sys
from types import SimpleNamespace

import pytest
import torch

from droplab.doctor import examine, examine_loop
from droplab.doctor.live._frames import user_line, variable

LIBRARY = """
import torch.nn.functional as F
from torch import nn

class Noise(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)

class Two(nn.Module):
    def forward(self, x):
        y = F.dropout(x, 0.5)
        return y + F.dropout(x, 0.5)
"""
USER = """
import torch; from torch import nn

def net(layer):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(8, 8)
            self.noise = layer

        def forward(self, x):
            x = self.first(x)
            return self.noise(x)

    return Net()

def train(mine, optimizer, x, grad=True):
    mine(x).sum().backward()
    optimizer.step()
    mine.eval()
    for _ in range(2):
        mine(x).sum().backward()
        optimizer.step()

def validate(mine, optimizer, batches, grad):
    mine(batches[0]).sum().backward()
    optimizer.step()
    with torch.set_grad_enabled(grad):
        for x in batches:
            mine(x)
"""


def load(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    linecache.checkcache(str(path))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def library(tmp_path):
    return load(tmp_path / "env" / "site-packages" / "fancy.py", LIBRARY)


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load(tmp_path / "own.py", USER)


def test_a_layer_of_a_library_is_found_where_the_user_calls_it(library, user):
    (finding,) = examine(user.net(library.Noise()), torch.ones(4, 8), select=["DRP004"])
    assert (finding.path, finding.line) == ("own.py", 13)
    assert finding.source == "return self.noise(x)"


def test_a_model_of_a_library_has_no_line(library):
    found = examine(library.Noise(), torch.ones(4, 8), select=["DRP004"])
    assert [(finding.path, finding.line, finding.place) for finding in found] == [("", 0, "model")]


def test_dropouts_of_a_library_that_one_line_calls_are_told_apart(library, user):
    found = examine(user.net(library.Two()), torch.ones(4, 8), select=["DRP004"])
    assert [(finding.path, finding.line) for finding in found] == [("own.py", 13)] * 2


def test_a_trainer_of_a_library_is_found_where_the_user_starts_it(library, user, tmp_path):
    trainer = load(tmp_path / "env" / "site-packages" / "trainer.py", USER)
    text = "def go(trainer, net, optimizer, x):\n    trainer.train(net, optimizer, x)\n"
    script = load(tmp_path / "script.py", text)
    model = user.net(torch.nn.Dropout(0.5))
    with examine_loop(model, select=["DRP006"]) as watch:
        script.go(trainer, model, torch.optim.SGD(model.parameters(), 0.1), torch.ones(4, 8))
    (finding,) = watch.findings
    assert (finding.path, finding.line) == ("script.py", 2)
    assert finding.advice.startswith("call net.train() after validation")


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("DRP006", "call mine.train() after validation, or at the top of every epoch"),
        ("DRP005", "call mine.train() before training"),
        ("DRP007", "call mine.eval() before validation, and mine.train() after it"),
        ("DRP008", "call mine.eval() before validation, and mine.train() after it"),
    ],
)
def test_advice_names_the_variable_of_the_loop(user, code, advice):
    model = user.net(torch.nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loop, given = user.train, torch.ones(4, 8)
    if code in ("DRP007", "DRP008"):
        loop, given = user.validate, [torch.ones(4, 8), torch.zeros(4, 8), torch.ones(4, 8)]
    if code == "DRP005":
        model.eval()
    with examine_loop(model, select=[code]) as watch:
        loop(model, optimizer, given, grad=code == "DRP007")
    assert [finding.advice for finding in watch.findings] == [advice]


def test_attributes_of_self_are_names_and_strangers_have_none():
    def inside(self):
        return sys._getframe()

    net, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for owner in (SimpleNamespace(net=net), torch.nn.ModuleDict({"net": net})):
        frame = inside(owner)
        assert (variable(net, frame), variable(other, frame)) == ("self.net", "")
    assert variable(net, sys._getframe()) == "net"
    assert variable(net, None) == ""


def test_the_line_of_a_test_is_the_users():
    file, line = user_line()
    assert file.endswith("test_frames.py")
    assert line > 0
