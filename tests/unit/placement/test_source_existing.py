"""Dropout that is in the source already: its rate changes, nothing is added."""

from __future__ import annotations

import textwrap

import pytest

from droplab.errors import PlacementError
from droplab.placement import patch_file

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"

CLASS = """
class Net(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.fc2 = nn.Linear(4, 4)
        self.fc3 = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(dropout)
        self.other = nn.Dropout()

    def forward(self, x):
"""


@pytest.fixture
def patched(tmp_path):
    """Return a function that patches a forward and gives the added lines."""

    def make(forward, rates):
        path = tmp_path / "net.py"
        body = textwrap.indent(textwrap.dedent(forward).strip("\n"), " " * 8)
        path.write_text(HEADER + CLASS.lstrip("\n") + body + "\n")
        patch = patch_file(path, "Net", rates)
        return [
            line[1:].strip()
            for line in patch.diff.splitlines()
            if line.startswith("+") and not line.startswith("+++")
        ]

    return make


@pytest.mark.parametrize(
    "forward",
    [
        "return self.fc2(self.drop(self.fc1(x)))",
        "x = self.drop(self.fc1(x))\nreturn self.fc2(x)",
        "x = self.fc1(x)\nx = self.drop(x)\ny = 1\nx = F.relu(x)\nreturn self.fc2(x)",
        "return self.fc2(torch.relu(self.drop(self.fc1(x))))",
        "return self.fc2(self.act(self.drop(self.fc1(x))).flatten(1))",
        "x = self.drop(self.fc1(x)).relu()\nreturn self.fc2(x)",
    ],
)
def test_a_module_in_front_of_the_layer_changes(patched, forward):
    assert patched(forward, {"fc2": 0.3}) == ["self.drop = nn.Dropout(0.3)"]


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("F.dropout(x)", "F.dropout(x, p=0.3)"),
        ("F.dropout(x, 0.5)", "F.dropout(x, 0.3)"),
        ("F.dropout(x, training=self.training)", "F.dropout(x, training=self.training, p=0.3)"),
        ("F.dropout(x, p=0.1, training=True)", "F.dropout(x, p=0.3, training=True)"),
        ("torch.dropout(x, 0.1, True)", "torch.dropout(x, 0.3, True)"),
    ],
)
def test_a_function_changes(patched, call, after):
    assert patched(f"return self.fc2({call})", {"fc2": 0.3}) == [f"return self.fc2({after})"]


def test_a_module_without_an_argument_gets_one(patched):
    lines = patched("return self.fc2(self.other(x))", {"fc2": 0.3})
    assert lines == ["self.other = nn.Dropout(p=0.3)"]


@pytest.mark.parametrize(
    "forward",
    [
        "return self.fc2(torch.tanh(self.drop(x)))",  # not the same after a tanh
        "x = self.drop(x)\nx = x + 1\nreturn self.fc2(x)",
        "x = self.drop(x)\nif self.training:\n    x = x * 2\nreturn self.fc2(x)",
        "x, y = self.drop(x), 1\nreturn self.fc2(x)",
        "y = self.drop(x)\nreturn self.fc2(x)",
        "x = self.drop(x)\nx += 1\nreturn self.fc2(x)",
        "x = self.drop(x)\nfor x in (x, x):\n    pass\nreturn self.fc2(x)",
    ],
)
def test_dropout_that_does_not_make_the_input_is_left_alone(patched, forward):
    lines = patched(forward, {"fc2": 0.3})
    assert lines[0] == "self.fc2_dropout = nn.Dropout(p=0.3)"
    assert len(lines) == 2
    assert "self.fc2(self.fc2_dropout(" in lines[1]


SHARED = "x = self.fc2(self.drop(x))\nreturn self.fc3(self.drop(x))"


def test_a_shared_module_changes_when_all_its_places_agree(patched):
    assert patched(SHARED, {"fc2": 0.3, "fc3": 0.3}) == ["self.drop = nn.Dropout(0.3)"]


@pytest.mark.parametrize("rates", [{"fc2": 0.3}, {"fc2": 0.3, "fc3": 0.2}])
def test_a_shared_module_is_refused_when_they_do_not(patched, rates):
    message = r"net.py:17: 'drop' drops the input of fc2.* one module for the lines 17, 18"
    with pytest.raises(PlacementError, match=message):
        patched(SHARED, rates)


def test_a_call_with_and_one_without_dropout(patched):
    lines = patched("x = self.fc2(self.drop(x))\nreturn self.fc2(x)", {"fc2": 0.3})
    assert lines == [
        "self.fc2_dropout = nn.Dropout(p=0.3)",
        "self.drop = nn.Dropout(0.3)",
        "return self.fc2(self.fc2_dropout(x))",
    ]


def test_zero_takes_the_effect_away_and_leaves_the_lines(patched):
    assert patched("return self.fc2(self.drop(x))", {"fc2": 0}) == ["self.drop = nn.Dropout(0.0)"]


def test_in_a_sequential(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        HEADER
        + textwrap.dedent(
            """
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.net = nn.Sequential(
                        nn.Linear(4, 4),
                        nn.Dropout(0.5),
                        nn.ReLU(),
                        nn.Linear(4, 4),
                        nn.Dropout(0.5),
                        nn.Tanh(),
                        nn.Linear(4, 4),
                    )

                def forward(self, x):
                    return self.net(x)
            """
        )
    )
    patch = patch_file(path, "Net", {"net.3": 0.3, "net.6": 0.2})
    added = [line[1:].strip() for line in patch.diff.splitlines() if line.startswith("+ ")]
    assert added == ["nn.Dropout(0.3),", "nn.Dropout(p=0.2),"]


def test_starred_rates_are_refused(patched):
    with pytest.raises(PlacementError, match=r"net.py:17: its rate is hidden in starred"):
        patched("return self.fc2(F.dropout(*x))", {"fc2": 0.3})
