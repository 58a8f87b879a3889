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
