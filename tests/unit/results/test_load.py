from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from droplab.errors import RunError
from droplab.results import RunStore, load

KILLED = """
import os, sys
from droplab.results import EpochRow, RunStore
from droplab import recipe
store = RunStore.open_for_resume(sys.argv[1])
store.commit_epoch(EpochRow({"val_loss": 0.5}, "half", 0, 1, 0.5))
os.kill(os.getpid(), 9)
"""


def kill_a_writer(folder) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert done.returncode == -9
    assert (folder / "run.sqlite-wal").stat().st_size > 0


def test_a_live_run_can_be_read(tmp_path, create, row):
    with create(tmp_path) as store:
        store.commit_epoch(row())
        assert load(tmp_path).rows == (row(),)
        store.commit_epoch(row(epoch=2))
        assert len(load(tmp_path).rows) == 2


def test_a_killed_run_can_be_read(tmp_path, create):
    create(tmp_path).close()
    kill_a_writer(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("run.sqlite", "run.sqlite-wal")]
    assert [(r.arm, r.epoch) for r in load(tmp_path).rows] == [("half", 1)]
    after = [(tmp_path / name).read_bytes() for name in ("run.sqlite", "run.sqlite-wal")]
    assert after == before, "reading writes nothing"


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_without_write_permission_can_be_read(
    open_place, create, row, unprivileged, killed
):
    folder = open_place / "run"
    with create(folder) as store:
        store.commit_epoch(row())
    if killed:
        kill_a_writer(folder)
        (folder / "run.sqlite-shm").unlink()  # as in a copy of the folder
    before = {p.name: p.stat().st_size for p in folder.iterdir()}
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    with unprivileged():
        assert len(load(folder).rows) == (2 if killed else 1)
    assert {p.name: p.stat().st_size for p in folder.iterdir()} == before


def test_a_folder_name_may_hold_anything(tmp_path, create, row):
    folder = tmp_path / "50% of? #1 é"
    with create(folder) as store:
        store.commit_epoch(row())
    assert load(folder).rows == (row(),)
    assert load(str(folder / "run.sqlite")).rows == (row(),)


def test_what_is_no_run_is_said(tmp_path, create):
    with pytest.raises(RunError, match="expected the folder of a run"):
        load(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"found no run\.sqlite"):
        load(tmp_path)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as sql:
        sql.execute("CREATE TABLE other (x)")
    sql.close()
    with pytest.raises(RunError, match="another SQLite file"):
        load(foreign)
    create(tmp_path / "run").close()
    database = tmp_path / "run" / "run.sqlite"
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="damaged"):
        load(tmp_path / "run")
    database.write_bytes(b"nothing" * 1000)
    with pytest.raises(RunError, match="damaged or foreign"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    "table", ["run", "members", "epochs", "epoch_values", "test_values", "notes", "batches"]
)
def test_a_missing_table_is_said(tmp_path, create, table):
    create(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.sqlite") as sql:
        sql.execute(f"DROP TABLE {table}")
    sql.close()
    with pytest.raises(RunError, match="incomplete"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("recipe", "= no TOML", "recipe in the run"), ("environment", "{", "damaged")],
)
def test_unreadable_values_are_said(tmp_path, create, name, text, message):
    create(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.sqlite") as sql:
        sql.execute("DELETE FROM run WHERE name = 'checksum'")  # as a killed driver leaves it
        sql.execute("UPDATE run SET value = ? WHERE name = ?", (text, name))
    sql.close()
    with pytest.raises(RunError, match=message):
        load(tmp_path)
    with sqlite3.connect(tmp_path / "run.sqlite") as sql:
        sql.execute("DELETE FROM run WHERE name = ?", (name,))
    sql.close()
    with pytest.raises(RunError, match=f"has no '{name}'"):
        load(tmp_path)


def test_a_newer_layout_is_refused(tmp_path, create):
    create(tmp_path).close()
    with sqlite3.connect(tmp_path / "run.sqlite") as sql:
        sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(RunError, match="update droplab"):
        load(tmp_path)


def test_every_flipped_byte_is_a_clear_error_or_harmless(tmp_path, create, row):
    """Damage at regular places: a RunError, or what was read before, to the last bit."""
    with create(tmp_path / "run") as store:
        for epoch in range(1, 40):
            store.commit_epoch(row(epoch=epoch))
    whole = (tmp_path / "run" / "run.sqlite").read_bytes()
    target = tmp_path / "broken.sqlite"
    target.write_bytes(whole)
    sound = load(target)
    refused = 0
    for place in range(0, len(whole), 97):
        broken = bytearray(whole)
        broken[place] ^= 0xFF
        target.write_bytes(broken)
        try:
            found = load(target)
        except RunError:
            refused += 1
        else:
            assert found == sound, place
    assert refused > 0


def test_reading_leaves_nothing_behind(tmp_path, create, row):
    with create(tmp_path / "run") as store:
        store.commit_epoch(row())
    before = sorted((tmp_path / "run").iterdir())
    load(tmp_path / "run")
    assert sorted((tmp_path / "run").iterdir()) == before


DEEP = "[" * 100_000
ODD = ["", "no JSON", "[]", "3", "null", '"x"', DEEP, '{"a": ' + DEEP, b"\xff\xfe"]


def write(folder, statement, *values):
    """Change a run that nobody closed, so that there is no checksum to tell of it."""
    with sqlite3.connect(folder / "run.sqlite") as sql:
        sql.execute("DELETE FROM run WHERE name = 'checksum'")
        sql.execute(statement, values)
    sql.close()


def resume(folder):
    """Read what the engine reads of a run that it goes on with."""
    with RunStore.open_for_resume(folder) as store:
        return store.plan, store.environment, load(folder)


@pytest.mark.parametrize("name", ["plan", "environment", "recipe", "created", "digest"])
@pytest.mark.parametrize("value", ODD)
def test_a_value_that_is_not_what_it_should_be_is_refused(tmp_path, create, row, name, value):
    """With a sentence, by whoever reads or resumes the run: nothing of it goes on to a reader."""
    with create(tmp_path) as store:
        store.commit_epoch(row())
    write(tmp_path, "UPDATE run SET value = ? WHERE name = ?", value, name)
    text = isinstance(value, str)
    if name in ("created", "digest") and text:
        assert load(tmp_path).rows == (row(),), "any text will do"
        return
    with pytest.raises(RunError) as caught:
        load(tmp_path)
    assert "run.sqlite" in str(caught.value)
    with pytest.raises(RunError):
        resume(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE members SET epochs_done = 'x'",
        "UPDATE members SET message = x'ff'",
        "UPDATE epochs SET epoch = 'x'",
        "UPDATE epoch_values SET value = 'x'",
        "INSERT INTO notes VALUES ('data', x'ff')",
        "INSERT INTO batches VALUES ('none', 0, 'x', 0.5)",
        """UPDATE run SET value = '{"score_train": "many"}' WHERE name = 'plan'""",
        """UPDATE run SET value = '{"score_train": NaN}' WHERE name = 'plan'""",
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, create, row, change):
    """SQLite keeps text in a column of numbers; a reader would count with it."""
    with create(tmp_path) as store:
        store.commit_epoch(row())
    write(tmp_path, change)
    with pytest.raises(RunError, match="the file is damaged"):
        load(tmp_path)
