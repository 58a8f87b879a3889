"""A value that changes on the disk after a run was closed is noticed."""

from __future__ import annotations

import shutil
import sqlite3
import struct

import numpy as np
import pytest

from droplab.errors import RunError
from droplab.results import (
    AnswersRow,
    BatchRow,
    BlockRow,
    ExampleRow,
    RunStore,
    StoppedTestRow,
    TestRow,
    load,
)
from droplab.results._checksum import _EARLIER, _TABLES


@pytest.fixture
def closed(tmp_path, create, row):
    with create(tmp_path / "run") as store:
        halves = np.array([0.5, 0.25], dtype=np.float32)
        store.commit_epochs(
            [row(), row("half", 7, val_loss=0.123)],
            None,
            [BatchRow("none", 0, 1, 0.5)],
            [
                BlockRow("none", 0, 1, (0.5,) * 8, (2.0,) * 8),
                ExampleRow("none", 0, halves, halves),
                AnswersRow("none", 0, ((2, 1.5, 1),), ((1, 1), (1, 0))),
            ],
        )
        store.add_test_row(StoppedTestRow({"loss": 0.25}, "none", 0, 1))
        store.add_test_row(TestRow({"loss": 0.25, "accuracy": 0.5, "ece": 0.1}, "none", 0))
        store.set_note("data", "text")
    return tmp_path / "run"


def changed(folder, change):
    with sqlite3.connect(folder / "run.sqlite") as sql:
        sql.execute(change)
    sql.close()


def test_a_sound_run_opens(closed):
    assert len(load(closed).rows) == 2
    RunStore.open_for_resume(closed).close()
    assert len(load(closed).rows) == 2


CHANGES = [
    "UPDATE epoch_values SET value = value + 1e-15 WHERE arm = 'half' AND metric = 'val_loss'",
    "UPDATE epoch_values SET value = NULL WHERE arm = 'half' AND metric = 'val_loss'",
    "DELETE FROM epoch_values WHERE arm = 'half'",
    "UPDATE epochs SET seconds = 2.0",
    "UPDATE members SET state = 'nan' WHERE seed = 7",
    "UPDATE test_values SET value = 0.51",
    "UPDATE stopped_test_values SET value = 0.51",
    "UPDATE blocks SET weight_8 = 1.0",
    "UPDATE examples SET weights = NULL",
    'UPDATE examples SET "values" = zeroblob(8)',
    "UPDATE confidence_bins SET correct = 2",
    "UPDATE class_counts SET correct = 1",
    "UPDATE batches SET loss = 0.25",
    "UPDATE notes SET text = 'test'",
    "UPDATE run SET value = '{\"threads\": 3}' WHERE name = 'plan'",
    "UPDATE run SET value = 'x' || substr(value, 2) WHERE name = 'checksum'",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_value_is_noticed_by_who_reads_and_who_resumes(closed, change):
    changed(closed, change)
    for use in (load, RunStore.open_for_resume):
        with pytest.raises(RunError, match=r"run\.sqlite: a value in it is not what droplab wrote"):
            use(closed)
    changed(closed, "DELETE FROM run WHERE name = 'checksum'")
    load(closed)


def test_every_table_is_covered(closed):
    sql = sqlite3.connect(closed / "run.sqlite")
    names = {name for (name,) in sql.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    sql.close()
    assert names == set(_TABLES) - set(_EARLIER)
    assert all(any(f" {name} " in change for change in CHANGES) for name in names)


def test_one_flipped_bit_of_a_number_is_noticed(closed):
    """SQLite's own check does not see it: the structure of the file is sound."""
    path = closed / "run.sqlite"
    content = bytearray(path.read_bytes())
    where = content.index(struct.pack(">d", 0.123))
    content[where + 6] ^= 1
    path.write_bytes(content)
    sql = sqlite3.connect(path)
    assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    sql.close()
    with pytest.raises(RunError, match="a value in it is not what droplab wrote"):
        load(closed)


def test_a_run_at_work_has_none_and_is_read(tmp_path, closed, row):
    with RunStore.open_for_resume(closed) as store:
        store.commit_epoch(row(epoch=2))
        assert len(load(closed).rows) == 3
        killed = shutil.copytree(closed, tmp_path / "killed")
    assert len(load(closed).rows) == 3
    assert len(load(killed).rows) == 3
    RunStore.open_for_resume(killed).close()
    changed(killed, CHANGES[0])
    with pytest.raises(RunError, match="checksum differs"):
        load(killed)
