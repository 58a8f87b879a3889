"""Progress is kept from one visit to the next, and a bad file stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

import platformdirs
import pytest

from droplab.practice import Outcome, Progress, Result

DAMAGED = {
    "cut short": b'{"format": 1, "exercises": {"a": {"tri',
    "empty": b"",
    "binary": bytes(range(256)),
    "another shape": b"[1, 2]",
    "another format": b'{"format": 2, "exercises": {}}',
    "wrong types": b'{"format": 1, "exercises": {"a": {"tries": "many", "right": 0, '
    b'"answer": "A", "correct": true, "when": ""}}}',
    "missing fields": b'{"format": 1, "exercises": {"a": {"tries": 1}}}',
}


@pytest.fixture
def answered(make):
    """Return the result of answering an exercise in which A holds."""

    def answer(letter, name="made", holds=True):
        exercise = make("good = 1", "good = 2", name=name)
        outcomes = tuple(
            Outcome(letter=key, text="", holds=value, state="ran", happened="", printed="")
            for key, value in (("A", holds), ("B", False))
        )
        return Result(exercise, outcomes, (letter,), "", "2", 0.1)

    return answer


def test_it_is_kept(answered, progress_file):
    progress = Progress()
    assert progress.path == progress_file
    assert (dict(progress.records), progress.solved) == ({}, frozenset())
    for letter in "BAB":
        progress.add(answered(letter))
    progress.add(answered("B", "other"))
    again = Progress()
    assert again.records == progress.records
    record = again.records["made"]
    assert (record.tries, record.right, record.answer, record.correct) == (3, 1, "B", False)
    assert record.when.endswith("+00:00")
    assert again.solved == {"made"}
    assert progress.warning == again.warning == ""
    assert json.loads(progress_file.read_text()) == {
        "format": 1,
        "exercises": again.to_dict()["exercises"],
    }


def test_two_visits_at_once_lose_nothing(answered):
    first, second = Progress(), Progress()
    first.add(answered("A", "one"))
    second.add(answered("A", "two"))
    first.add(answered("A", "one"))
    assert {name: item.tries for name, item in Progress().records.items()} == {"one": 2, "two": 1}


def test_what_could_not_be_judged_is_not_counted(answered, progress_file):
    progress = Progress()
    progress.add(answered("A", holds=None))
    assert not progress.records
    assert not progress_file.exists()


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told_and_kept_aside(content, answered, progress_file):
    progress_file.parent.mkdir()
    progress_file.write_bytes(content)
    progress = Progress()
    assert str(progress_file) in progress.warning
    assert "damaged (" in progress.warning
    assert not progress.records
    assert progress_file.read_bytes() == content  # reading alone changes nothing

    progress.add(answered("A"))
    assert progress.warning == ""
    assert progress_file.with_name("practice.json.damaged-1").read_bytes() == content
    assert set(Progress().records) == {"made"}

    progress_file.write_bytes(b"again")
    Progress().add(answered("A"))
    assert progress_file.with_name("practice.json.damaged-1").read_bytes() == content
    assert progress_file.with_name("practice.json.damaged-2").read_bytes() == b"again"


def refuse(*args, **kwargs):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("step", ["mkdir", "replace"])
def test_an_unwritable_file_is_told_and_the_visit_goes_on(
    step, answered, progress_file, monkeypatch
):
    progress = Progress()
    monkeypatch.setattr(Path, step, refuse)
    for letter in "AB":
        progress.add(answered(letter))
        assert "your progress cannot be kept (Permission denied)" in progress.warning
        assert "DROPLAB_PROGRESS" in progress.warning
    assert progress.records["made"].tries == 2  # known for this visit
    assert progress.solved == {"made"}
    monkeypatch.undo()
    assert not progress_file.exists()
    left = [item.name for item in progress_file.parent.glob("*")] if step == "replace" else []
    assert not [name for name in left if "lock" not in name]


def test_a_folder_that_is_a_file_and_a_file_that_is_a_folder(answered, tmp_path):
    (tmp_path / "file").write_text("")
    below = Progress(tmp_path / "file" / "practice.json")
    assert "cannot be read (Not a directory)" in below.warning
    below.add(answered("A"))
    assert "cannot be kept" in below.warning
    (tmp_path / "folder").mkdir()
    folder = Progress(tmp_path / "folder")
    assert "cannot be read (Is a directory)" in folder.warning
    folder.add(answered("A"))
    assert "cannot be kept (Is a directory)" in folder.warning
    assert (tmp_path / "folder").is_dir()


def test_where_the_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DROPLAB_PROGRESS", "~/mine.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Progress().path == tmp_path / "mine.json"
    monkeypatch.delenv("DROPLAB_PROGRESS")
    assert Progress().path == platformdirs.user_data_path("droplab") / "practice.json"
