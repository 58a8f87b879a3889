"""The source patch through helpers of the file, around conditions, and where `*` reaches."""

from __future__ import annotations

import importlib.util
import re
import shlex

import libcst
import pytest
import torch
from click.testing import CliRunner

from droplab import cli
from droplab.errors import PlacementError
from droplab.placement import patch_file, plan

HEADER = """\
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


def dense(inside, outside):
    # as torchvision's conv3x3
    return nn.Linear(inside, outside)


def block(size):
    return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))


half = partial(nn.Linear, bias=True)
Dense = nn.Linear


class Scaled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.out = nn.Linear(6, 6)

    def forward(self, x):
        return self.out(F.relu(self.fc(x)))


class Net(nn.Module):
    def __init__(self, p=0.0):
        super().__init__()
        self.first = nn.Linear(6, 6)
"""


def net(init, body, more=""):
    lines = [f"        {line}\n" for line in init.split("\n")]
    steps = [f"        {line}\n" for line in body.split("\n")]
    return f"{HEADER}{''.join(lines)}\n{more}    def forward(self, x):\n{''.join(steps)}"


def load(path, *arguments):
    spec = importlib.util.spec_from_file_location("patched_net", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.Net(*arguments)


METHOD = "    def make(self, size):\n        return nn.Linear(size, size)\n\n"

MADE = {
    "a function": ("self.fc = dense(6, 6)", "return self.fc(F.relu(self.first(x)))"),
    "partial": ("self.fc = half(6, 6)", "return self.fc(F.relu(self.first(x)))"),
    "another name": ("self.fc = Dense(6, 6)", "return self.fc(F.relu(self.first(x)))"),
    "a subclass": ("self.fc = Scaled(6, 6)", "return self.fc(F.relu(self.first(x)))"),
    "a method": ("self.fc = self.make(6)", "return self.fc(F.relu(self.first(x)))"),
    "two at once": (
        "self.other, self.fc = nn.Linear(6, 6), nn.Linear(6, 6)",
        "return self.fc(F.relu(self.other(self.first(x))))",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_layer_that_a_helper_makes_is_patched_as_it_is_planned(tmp_path, name):
    path, x = tmp_path / "net.py", torch.randn(3, 6)
    path.write_text(net(*MADE[name], METHOD))
    planned = load(path)
    plan(planned, {"fc": 1.0}).apply()
    patch_file(path, "Net", {"fc": 1.0}).write()
    patched = load(path)
    assert "self.fc_dropout = nn.Dropout(p=1.0)" in path.read_text()
    assert torch.equal(patched(x), planned(x))
    assert not torch.equal(patched(x), patched.eval()(x))


def test_a_sequential_that_one_helper_makes_is_patched_there(tmp_path):
    path, x = tmp_path / "net.py", torch.randn(3, 6)
    path.write_text(net("self.body = block(6)", "return self.body(self.first(x))"))
    planned = load(path)
    plan(planned, {"body.2": 1.0}).apply()
    patch_file(path, "Net", {"body.2": 1.0}).write()
    assert "nn.ReLU(), nn.Dropout(p=1.0), nn.Linear(size, size))" in path.read_text()
    assert torch.equal(load(path)(x), planned(x))


def test_a_sequential_of_a_helper_with_two_callers_is_refused(tmp_path):
    path = tmp_path / "net.py"
    body = "return self.two(self.body(self.first(x)))"
    path.write_text(net("self.body = block(6)\nself.two = block(6)", body))
    with pytest.raises(PlacementError, match="the elements of 'body' do not stand in the source"):
        patch_file(path, "Net", {"body.2": 0.1})


DROPPED = {
    "else an identity": (
        "self.fc = nn.Linear(6, 6)\nself.drop = nn.Dropout(p) if p > 0 else nn.Identity()",
        "return self.fc(self.drop(self.first(x)))",
    ),
    "else none": (
        "self.fc = nn.Linear(6, 6)\nself.drop = None if p == 0 else nn.Dropout(p)",
        "x = self.first(x)\nif self.drop is not None:\n    x = self.drop(x)\nreturn self.fc(x)",
    ),
    "two branches": (
        "self.fc = nn.Linear(6, 6)\nif p:\n    self.drop = nn.Dropout(p)\n"
        "else:\n    self.drop = None",
        "x = self.first(x)\nx = self.drop(x) if self.drop is not None else x\nreturn self.fc(x)",
    ),
    "a relu after it": (
        "self.fc = nn.Linear(6, 6)\nself.drop = nn.Dropout(p) if p > 0 else nn.Identity()",
        "x = self.first(x)\nif self.drop is not None:\n    x = self.drop(x)\n"
        "return self.fc(F.relu(x))",
    ),
    "a function": (
        "self.fc = nn.Linear(6, 6)",
        "x = self.first(x)\nif self.training:\n    x = F.dropout(x, 0.1)\nreturn self.fc(x)",
    ),
}


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.parametrize("p", [0.0, 0.25])
def test_a_dropout_under_a_condition_is_changed_and_no_second_one_added(tmp_path, name, p):
    path, x = tmp_path / "net.py", torch.randn(3, 6)
    path.write_text(net(*DROPPED[name]))
    before = len(re.findall(r"fc_dropout", path.read_text()))
    patch = patch_file(path, "Net", {"fc": 1.0})
    assert [edit.what.startswith("changed the dropout that is there") for edit in patch.edits] == [
        True
    ]
    patch.write()
    assert len(re.findall(r"fc_dropout", path.read_text())) == before == 0
    model = load(path, p)
    assert torch.equal(model(x), model.fc.bias.expand(3, 6))


def test_a_dropout_that_a_helper_makes_is_refused_and_not_stacked_on(tmp_path):
    path = tmp_path / "net.py"
    made = "self.fc = nn.Linear(6, 6)\nself.drop = self.make_drop()"
    more = "    def make_drop(self):\n        return nn.Dropout(0.1)\n\n"
    path.write_text(net(made, "return self.fc(self.drop(self.first(x)))", more))
    with pytest.raises(PlacementError, match="the dropout 'drop' is made by a helper"):
        patch_file(path, "Net", {"fc": 0.3})


NORMED = """\
import torch
from torch import nn


def conv(inside, outside):
    return nn.Conv2d(inside, outside, 3, bias=False)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = conv(3, 4)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2, self.bn2 = conv(4, 4), nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = (x - 0.5) / 0.25
        x = self.conv1(x)
        x = torch.relu(self.bn1(x))
        x = self.bn2(self.conv2(x)).relu()
        x = self.last(self.body(x))
        return self.fc(x.mean((2, 3)))
"""


def test_a_star_leaves_out_what_a_plan_leaves_out(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NORMED)
    example = torch.zeros(2, 3, 16, 16)
    for rates in ({"*": 0.1}, {"type:Conv2d": 0.1}, {"conv*": 0.1}):
        planned = plan(load(path), rates, example=example)
        patched = patch_file(path, "Net", rates)
        assert {edit.site for edit in patched.edits} == set(planned.names)
    assert set(planned.names) == {"conv2"}
    with pytest.raises(PlacementError, match=r"'conv1': the model's own input"):
        patch_file(path, "Net", {"conv1*": 0.1})


TOP = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.one, self.two = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x):
        return self.two(self.one(x))


model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
net = Net(4)


def make(size=4):
    \"\"\"Make one.\"\"\"
    return nn.Sequential(nn.Linear(size, size), nn.Linear(size, 2))
"""


@pytest.mark.parametrize(
    ("name", "rates", "line"),
    [
        ("model", {"*": 0.3}, "nn.ReLU(), nn.Dropout(p=0.3), nn.Linear(8, 2))"),
        ("model", {"1": 0.3}, "nn.Flatten(), nn.Dropout(p=0.3), nn.Linear(4, 8), nn.ReLU()"),
        ("make", {"*": 0.3}, "nn.Linear(size, size), nn.Dropout(p=0.3), nn.Linear(size, 2))"),
        ("net", {"*": 0.3}, "self.two(self.two_dropout(self.one(x)))"),
    ],
)
def test_a_model_at_the_top_of_a_file_is_patched_where_it_is_made(tmp_path, name, rates, line):
    path = tmp_path / "net.py"
    path.write_text(TOP)
    patch = patch_file(path, name, rates)
    assert line in patch.after.decode()
    assert len(patch.edits) == 1


def test_what_a_model_at_the_top_has_not_is_refused(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(TOP)
    with pytest.raises(PlacementError, match=r"the Sequential 'model' has no .* layer '2' that"):
        patch_file(path, "model", {"2": 0.3})
    with pytest.raises(PlacementError, match="expected a class 'nothing'"):
        patch_file(path, "nothing", {"2": 0.3})


PARTS = """\
from torch import nn


class Part(nn.Module):
    def __init__(self, norm_layer=None):
        super().__init__()
        if norm_layer is None:
            norm_layer = nn.BatchNorm2d
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 1), norm_layer(3)
        self.conv2 = nn.Conv2d(3, 3, 1)
        self.conv3 = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv3(self.conv2(self.bn1(self.conv1(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
        self.stem = nn.Conv2d(3, 3, 1)
        self.head = nn.Conv2d(3, 3, 1)

    def _forward_impl(self, x):
        return self.head(self.part(self.stem(x)))

    def forward(self, x):
        return self._forward_impl(x)
"""


def test_a_part_has_no_input_of_the_models_and_a_forward_may_call_another_method(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(PARTS.replace("self.part = Part()\n        self.stem", "self.stem"))
    star = {"*": 0.1}
    assert [edit.site for edit in patch_file(path, "Part", star).edits] == ["conv2", "conv3"]
    path.write_text(PARTS)
    assert [edit.site for edit in patch_file(path, "Net", star).edits] == ["head"]
    assert [edit.site for edit in patch_file(path, "Part", star).edits] == ["conv2", "conv3"]
    path.write_text(PARTS.replace("self.bn1(self.conv1(x))", "self.conv1(x)"))
    sites = ["conv1", "conv2", "conv3"]  # of a part: what it gets is not the model's own input
    assert [edit.site for edit in patch_file(path, "Part", star).edits] == sites


@pytest.mark.parametrize(
    ("init", "body", "site"),
    [
        ("self.body = Body()", "return self.body(self.first(x))", "body.fc"),
        ("self.body = self.layers()", "return self.body(self.first(x))", "body.1.fc"),
    ],
)
def test_a_suggested_command_works(tmp_path, monkeypatch, init, body, site):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a net.py"
    more = (
        "    def layers(self):\n        made = [Body() for _ in range(2)]\n"
        "        return nn.Sequential(*made)\n\n"
    )
    path.write_text(net(init, body, more))
    with pytest.raises(PlacementError) as caught:
        patch_file(path.relative_to(tmp_path), "Net", {site: 0.25})
    command = shlex.split(str(caught.value).rpartition("run: ")[2])
    assert command[:2] == ["droplab", "patch"]
    result = CliRunner().invoke(cli.group, command[1:])
    assert result.exit_code == 0, result.output
    assert "+        self.fc_dropout = nn.Dropout(p=0.25)" in result.output


def walks(tmp_path, monkeypatch, layers):
    """How often a whole file is gone through to patch a class with so many layers."""
    names = [f"fc{number}" for number in range(layers)]
    made = "\n".join(f"self.{name} = nn.Linear(4, 4)" for name in names)
    called = "\n".join(f"x = self.{name}(torch.relu(x))" for name in names)
    path = tmp_path / f"with_{layers}.py"
    path.write_text(net(made, f"{called}\nreturn x"))
    counted = []
    visit = libcst.Module.visit
    monkeypatch.setattr(libcst.Module, "visit", lambda *args: counted.append(1) or visit(*args))
    assert len(patch_file(path, "Net", {"fc*": 0.5}).edits) == layers - 1
    monkeypatch.undo()
    return len(counted)


def test_a_file_is_gone_through_as_often_however_many_layers_a_class_has(tmp_path, monkeypatch):
    few, many = (walks(tmp_path, monkeypatch, layers) for layers in (3, 40))
    assert few == many <= 8


def test_a_sequential_that_gets_a_name_is_changed_where_it_is_made(tmp_path):
    path = tmp_path / "net.py"
    made = "net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))"
    path.write_text(f"from torch import nn\n\n\ndef build():\n    {made}\n    return net\n")
    diff = patch_file(path, "build", {"1": 0.3}).diff
    assert "+    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(p=0.3), nn.Linear(3, 2))" in diff


def test_one_that_is_changed_after_it_is_made_is_refused(tmp_path):
    path = tmp_path / "net.py"
    made = "net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))\n    net.insert(0, nn.ReLU())"
    path.write_text(f"from torch import nn\n\n\ndef build():\n    {made}\n    return net\n")
    with pytest.raises(PlacementError, match="expected 'build' to return"):
        patch_file(path, "build", {"1": 0.3})
