"""Models named on the command line, and random input for them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.cli._example import read_examples
from droplab.cli._model_file import load_model, read_arguments
from droplab.doctor import examine
from droplab.doctor.live._masks import correlation
from droplab.errors import ArgumentError


def example(text, model=None):
    """Return the only input that a text means."""
    (x,) = read_examples([text], model or nn.Identity())
    return x


def build(target, arguments=None):
    return load_model(target, read_arguments([], arguments))


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
        ("2X2", (2, 2), torch.float32),
        ("2x7:int", (2, 7), torch.int64),
        ("2x7:float", (2, 7), torch.float32),
        ("int64:4x12<1000", (4, 12), torch.int64),
        ("bool:3", (3,), torch.bool),
        ("int32:4x12", (4, 12), torch.int32),
    ],
)
def test_shapes(text, shape, dtype):
    x = example(text)
    assert (tuple(x.shape), x.dtype) == (shape, dtype)
    assert torch.equal(x, example(text))


def test_integers_stay_below_their_bound():
    assert int(example("100x100:int64<7").max()) == 6
    assert int(example("100x100:int64").max()) == 9
    assert int(example("int:100x100<7").max()) == 6


def test_integers_without_a_bound_fit_the_smallest_embedding():
    model = nn.ModuleList([nn.Embedding(500, 2), nn.EmbeddingBag(3, 2), nn.Embedding(50, 2)])
    assert int(example("100x100:int", model).max()) == 2
    assert int(example("100x100:int<400", model).max()) == 399
    assert int(example("100x100:int", model[0]).max()) == 9


def test_several_inputs_by_place_and_by_name():
    x, y = read_examples(["2x3,int:4<5"], nn.Identity())
    assert (x.shape, y.shape, y.dtype) == ((2, 3), (4,), torch.int64)
    again = read_examples(["2x3", "int:4<5"], nn.Identity())
    assert torch.equal(again[0], x)
    assert torch.equal(again[1], y)
    same, other = read_examples(["4x4,4x4"], nn.Identity())
    assert not torch.equal(same, other)
    named = read_examples(["input_ids=int:2x3<5, mask=bool:2x3", "n=[3,2]"], nn.Identity())
    assert list(named) == ["input_ids", "mask", "n"]
    assert read_examples([], nn.Identity()) is None


def test_the_very_numbers():
    assert torch.equal(example("[12,9,4]"), torch.tensor([12, 9, 4]))
    assert torch.equal(example("[1, -2.5]"), torch.tensor([1.0, -2.5]))


def test_images_are_smooth_as_real_ones_are():
    assert correlation(example("8x3x32x32")) > 0.5


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "x",
            "64x",
            "x64",
            "64x-1",
            "0x4",
            "64*4",
            "4x4:complex",
            "4x4:int64<",
            "4x4:int64<0",
        ],
        *["4.5", "1x1x1x1x1x1x1x1x1", "99999x99999x99999", "4x4<3", "64×28", "half:3", "int:4:int"],
        *[
            "int:4x",
            "[]",
            "[1,]",
            "[a]",
            "[1,2",
            ",",
            "2x2,",
            "a=2,a=3",
            "a b=2",
            "=2",
            "x=",
            "1e3",
        ],
        "x".join(["999999999999"] * 8),
        "x".join(["4294967296"] * 4),
        *["2x2:float<3", "1e3", "4x4:int64<", "9" * 5000, "[" + "9" * 5000 + "]"],
    ],
)
def test_bad_shapes_are_refused(text):
    with pytest.raises(ArgumentError, match="--example") as error:
        read_examples([text], nn.Identity())
    assert len(str(error.value)) < 500


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
        ("number", None, "expected a class or function that makes a model, got a int"),
        ("wrong", None, "expected a torch.nn.Module to come out, got int"),
        ("Needs", None, "needs the argument width, got none; add --arg width=VALUE"),
        ("Net", '{"q": 1}', "takes no argument 'q'"),
        ("Net", '{"p": 3}', "cannot be made with"),
        ("Net", "{", "expected a JSON object"),
        ("Net", "[1]", "expected a JSON object"),
        ("ready", '{"p": 1}', "got a finished model"),
    ],
)
def test_bad_names_and_arguments_are_refused(file, name, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        build(f"{file}:{name}", arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no')", "does not import: line 1: RuntimeError: no"),
        ("def (", "does not import: .*SyntaxError"),
        ("import no_such_package_anywhere", "does not import: line 1: ModuleNotFoundError"),
    ],
)
def test_files_that_do_not_import_are_refused(tmp_path, text, message):
    path = tmp_path / "broken_for_the_doctor.py"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        build(f"{path}:Net")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="expected a Python file, found none there"):
        build(f"{tmp_path}/gone.py:Net")


def test_relative_imports_work(tmp_path):
    package = tmp_path / "package_for_the_doctor"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\nBase = nn.Sequential\n")
    (package / "net.py").write_text("from .parts import Base\nclass Net(Base):\n    pass\n")
    assert isinstance(build(f"{package / 'net.py'}:Net"), nn.Sequential)


def test_arguments_come_one_by_one_or_as_one_document():
    assert read_arguments(["p=0.5", "act=relu", "x='1'"], '{"sizes": [3]}') == {
        "sizes": [3],
        "p": 0.5,
        "act": "relu",
        "x": "1",
    }
    assert read_arguments([], None) == {}
    deep = "[" * 100_000
    assert read_arguments([f"deep={deep}"], None) == {"deep": deep}
    with pytest.raises(ArgumentError, match="expected a JSON object"):
        read_arguments([], deep)
    with pytest.raises(ArgumentError, match="--arg p=1: given twice"):
        read_arguments(["p=1"], '{"p": 2}')


def test_examination_of_a_target(file):
    model = load_model(f"{file}:Net", {})
    assert [f.code for f in examine(model, read_examples(["4x8"], model))] == ["DRP031"]
    with pytest.raises(ArgumentError, match="fails on the batch"):
        examine(model, read_examples(["4x9"], model))
