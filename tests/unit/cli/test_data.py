"""`droplab data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from droplab.cli.data import command, shown_progress
from droplab.data import names
from droplab.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPLAB_DATA", str(tmp_path))
    return tmp_path


def run(*args: str) -> Result:
    result = CliRunner().invoke(command, args, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result


def test_list() -> None:
    lines = run("list").stdout.splitlines()[1:]
    assert [tuple(line.split()[:2]) for line in lines] == [
        ("digits", "yes"),
        ("fashion-mnist", "no"),
        ("mnist", "no"),
    ]
    document = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in document] == list(names())
    assert [row["here"] for row in document] == [True, False, False]
    assert all(row["licence"] for row in document)


def test_where_prints_the_folder_alone(cache: Path) -> None:
    result = run("where", "mnist")
    assert result.stdout == f"{cache / 'mnist'}\n"
    assert "not complete: its files are not there" in result.stderr
    assert (Path(run("where", "digits").stdout.strip()) / "digits.npz").is_file()


@pytest.mark.parametrize("flags", [[], ["--quiet"]])
def test_get(flags: list[str]) -> None:
    said = run("get", "digits", *flags).stdout
    assert said.startswith("digits: 1297 + 500 examples, the copy in the droplab package")


@pytest.mark.parametrize("what", ["get", "where"])
def test_unknown_names_the_nearest(what: str) -> None:
    with pytest.raises(DataError, match="did you mean 'digits'"):
        run(what, "digit")


def test_progress_is_drawn_on_the_error_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with shown_progress(quiet=False) as progress:
        assert progress is not None
        progress("one [file]", 0, None)
        progress("one [file]", 5_000_000, 10_000_000)
        progress("another", 3, None)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "another" in captured.err
    with shown_progress(quiet=True) as progress:
        assert progress is None


TABLE = """
epochs = 1
batch_size = 8
data = { path = "t.csv", target = "TARGET" }
model = { path = "tabular" }
optimizer = { name = "Adam" }
arms = [{ name = "none" }]
"""


def test_show_says_how_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{i / 4},{'ab'[i % 2]},{'yes' if i % 3 else 'no'},{i * 0.3:.1f}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["x,kind,said,y", *rows]))
    for target, seen in (("said", "no: 12, yes: 24"), ("y", "mean ")):
        Path("r.toml").write_text(TABLE.replace("TARGET", target))
        shown = run("show", "r.toml", "--quiet").stdout
        assert "columns: x, " in shown
        assert "kind (2 names)" in shown
        assert seen in shown
        assert "note: 36 rows to train on, 12 to validate on and 12 for the test" in shown
    shown = run("show", "digits").stdout
    assert "1 x 8 x 8 uint8" in shown
    assert "0: 20, 1: 7" in shown
