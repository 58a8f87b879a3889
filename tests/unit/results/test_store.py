from __future__ import annotations

import math
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from droplab.errors import RunError
from droplab.results import (
    AnswersRow,
    BatchRow,
    BlockRow,
    ExampleRow,
    Member,
    RunStore,
    StoppedTestRow,
    TestRow,
    load,
)


def test_parts_of_the_validation_examples_read_back_to_the_last_bit(tmp_path, create, row):
    numbers = (0.1, 0.2, math.nan, math.inf, -2.5, 1e-300, 7.0, 0.1 + 0.2)
    values = np.array([0.1, 0.0, 3.5], dtype=np.float32)
    rows = [
        BlockRow("half", 7, 1, numbers, (1.0, 2.0, 0.0, *(5.5,) * 5)),
        BlockRow("none", 0, 1, numbers[::-1], (3.0,) * 8),
    ]
    answers = [
        AnswersRow("half", 7, ((0, 0.0, 0), (3, 0.1 + 0.2, 1)), ((2, 1), (1, 0))),
        AnswersRow("none", 0, ((1, 0.5, 1),), ()),  # of too many classes
    ]
    with create(tmp_path) as store:
        examples = [
            ExampleRow("none", 0, values, np.array([1.0, 0.0, 2.0], dtype=np.float32)),
            ExampleRow("half", 7, values[::-1], np.ones(3, dtype=np.float32)),
        ]
        parts = [*rows, *examples, *answers]
        store.commit_epochs([row(), row("half", 7)], None, (), parts)
        store.commit_epochs([], None, (), parts)  # confirmed already
        changed = AnswersRow("none", 0, ((1, 0.5, 0),), ())
        with pytest.raises(RunError, match="seed 0: the resumed run has other counts of answers"):
            store.commit_epochs([], parts=[changed])
        stopped = StoppedTestRow({"accuracy": 0.5, "loss": math.nan}, "half", 7, 1)
        assert store.add_test_row(stopped)
        assert not store.add_test_row(stopped)
        assert store.tests() == ()
    result = load(tmp_path)
    assert repr(result.blocks) == repr((rows[1], rows[0]))  # in the order of the members
    assert result.answers == (answers[1], answers[0])
    for one, other in zip(result.examples, examples, strict=True):
        assert (one.arm, one.seed) == (other.arm, other.seed)
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.weights, other.weights)
    (read,) = result.stopped_tests
    assert (read.arm, read.seed, read.epoch, read.accuracy) == ("half", 7, 1, 0.5)
    assert read.to_dict() == {"arm": "half", "seed": 7, "epoch": 1, "accuracy": 0.5, "loss": None}
    assert result.tests == ()


def test_blocks_without_their_row_are_refused_and_nothing_is_written(tmp_path, create, row):
    lonely = BlockRow("none", 0, 2, (0.5,) * 8, (1.0,) * 8)
    with create(tmp_path) as store, pytest.raises(RunError):
        store.commit_epochs([row()], parts=[lonely])
    assert load(tmp_path).rows == ()


def test_a_run_reads_back_as_it_was_written(tmp_path, create, row, plain_recipe):
    folder = tmp_path / "deep" / "run"
    with create(folder) as store:
        (store.checkpoints_folder / "a.safetensors").write_bytes(b"x")
        assert store.commit_epoch(
            row(), "a.safetensors", [BatchRow("none", 0, 10, 0.5), BatchRow("none", 0, 20, 0.25)]
        )
        assert store.commit_epoch(row(epoch=2, val_loss=0.1 + 0.2))
        assert store.commit_epochs([row("half", 7), row("none", 7)]) == 2
        store.set_member_state("none", 0, "done")
        store.set_member_state("half", 7, "nan", "the loss was NaN at step 4")
        assert store.add_test_row(TestRow({"loss": 0.5, "accuracy": 0.8, "ece": 0.03}, "none", 0))
        store.set_note("patch", "+ nn.Dropout")
        store.set_note("patch", "+ nn.Dropout(0.5)")
        store.set_plan({"group": 4, "threads": 2})
    result = load(folder)
    assert result.recipe == plain_recipe
    assert result.path == folder
    assert result.environment == {"python": "CPython 3.11"}
    assert result.rows == (
        row(),
        row(epoch=2, val_loss=0.1 + 0.2),
        row("none", 7),
        row("half", 7),
    )
    assert result.batches == (BatchRow("none", 0, 10, 0.5), BatchRow("none", 0, 20, 0.25))
    assert result.tests == (TestRow({"loss": 0.5, "accuracy": 0.8, "ece": 0.03}, "none", 0),)
    assert result.members == (
        Member("none", 0, "done", 2),
        Member("none", 7, "waiting", 1),
        Member("half", 0),
        Member("half", 7, "nan", 1, "the loss was NaN at step 4"),
    )
    assert result.notes == {"patch": "+ nn.Dropout(0.5)"}
    assert result.plan == {"group": 4, "threads": 2}
    assert result.created.endswith("+00:00")


def test_nan_and_infinity_survive(tmp_path, create, row):
    with create(tmp_path) as store:
        store.commit_epoch(row(val_loss=math.nan, train_loss=math.inf))
        assert not store.commit_epoch(row(val_loss=math.nan, train_loss=math.inf))
    found = load(tmp_path).rows[0]
    assert math.isnan(found.val_loss)
    assert found.train_loss == math.inf


def test_a_row_is_never_written_twice(tmp_path, create, row):
    with create(tmp_path) as store:
        assert store.commit_epoch(row(seconds=1.0))
        assert not store.commit_epoch(row(seconds=2.0))
        with pytest.raises(RunError, match=r"val_loss = 0\.71, the confirmed row 0\.7"):
            store.commit_epochs([row("none", 7), row(val_loss=0.71)])
        assert store.rows() == (row(seconds=1.0),), "the refused call wrote nothing"
        assert store.add_test_row(TestRow({"loss": 0.5, "accuracy": 0.8, "ece": 0.03}, "none", 0))
        assert not store.add_test_row(
            TestRow({"loss": 0.4, "accuracy": 0.9, "ece": 0.03}, "none", 0)
        )
        assert store.tests() == (TestRow({"loss": 0.5, "accuracy": 0.8, "ece": 0.03}, "none", 0),)


def test_an_epoch_cannot_be_left_out(tmp_path, create, row):
    with create(tmp_path) as store, pytest.raises(RunError, match="expected epoch 1 next"):
        store.commit_epoch(row(epoch=2))


def test_unknown_replicas_are_refused(tmp_path, create, row):
    with create(tmp_path) as store:
        for call in (
            lambda: store.commit_epoch(row("other")),
            lambda: store.add_test_row(TestRow({"loss": 0, "accuracy": 0, "ece": 0}, "none", 99)),
            lambda: store.set_member_state("none", 99, "done"),
            lambda: store.checkpoint("other", 0),
        ):
            with pytest.raises(RunError, match="not part of this run"):
                call()
        with pytest.raises(RunError, match="CHECK"):
            store.set_member_state("none", 0, "asleep")


def test_pointer_and_row_are_one(tmp_path, create, row):
    with create(tmp_path) as store:
        assert store.checkpoint("none", 0) is None
        with pytest.raises(RunError, match="expected a finished checkpoint file"):
            store.commit_epoch(row(), "missing.safetensors")
        assert store.rows() == ()
        for name in ("one", "two", "three"):
            (store.checkpoints_folder / name).write_bytes(b"x")
        store.commit_epochs([row(), row("none", 7)], "one")
        store.commit_epoch(row(epoch=2), "two")
        assert store.checkpoint("none", 0) == store.checkpoints_folder / "two"
        assert store.checkpoint("none", 7) == store.checkpoints_folder / "one"
        store.commit_epoch(row("none", 7, epoch=2), "three")
        there = {path.name for path in store.checkpoints_folder.iterdir()}
        assert there == {"two", "three"}  # nobody goes on from the first any more
        (store.checkpoints_folder / "two").unlink()
        with pytest.raises(RunError, match=r"arm 'none', seed 0 is missing"):
            store.checkpoint("none", 0)


def test_after_close_one_file_holds_everything(tmp_path, create, row):
    with create(tmp_path / "run") as store:
        store.commit_epoch(row())
        assert (tmp_path / "run" / "run.sqlite-wal").exists()
    assert not (tmp_path / "run" / "run.sqlite-wal").exists()
    alone = tmp_path / "alone.sqlite"
    alone.write_bytes((tmp_path / "run" / "run.sqlite").read_bytes())
    assert load(alone).rows == (row(),)


def test_a_reader_in_the_way_of_close_costs_no_row(tmp_path, create, row):
    store = create(tmp_path)
    store._connection.execute("PRAGMA busy_timeout = 10")
    store.commit_epoch(row())
    reader = sqlite3.connect(tmp_path / "run.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM epochs").fetchall()
    store.close()
    reader.close()
    assert load(tmp_path).rows == (row(),)
    with RunStore.open_for_resume(tmp_path) as again:
        assert again.rows() == (row(),)


def test_resume_goes_on_where_the_rows_end(tmp_path, create, row, plain_recipe):
    with create(tmp_path) as store:
        store.commit_epoch(row())
        store.set_plan({"threads": 2})
        store.set_member_state("none", 0, "running")
        store.set_member_state("none", 7, "done")
        orphan = store.checkpoints_folder / "0-none-seed0-epoch2.safetensors"
        orphan.write_bytes(b"renamed, never committed")
    with RunStore.open_for_resume(tmp_path, digest=plain_recipe.digest) as store:
        assert list(store.checkpoints_folder.iterdir()) == []
        assert store.digest == plain_recipe.digest
        assert store.plan == {"threads": 2}
        assert store.environment == {"python": "CPython 3.11"}
        assert [m.state for m in store.members()] == ["waiting", "done", "waiting", "waiting"]
        store.commit_epoch(row(epoch=2))
    assert [r.epoch for r in load(tmp_path).rows] == [1, 2]


def test_two_drivers_cannot_write(tmp_path, create):
    with create(tmp_path):
        with pytest.raises(RunError, match="another droplab is writing"):
            RunStore.open_for_resume(tmp_path)
        code = (
            "import sys; from droplab.errors import RunError\n"
            "from droplab.results import RunStore\n"
            "try: RunStore.open_for_resume(sys.argv[1])\n"
            "except RunError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert "another droplab is writing" in done.stdout
    RunStore.open_for_resume(tmp_path).close()


def test_a_folder_with_a_run_is_not_begun_again(tmp_path, create, row):
    with create(tmp_path) as store:
        store.commit_epoch(row())
    with pytest.raises(RunError, match="already holds a run; resume it"):
        create(tmp_path)
    assert load(tmp_path).rows == (row(),)


def test_what_a_killed_create_left_is_no_run(tmp_path, create, row):
    half = tmp_path / ".droplab-abcd1234" / "run.sqlite"
    half.parent.mkdir()
    half.write_bytes(b"half a database")
    with create(tmp_path) as store:
        store.commit_epoch(row())
    assert not half.parent.exists()


def test_members_must_be_distinct(tmp_path):
    for members in ([], [("none", 0), ("none", 0)]):
        with pytest.raises(RunError, match="each \\(arm, seed\\) once"):
            RunStore.create(tmp_path, "", "d", {}, members)


def test_bad_folders_are_refused_on_resume(tmp_path, create):
    with pytest.raises(RunError, match="expected a run to resume"):
        RunStore.open_for_resume(tmp_path)
    create(tmp_path).close()
    with pytest.raises(RunError, match="was made with another recipe"):
        RunStore.open_for_resume(tmp_path, digest="0" * 64)
    database = tmp_path / "run.sqlite"
    with sqlite3.connect(database) as sql:
        sql.execute("PRAGMA user_version = 99")
    sql.close()
    with pytest.raises(RunError, match=r"newer droplab \(layout 99"):
        RunStore.open_for_resume(tmp_path)
    database.write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunError, match="damaged or foreign"):
        RunStore.open_for_resume(tmp_path)
    database.write_bytes(b"")
    with pytest.raises(RunError, match="another SQLite file"):
        RunStore.open_for_resume(tmp_path)
    assert not store_is_locked(tmp_path)


def store_is_locked(folder) -> bool:
    for name in ("run.sqlite", "recipe.toml"):
        (folder / name).unlink()
    try:
        RunStore.create(folder, "", "d", {}, [("none", 0)]).close()
    except RunError:
        return True
    return False


class Interrupted:
    """A connection to which Ctrl-C comes while it does the n-th of its statements."""

    def __init__(self, connection, number):
        self._connection, self._left = connection, number

    def __getattr__(self, name):
        found = getattr(self._connection, name)
        return self._counted(found) if name in ("execute", "executemany") else found

    def _counted(self, do):
        def call(*args):
            done = do(*args)
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt  # raised by Python as soon as the call is over
            return done

        return call


def test_ctrl_c_in_any_statement_leaves_a_run_that_closes_and_goes_on(
    tmp_path, create, row, plain_recipe
):
    kept = []
    for number in range(1, 100):
        place = tmp_path / str(number)
        with create(place) as store:
            store.commit_epoch(row())
            whole, store._connection = store._connection, Interrupted(store._connection, number)
            try:
                store.commit_epoch(row(epoch=2))
                break
            except KeyboardInterrupt:
                pass
            finally:
                store._connection = whole
        kept.append(len(load(place).rows))
        with RunStore.open_for_resume(place, digest=plain_recipe.digest) as store:
            store.commit_epoch(row(epoch=2))
        assert load(place).rows == (row(), row(epoch=2))
    assert len(kept) >= 5
    assert kept == [1] * (len(kept) - 1) + [2]  # the row is there once the last statement is done


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, create, row):
    with create(tmp_path) as store:
        store.commit_epoch(row())
        store.set_plan({})
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RunError, match="the disk is full; free some space and resume"):
            store.set_note("patch", "x" * 100_000)
        store.commit_epoch(row(epoch=2))
    assert load(tmp_path).rows == (row(), row(epoch=2))
    assert load(tmp_path).notes == {}


def test_a_plan_must_be_json(tmp_path, create):
    with create(tmp_path) as store:
        with pytest.raises(ValueError, match="JSON"):
            store.set_plan({"time": math.nan})
        assert store.plan == {}


def test_a_metric_is_read_as_an_attribute_if_it_was_measured(row):
    assert row().val_loss == row().values["val_loss"]
    with pytest.raises(AttributeError, match="expected a metric that was measured, got 'rmse'"):
        row().rmse  # noqa: B018
