"""Runs that earlier versions wrote, kept as the SQL that makes them."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import pytest

from droplab.errors import RunError
from droplab.recipe import METRICS, TEST_METRICS
from droplab.results import EpochRow, RunStore, TestRow, load

FILES = sorted(Path(__file__).parent.glob("layout*.sql"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def earlier(request, tmp_path) -> Path:
    """The folder of a run that was closed by an earlier version."""
    connection = sqlite3.connect(tmp_path / "run.sqlite")
    connection.executescript(request.param.read_text(encoding="utf-8"))
    connection.close()
    return tmp_path


def check_rows(result) -> None:
    first, second, other = result.rows
    assert (first.arm, first.seed, first.epoch, first.seconds) == ("none", 0, 1, 1.5)
    assert list(first.values) == list(METRICS)
    assert (first.train_loss_running, first.val_accuracy, first.val_ece) == (0.9, 0.75, 0.02)
    assert first.gap == pytest.approx(0.05)
    assert math.isnan(second.val_loss)
    assert second.train_accuracy == 0.85
    assert (other.arm, other.seed) == ("half", 7)
    assert result.tests == (TestRow({"loss": 0.5, "accuracy": 0.8, "ece": 0.03}, "none", 0),)
    assert (result.metrics, result.test_metrics) == (METRICS, TEST_METRICS)
    assert (result.blocks, result.examples, result.stopped_tests) == ((), (), ())
    assert result.answers == ()


def test_there_is_a_file_of_each(earlier):
    assert [path.stem for path in FILES] == ["layout1", "layout2", "layout3", "layout4"]


def test_they_open(earlier):
    before = (earlier / "run.sqlite").read_bytes()
    check_rows(load(earlier))
    assert (earlier / "run.sqlite").read_bytes() == before


def test_they_are_resumed_and_are_of_this_layout_then(earlier):
    values = {**dict.fromkeys(METRICS, 0.5), "rmse": 2.0}
    with RunStore.open_for_resume(earlier) as store:
        store.commit_epoch(EpochRow(values, "half", 7, 2, 1.0))
        assert not store.add_test_row(TestRow({"loss": 0.1}, "none", 0))
        again = store.rows()[0]
        store.commit_epoch(again)
        changed = EpochRow({**again.values, "gap": 0.5}, "none", 0, 1, 1.0)
        with pytest.raises(RunError, match=r"the resumed run has gap = 0\.5"):
            store.commit_epoch(changed)
    result = load(earlier)
    assert result.rows[-1].values == values
    check_rows(type(result)(**{**vars(result), "rows": result.rows[:-1]}))
    with sqlite3.connect(earlier / "run.sqlite") as sql:
        tables = {name for (name,) in sql.execute("SELECT name FROM sqlite_schema")}
    assert {"epoch_values", "test_values", "blocks", "examples", "stopped_test_values"} <= tables
    assert {"confidence_bins", "class_counts"} <= tables
    assert not {"wide", "tests"} & tables


def test_a_changed_value_is_noticed_in_them_too(earlier):
    with sqlite3.connect(earlier / "run.sqlite") as sql:
        if sql.execute("PRAGMA user_version").fetchone()[0] < 3:
            sql.execute("UPDATE epochs SET val_accuracy = 0.76 WHERE epoch = 1")
        else:
            sql.execute("UPDATE epoch_values SET value = 0.76 WHERE metric = 'val_accuracy'")
        closed = sql.execute("SELECT 1 FROM run WHERE name = 'checksum'").fetchone()
    sql.close()
    if closed is None:  # layout 1 has no checksum
        assert load(earlier).rows[0].val_accuracy == 0.76
        return
    with pytest.raises(RunError, match="its checksum differs"):
        load(earlier)
