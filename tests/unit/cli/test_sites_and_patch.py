"""`droplab sites` and `droplab patch`, in process: what they print and what they refuse."""

from __future__ import annotations

import json
import sys
import textwrap
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from torch import nn

from droplab import cli
from droplab.placement import plan
from droplab.recipe import Arm

NET = """\
import torch
import torch.nn.functional as F
from torch import nn

print("hello from the file")


class Net(nn.Module):
    def __init__(self, width=8, *, act="relu"):
        super().__init__()
        if act == "bad":
            raise KeyError("no such act")
        self.fc1 = nn.Linear(6, width)
        self.fc2 = nn.Linear(width, 4)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        return F.dropout(self.fc2(F.relu(self.fc1(x))), 0.2, self.training)


class Needs(Net):
    def __init__(self, width, depth):
        super().__init__(width)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.fc = nn.Linear(4, 2)

    def forward(self, input_ids):
        return self.fc(self.embed(input_ids))


def make(width=8):
    return Net(width)


model = Net(8)
SIZE = 3
"""


ODD = """\
from torch import nn


def active(x):
    return nn.functional.selu(x)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.fc2 = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc2(active(self.fc1(x)))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs the command line on NET, and gives code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    before = set(sys.modules), list(sys.path)

    def call(*arguments, code=0):
        result = CliRunner().invoke(cli.group, list(map(str, arguments)), catch_exceptions=True)
        error = result.exception
        text = str(error) if error is not None and not isinstance(error, SystemExit) else ""
        assert bool(error) == bool(code), error or result.output
        return result.stdout, text or result.stderr

    yield call
    for name in set(sys.modules) - before[0]:
        if name in ("net", "bad", "_droplab_user_net") or name.startswith("pkg"):
            del sys.modules[name]
    sys.path[:] = before[1]


def test_sites_without_an_example(run):
    out, _ = run("sites", "net.py:Net")
    assert "fc1" in out
    assert "the model's own input (assumed)" in out
    assert "drop" in out
    assert "hello" not in out
    assert "F.dropout" not in out


def test_sites_with_an_example_as_json(run):
    out, _ = run("sites", "net.py:Net", "--arg", "width=5", "--example", "3x6", "--json")
    document = json.loads(out)
    assert document["assumed"] is False
    assert [site["shape"] for site in document["sites"]] == [[3, 6], [3, 5]]
    assert [site["placed_by_default"] for site in document["sites"]] == [False, True]
    assert {e["name"]: e["p"] for e in document["existing"]} == {"drop": 0.1, "F.dropout": 0.2}


def test_names_are_whole_in_a_terminal_of_any_width(run, monkeypatch, tmp_path):
    long = "_".join(["part"] * 30)
    source = (
        NET.replace("fc2", long)
        .replace("drop =", f"{long}_drop =")
        .replace("self.drop(", f"self.{long}_drop(")
    )
    (tmp_path / "net.py").write_text(source)
    for width in (20, 80, 400):
        monkeypatch.setenv("COLUMNS", str(width))
        first = [line.split(" ")[0] for line in run("sites", "net.py:Net")[0].splitlines()]
        assert {"fc1", long, f"{long}_drop"} <= set(first)


def test_what_is_random_without_a_rate_is_listed_with_its_line(run, tmp_path):
    source = NET.replace(
        "        return F.dropout(",
        "        x = x + torch.randn_like(x)\n        return F.dropout(",
    )
    (tmp_path / "net.py").write_text(source)
    out, _ = run("sites", "net.py:Net", "--example", "3x6", "--json")
    (random,) = json.loads(out)["random"]
    assert random["draws_by"] == "torch.randn_like"
    assert random["at"].startswith("net.py:")
    assert "net.py:" in run("sites", "net.py:Net", "--example", "3x6")[0]


@pytest.mark.parametrize("what", ["make", "model"])
def test_functions_and_finished_models_will_do(run, what):
    assert len(json.loads(run("sites", f"net.py:{what}", "--json")[0])["sites"]) == 2


@pytest.mark.parametrize(
    "example", ["2x7:int", "input_ids=2x7:int", "int64:2x7<5", "input_ids=int:2x7"]
)
def test_examples_of_integers(run, example):
    out, _ = run("sites", "net.py:Tokens", "--example", example, "--json")
    assert json.loads(out)["sites"][0]["shape"] == [2, 7, 4]


def test_a_file_in_a_package_imports_its_neighbours(run, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "nets.py").write_text("from .part import nn\nNet = nn.Linear\n")
    (tmp_path / "pkg" / "part.py").write_text("from torch import nn\n")
    out, _ = run("sites", "pkg/nets.py:Net", "--arg", "in_features=2", "--arg", "out_features=2")
    assert "Linear" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.py"], "expected a file and a class, FILE.py:Class"),
        (["gone.py:Net"], "gone.py: expected a Python file, found none there"),
        (
            ["net.py:Nett"],
            "expected a model 'Nett', got none of that name; did you mean",
        ),
        (["net.py:mak"], "got none of that name; did you mean 'make'?"),
        (["net.py:SIZE"], "expected a class or function that makes a model, got a int"),
        (["net.py:Needs"], "needs the arguments width, depth, got none; add --arg width=VALUE"),
        (["net.py:Net", "--arg", "widht=3"], "takes no argument 'widht'; did you mean 'width'?"),
        (["net.py:Net", "--arg", "width"], "--arg width: expected name=value"),
        (["net.py:Net", "--arg", "act=bad"], "cannot be made with (act='bad'): line 12: KeyError"),
        (["net.py:Net", "--arg", "width='x'"], "cannot be made with (width='x'): line 13"),
        (
            ["net.py:Net", "--example", "3x7"],
            "got shape (3, 7), with which Net fails: Run",
        ),
        (["net.py:Net", "--example", "3;7"], "--example 3;7: expected a shape such as 64x1x28x28"),
        (["net.py:Net", "--example", "3,7"], "got shape (3,), (7,), with which Net fails"),
        (["net.py:Net", "--example", "3x7:half"], "expected a kind of float, int, bool, float64"),
        (["net.py:Net", "--arguments", "{"], "--arguments: expected a JSON object"),
        (["net.py:model", "--arg", "width=3"], "got a finished model"),
        (["net.py:Net", "--example", "3x6", "--example", "x=3x6"], "or none, got both"),
        (["net.py:F.relu"], "expected a torch.nn.Module to come out|needs the argument"),
    ],
)
def test_bad_input_of_sites(run, arguments, message):
    _, error = run("sites", *arguments, code=2)
    assert any(part in error for part in message.split("|"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\nimport nothing_of_this_name\n", "line 2: ModuleNotFoundError: No module"),
        ("x = 1\n\nraise RuntimeError('a  b\\nc')\n", "line 3: RuntimeError: a b c"),
        ("def f(:\n", "bad.py:1: SyntaxError"),
        ("import sys\nsys.exit('usage')\n", "line 2: SystemExit: usage"),
        ("def f():\n    return g()\ndef g():\n    return {}['k']\nf()\n", "line 4: KeyError: 'k'"),
    ],
)
def test_a_file_that_does_not_import_shows_its_own_error(run, tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    _, error = run("sites", "bad.py:Net", code=2)
    assert error.startswith("bad.py: does not import: ")
    assert message in error
    assert "Traceback" not in error


def test_patch_prints_a_diff_and_writes_nothing(run, tmp_path):
    out, _ = run("patch", "net.py:Net", "--rates", "fc2=0.3")
    assert out.startswith("--- a/net.py\n+++ b/net.py\n")
    assert "+        self.fc2_dropout = nn.Dropout(p=0.3)\n" in out
    assert (tmp_path / "net.py").read_text() == NET


def test_patch_writes(run, tmp_path):
    out, err = run("patch", "net.py:Net", "--rates", "fc2=0.3", "--write", "--json")
    document = json.loads(out)
    assert document["written"] is True
    assert document["edits"] == [
        {"site": "fc2", "line": 14, "what": "added Dropout(p=0.3)"},
    ]
    assert "fc2_dropout" in (tmp_path / "net.py").read_text()
    out, err = run("patch", "net.py:Net", "--rates", "fc2=0.3", "--write")
    assert out == ""
    assert "nothing to change" in err


def test_the_three_commands_take_the_same_options(run):
    """Each option of one is an option of the others, with the same meaning."""
    options = ["--arg", "width=8", "--arguments", '{"act": "relu"}', "--example", "x=float:3x6"]
    document = json.loads(run("sites", "net.py:Net", *options, "--json")[0])
    assert document["sites"][1]["shape"] == [3, 8]
    diff = run("patch", "net.py:Net", "--rates", "fc2=0.3", *options)[0]
    assert diff == run("patch", "net.py:Net", "--rates", "fc2=0.3")[0]
    found = json.loads(run("check", "net.py:Net", *options, "--format", "json", code=1)[0])
    assert [item["code"] for item in found["findings"]] == ["DRP022", "DRP031"]
    wrong = ["--arg", "widht=3", "--example", "3x6"]
    for command in (["sites"], ["check"], ["patch", "--rates", "fc2=0.3"]):
        assert "did you mean 'width'?" in run(*command, "net.py:Net", *wrong, code=2)[1]


def test_patch_knows_from_an_example_what_the_source_cannot_show(run, tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    assert "nn.Dropout(p=0.3)" in run("patch", "odd.py:Odd", "--rates", "fc2=0.3")[0]
    options = ["--rates", "fc2=0.3", "--example", "3x6"]
    assert "nn.AlphaDropout(p=0.3)" in run("patch", "odd.py:Odd", *options)[0]


def test_patch_takes_a_plan(run):
    plan(nn.ModuleDict({"fc1": nn.Linear(6, 8), "fc2": nn.Linear(8, 4)}), {"fc2": 0.4}).save(
        "plan.toml"
    )
    assert "nn.Dropout(p=0.4)" in run("patch", "net.py:Net", "--plan", "plan.toml")[0]


def test_patch_takes_the_arm_that_a_run_chose(run, monkeypatch):
    arms = (Arm("none", {}), Arm("mild", {"fc2": 0.2}), Arm("odd", {"fc2": 0.2}, kind="gaussian"))
    result = SimpleNamespace(recipe=SimpleNamespace(arms=arms))
    monkeypatch.setattr("droplab.results.load", lambda path: result)
    chosen = ["mild", None, "odd"]
    monkeypatch.setattr(
        "droplab.verdict.judge", lambda result: SimpleNamespace(chosen=chosen.pop(0))
    )
    out, err = run("patch", "net.py:Net", "--run", "somewhere")
    assert "nn.Dropout(p=0.2)" in out
    assert "somewhere: the rates of the arm 'mild'" in err
    assert (
        "expected a run that has chosen an arm"
        in run("patch", "net.py:Net", "--run", "somewhere", code=2)[1]
    )
    assert (
        "uses the kind 'gaussian', for which torch has no layer"
        in run("patch", "net.py:Net", "--run", "somewhere", code=2)[1]
    )


def test_patch_tells_of_moving_indices_on_the_side(run, tmp_path):
    (tmp_path / "seq.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
                def forward(self, x):
                    return self.net(x)
            """
        )
    )
    out, err = run("patch", "seq.py:Net", "--rates", "net.1=0.5")
    assert "note: seq.py:6: the indices in 'net' move" in err
    assert "note" not in out
    out, err = run("patch", "seq.py:Net", "--rates", "net.1=0.5", "--names")
    assert err == ""
    assert '("dropout_1", nn.Dropout(p=0.5))' in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of --rates, --plan and --run, got none"),
        (["--rates", "fc2=0.1", "--plan", "p.toml"], "--rates, --plan and --run, got 2"),
        (["--rates", "fc2"], "--rates: expected SITE=P, as fc2=0.3,fc3=0.3, got 'fc2'"),
        (["--rates", "fc2=a"], "got 'fc2=a'"),
        (["--rates", "fc2=0.1,fc2=0.2"], "'fc2' is given twice"),
        (["--rates", "fc2=30"], "percentage; did you mean 0.3?"),
        (["--rates", "fc9=0.3"], "class Net makes no attribute 'fc9' that is a torch layer; did"),
        (["--plan", "gone.toml"], "gone.toml: expected a plan file"),
        (["--run", "gone"], "expected the folder of a run"),
    ],
)
def test_bad_input_of_patch(run, arguments, message):
    assert message in run("patch", "net.py:Net", *arguments, code=2)[1]
