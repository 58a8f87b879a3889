from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from droplab.cli.report import command, write_report
from droplab.errors import ArgumentError, RunError
from droplab.recipe import METRICS, dumps, load
from droplab.results import EpochRow, RunStore


@pytest.fixture
def run(tmp_path):
    recipe = load("digits")
    members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
    with RunStore.create(tmp_path / "run", dumps(recipe), recipe.digest, {}, members) as store:
        store.commit_epochs(
            [EpochRow(dict.fromkeys(METRICS, 0.5 + s / 50), a, s, 1, 0.5) for a, s in members]
        )
    return tmp_path / "run"


def test_the_report_lies_in_the_folder_of_the_run(run):
    done = CliRunner().invoke(command, [str(run)], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output == f"Report: {run / 'report.html'}\n"
    assert "<h1>" in (run / "report.html").read_text(encoding="utf-8")


PLAN = {
    "threads": 1,
    "tried": [
        {"step": 2e-4, "total": 48.0, "chosen": True},
        {"captured": True, "reason": "forward [b]counts[/b] in 'calls'"},
    ],
}


def with_plan(place, plan):
    recipe = load("digits")
    members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
    with RunStore.create(place, dumps(recipe), recipe.digest, {}, members, plan=plan) as store:
        store.commit_epochs([EpochRow(a, s, 1, *[0.5 + s / 50] * 8) for a, s in members])
    return str(place)


def test_why_it_was_as_fast_as_it_was(run, tmp_path):
    asked = [with_plan(tmp_path / "planned", PLAN), "--why"]
    told = CliRunner().invoke(command, asked, catch_exceptions=False).output
    assert "200 µs" in told
    assert "chosen" in told
    assert "[b]counts[/b]" in told
    assert not (tmp_path / "planned" / "report.html").exists()
    older = CliRunner().invoke(command, [str(run), "--why"], catch_exceptions=False)
    assert "was not kept" in older.output
    assert older.exit_code == 0
    with pytest.raises(ArgumentError, match="--why: writes no file"):
        CliRunner().invoke(command, [*asked, "--out", "-"], catch_exceptions=False)


def test_the_page_says_why_as_well(run, tmp_path):
    write_report(Path(with_plan(tmp_path / "planned", PLAN)), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Why it was as fast as it was" in page
    assert "200 µs" in page
    assert "not tried: forward [b]counts[/b] in &#39;calls&#39;" in page
    write_report(run, tmp_path / "page.html")
    assert "was not kept" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_other_places_and_a_picture(run, tmp_path):
    page, figure = tmp_path / "new" / "page.html", tmp_path / "figure.png"
    done = CliRunner().invoke(
        command,
        [str(run / "run.sqlite"), "--out", str(page), "--png", str(figure)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    assert page.exists()
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_format_is_chosen(run, tmp_path):
    for form, start in (("html", b"<!doctype html>"), ("md", b"## "), ("png", b"\x89PNG")):
        done = CliRunner().invoke(command, [str(run), "--format", form], catch_exceptions=False)
        assert done.output == f"Report: {run / f'report.{form}'}\n"
        assert (run / f"report.{form}").read_bytes().startswith(start)
    other = tmp_path / "place" / "figure.png"
    CliRunner().invoke(command, [str(run), "--format", "png", "--out", str(other)])
    assert other.read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(command, [str(run), "--format", "pdf"]).exit_code == 2


def test_the_terminal_gets_the_report_alone(run, tmp_path):
    line = [str(run), "--format", "md", "--out", "-", "--png", str(tmp_path / "figure.png")]
    done = CliRunner().invoke(command, line, catch_exceptions=False)
    assert done.output.startswith("## ")
    assert done.output.endswith("\n")
    assert "Report:" not in done.output
    assert (tmp_path / "figure.png").exists()
    assert not (run / "report.md").exists()
    for more in (["--format", "png"], ["--open"]):
        with pytest.raises(ArgumentError, match="expected a file"):
            CliRunner().invoke(command, [str(run), "--out", "-", *more], catch_exceptions=False)


def test_bad_input(run, tmp_path):
    with pytest.raises(RunError, match="expected the folder of a run"):
        write_report(tmp_path / "nowhere", tmp_path / "page.html")
    with pytest.raises(RunError, match="the report cannot be written"):
        write_report(run, run / "run.sqlite" / "page.html")
    with pytest.raises(RunError, match="the report cannot be written"):
        write_report(run, run / "run.sqlite" / "figure.png", form="png")
    recipe = load("digits")
    empty = tmp_path / "empty"
    RunStore.create(empty, dumps(recipe), recipe.digest, {}, [("none", 0)]).close()
    with pytest.raises(RunError, match="no finished epoch yet"):
        write_report(empty, empty / "report.html")


def test_the_command_imports_no_torch(run):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from droplab.cli.report import command\n"
        "command([sys.argv[1]], standalone_mode=False)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, capture_output=True)
