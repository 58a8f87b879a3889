"""`droplab sites` and `droplab patch` as their users start them."""

from __future__ import annotations

import json

import pytest

NET = """\
import torch.nn.functional as F
from torch import nn

print("noise on import")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(x.flatten(1))))
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


@pytest.mark.usefixtures("net")
def test_sites(droplab, command):
    done = droplab("sites", "net.py:Net", "--example", "64x1x28x28", "--json")
    document = json.loads(done.stdout)
    assert [site["shape"] for site in document["sites"]] == [[64, 784], [64, 64]]
    assert "assumed" in command("sites", "net.py:Net").stdout


def test_patch(command, net):
    diff = command("patch", "net.py:Net", "--rates", "fc2=0.3").stdout
    assert "+        self.fc2_dropout = nn.Dropout(p=0.3)" in diff
    assert net.read_text() == NET
    document = json.loads(
        command("patch", "net.py:Net", "--rates", "fc2=0.3", "--write", "--json").stdout
    )
    assert document["diff"] == diff
    assert "self.fc2(self.fc2_dropout(F.relu" in net.read_text()


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sites", "net.py:Net", "--example", "3x7"], "error: example: expected a batch"),
        (["patch", "net.py:Net", "--rates", "fc3=0.3"], "error: net.py:7: class Net makes no"),
        (["patch", "net.py:Net", "--rates", "fc2=30"], "did you mean 0.3?"),
    ],
)
def test_bad_input_ends_with_2_and_one_message(command, arguments, message):
    done = command(*arguments, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
