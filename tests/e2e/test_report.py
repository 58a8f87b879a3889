"""`droplab report` as its users start it: three formats of one run."""

from __future__ import annotations


def test_a_run_has_its_report_as_page_picture_and_markdown(droplab, command, tmp_path):
    command("run", "digits", "--epochs", "1", "--seeds", "2", "--out", "run", "--quiet")
    for form, start in (("html", b"<!doctype html>"), ("png", b"\x89PNG"), ("md", b"## ")):
        done = command("report", "run", "--format", form)
        assert done.stdout == f"Report: run/report.{form}\n"
        assert (tmp_path / "run" / f"report.{form}").read_bytes().startswith(start)
    shown = droplab("report", "run", "--format", "md", "--out", "-").stdout
    assert shown == (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "droplab run digits --seeds 2 --epochs 1" in shown
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "droplab run digits --seeds 2 --epochs 1" in page


def test_a_report_that_cannot_be_is_refused_in_one_sentence(command):
    done = command("report", "nowhere", "--format", "md", check=False)
    assert done.returncode == 2
    assert "expected the folder of a run" in done.stderr
    done = command("report", "nowhere", "--format", "png", "--out", "-", check=False)
    assert done.returncode == 2
    assert "expected a file for a picture, got -" in done.stderr
