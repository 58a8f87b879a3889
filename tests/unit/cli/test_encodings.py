"""No output depends on what the terminal's encoding can hold."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import droplab
from droplab.cli import COMMANDS, main
from droplab.recipe import METRICS, dumps, load, override
from droplab.results import EpochRow, RunStore
from droplab.results import load as load_run

ENCODINGS = ("ascii", "cp437", "cp1252", "latin-1", "utf-8")
BAD_INPUT = 2


@pytest.fixture(params=ENCODINGS)
def shown(request, monkeypatch):
    """Call the command line with streams of one encoding; return code, output, errors."""

    def call(*args: str) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), request.param) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as stop:
                main(args)
        for stream in streams:
            stream.flush()
        out, err = (stream.buffer.getvalue().decode(request.param) for stream in streams)
        assert "defect" not in err
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose dropout helps, so that its verdict has a minus sign."""
    recipe = override(load("digits"), {"epochs": 1})
    folder = tmp_path_factory.mktemp("runs") / "run"
    members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
    level = {"none": 0.5}
    rows = [
        EpochRow(dict.fromkeys(METRICS, level.get(a, 0.4) + s / 900), a, s, 1, 0.5)
        for a, s in members
    ]
    with RunStore.create(folder, dumps(recipe), recipe.digest, {}, members) as store:
        store.commit_epochs(rows)
    return folder


def test_the_verdict_of_a_run(shown, run, monkeypatch):
    monkeypatch.setattr("droplab.studies.run", lambda *args, **kwargs: load_run(run))
    code, out, _ = shown("run", "digits", "--out", str(run))
    assert code == 0
    assert "0.10" in out
    assert "±" in out or "+/-" in out
    assert "\u2212" in out or "-0.10" in out
    code, out, _ = shown("run", "digits", "--out", str(run), "--json")
    assert json.loads(out)["recipe"] == "digits"


@pytest.mark.parametrize("form", ["md", "html"])
def test_a_report_on_the_terminal(shown, run, form):
    code, out, _ = shown("report", str(run), "--format", form, "--out", "-")
    assert code == 0
    assert len(out) > 2000


@pytest.mark.parametrize("name", COMMANDS)
def test_help(shown, name):
    code, out, _ = shown(name, "--help")
    assert code == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    "args",
    [
        ("recipes", "list"),
        ("data", "list"),
        ("practice", "--list"),
        ("practice", "--show", "1"),
        ("check", "--list"),
    ],
    ids=" ".join,
)
def test_tables(shown, args):
    code, out, _ = shown(*args)
    assert code == 0
    assert out


STORY = "−0.5 … ≤ 中 é ✓ │"


def test_the_words_of_a_user(shown, tmp_path):
    text = dumps(load("digits")).replace('title = "', f'title = "{STORY} ', 1)
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    for args in ((), ("--json",), ("--toml",)):
        code, out, _ = shown("recipes", "show", str(file), *args)
        assert code == 0
        assert "0.5" in out
    code, _, err = shown("recipes", "show", STORY)
    assert code == BAD_INPUT
    assert "0.5" in err


@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_findings_in_files_of_any_name(shown, tmp_path, form):
    source = "from torch import nn\nnn.Dropout(50)  # −é中\n"
    for name in ("plain.py", "n−ö中.py", os.fsdecode(b"raw\xff.py")):
        (tmp_path / name).write_text(source, encoding="utf-8")
    code, out, _ = shown("check", str(tmp_path), "--format", form)
    assert code == 1
    assert out.count("DRP0") >= 3


def test_names_that_are_not_utf8(shown, tmp_path):
    raw = os.fsdecode(b"raw\xff")
    (tmp_path / raw).mkdir()
    for args in (
        ("run", str(tmp_path / raw / "none.toml")),
        ("report", str(tmp_path / raw)),
        ("sites", f"{tmp_path / raw}.py:Net"),
        ("patch", f"{tmp_path / raw}.py:Net", "--rates", "a=0.5"),
        ("check", str(tmp_path / raw / "none.py")),
    ):
        code, _, err = shown(*args)
        assert code == BAD_INPUT, args
        assert "raw" in err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_as_a_process_without_a_locale(encoding, tmp_path):
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        [sys.executable, "-m", "droplab", "recipes", "show", f"{STORY}.toml"],
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == BAD_INPUT
    assert b"defect" not in done.stderr
    assert b"0.5" in done.stderr


def test_every_text_file_is_opened_with_its_encoding():
    """The locale of the machine decides where none is named."""
    for file in Path(droplab.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and _opens_text(node):
                named = {keyword.arg for keyword in node.keywords}
                assert "encoding" in named, f"{file}:{node.lineno}: no encoding"


def _opens_text(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    if isinstance(call.func, ast.Attribute) and name in ("read_text", "write_text"):
        return True
    if name in ("run", "Popen", "check_output"):
        return any(keyword.arg in ("text", "universal_newlines") for keyword in call.keywords)
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    modes = [mode for mode in modes if isinstance(mode, str) and set(mode) <= set("rwax+t")]
    return name in ("open", "fdopen", "NamedTemporaryFile") and bool(modes)
