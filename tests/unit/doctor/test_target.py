"""Models named on the command line, and random input for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.doctor.live._masks import correlation
from droplab.doctor.live.target import build, examine_target, example
from droplab.errors import ArgumentError


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        ("64x1x28x28", (64, 1, 28, 28), torch.float32),
        ("8", (8,), torch.float32),
        ("4x16:int64", (4, 16), torch.int64),
        ("4x16:int64<1000", (4, 16), torch.int64),
        ("2x3x4x5x6:float64", (2, 3, 4, 5, 6), torch.float64),
        ("2x2:bool", (2, 2), torch.bool),
        ("2x2:bfloat16", (2, 2), torch.bfloat16),
        (" 2x2 ", (2, 2), torch.float32),
    ],
)
def test_shapes(text, shape, dtype):
    x = example(text)
    assert (tuple(x.shape), x.dtype) == (shape, dtype)
    assert torch.equal(x, example(text))


def test_integers_stay_below_their_bound():
    assert int(example("100x100:int64<7").max()) == 6
    assert int(example("100x100:int64").max()) == 9


def test_images_are_smooth_as_real_ones_are():
    assert correlation(example("8x3x32x32")) > 0.5


@pytest.mark.parametrize(
    "text",
    ["", "x", "64x", "x64", "64x-1", "0x4", "64*4", "4x4:complex", "4x4:int64<", "4x4:int64<0",
     "4.5", "1x1x1x1x1x1x1x1x1", "99999x99999x99999", "4x4<3", "64×28"],
)  # fmt: skip
def test_bad_shapes_are_refused(text):
    with pytest.raises(ArgumentError, match="--example"):
        example(text)


@pytest.fixture
def file(tmp_path):
    """A file with models in every form."""
    path = tmp_path / "models_for_the_doctor.py"
    path.write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, p=0.5):\n"
        "        super().__init__(nn.Linear(8, 8), nn.Dropout(p))\n"
        "def make(p=0.1):\n    return Net(p)\n"
        "ready = Net(0.0)\nnumber = 3\n"
        "def wrong():\n    return 3\n"
        "class Needs(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
    )
    return path


def test_classes_functions_and_objects(file):
    assert build(f"{file}:Net")[1].p == 0.5
    assert build(f"{file}:make")[1].p == 0.1
    assert build(f"{file}:ready")[1].p == 0.0
    assert build(f"{file}:Net", '{"p": 0.2}')[1].p == 0.2


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Nett", None, "did you mean 'Net'"),
        ("number", None, "expected a model, a class or a function, got int"),
        ("wrong", None, "expected a torch.nn.Module, got int"),
        ("Needs", None, "cannot be built"),
        ("Net", '{"q": 1}', "cannot be built"),
        ("Net", "{", "expected a JSON object"),
        ("Net", "[1]", "expected a JSON object"),
        ("ready", '{"p": 1}', "got a built model"),
    ],
)
def test_bad_names_and_arguments_are_refused(file, name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        build(f"{file}:{name}", arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no')", "fails to import: RuntimeError: no"),
        ("def (", "fails to import: SyntaxError"),
        ("import no_such_package_anywhere", "fails to import: ModuleNotFoundError"),
    ],
)
def test_files_that_do_not_import_are_refused(tmp_path, text, message):
    path = tmp_path / "broken_for_the_doctor.py"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        build(f"{path}:Net")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="no such file"):
        build(f"{tmp_path}/gone.py:Net")


def test_relative_imports_work(tmp_path):
    package = tmp_path / "package_for_the_doctor"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\nBase = nn.Sequential\n")
    (package / "net.py").write_text("from .parts import Base\nclass Net(Base):\n    pass\n")
    assert isinstance(build(f"{package / 'net.py'}:Net"), nn.Sequential)


def test_examination_of_a_target(file):
    found = examine_target(f"{file}:Net", ["4x8"], None)
    assert [finding.code for finding in found] == ["DRP031"]
    with pytest.raises(ArgumentError, match="fails on the batch"):
        examine_target(f"{file}:Net", ["4x9"], None)
