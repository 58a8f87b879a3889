"""Functions of a script that its model does not need are not read, and stay as they are."""

from __future__ import annotations

import ast

import pytest

from droplab.placement import patch_file
from droplab.placement._source import _file
from droplab.placement._source._file import SourceFile
from droplab.placement._source._outline import filled_in, outline

SCRIPT = '''\
import torch
from torch import nn


def linear(n):  # the model's
    return make(n, 2)


# a comment above
@torch.no_grad()
def evaluate(model,
             data):
    """Text.

    def linear(n):
    """
    return [model(x) for x in data]


def make(*sizes):
    return nn.Linear(*sizes)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.fc2 = linear(4)

    def forward(self, x):
        return self.fc2(self.fc1(x))
async def serve(): return Net()


layer = nn.Linear


def swap():
    global layer
    layer = nn.Conv2d


def build():
    return Net()


def main():
    evaluate(build(), [])
'''


def kept(text, name="Net"):
    left = ast.parse(outline(text.encode(), ast.parse(text), name))
    return [node.name for node in left.body if isinstance(node, ast.FunctionDef)]


def test_what_the_model_may_need_is_kept():
    assert kept(SCRIPT) == ["linear", "make", "swap"]
    assert kept(SCRIPT, "build") == ["linear", "make", "swap", "build"]
    called = SCRIPT + '\nif __name__ == "__main__":\n    main()\n'
    assert kept(called) == ["linear", "evaluate", "make", "swap", "build", "main"]
    assert kept("#droplab:3\n" + SCRIPT)[:2] == ["linear", "evaluate"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", ["", "\ufeff", "# droplab:\n", "#droplab:3\n"])
@pytest.mark.parametrize("tail", ["", "def last(): pass", "    # deeper"])
def test_all_that_is_left_out_comes_back(end, head, tail):
    data = (head + SCRIPT + tail).replace("\n", end).encode()
    short = outline(data, ast.parse(data), "Net")
    assert filled_in(short, data) == data
    assert len(short.splitlines()) == len(data.splitlines())
    assert (b"no_grad" in short) == (head == "#droplab:3\n")


@pytest.mark.parametrize("name", ["Net", "build"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_change_is_that_of_the_whole_file(name, end, tmp_path, monkeypatch):
    path = tmp_path / "script.py"
    path.write_bytes(SCRIPT.replace("\n", end).encode())
    found = patch_file(path, name, {"fc2": 0.3})
    monkeypatch.setattr(_file, "outline", lambda data, tree, name: data)
    whole = patch_file(path, name, {"fc2": 0.3})
    assert "evaluate" not in "".join(str(edit) for edit in found.edits)
    assert (found.after, found.edits, found.notes) == (whole.after, whole.edits, whole.notes)
    assert b"self.fc2_dropout = nn.Dropout(p=0.3)" in found.after
    assert b"@torch.no_grad()" in found.after


def test_what_is_not_needed_is_not_read(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    source = SourceFile(path, "Net")
    assert [*source.functions()] == ["linear", "make", "swap"]
    assert source.line(source.find_class("Net")) == 1 + SCRIPT.splitlines().index(
        "class Net(nn.Module):"
    )
    assert source.text == SCRIPT
