"""The queue: one run at a time, in order; stop, resume, failure, and the end of the server."""

from __future__ import annotations

import math
import os
import shutil

import pytest

from droplab import results
from droplab.lab import _limits as limits
from droplab.lab._limits import Refusal
from droplab.lab._queue import RunQueue
from droplab.recipe import METRICS, load, override

SMALL = override(load("digits"), {"seeds": [0, 1], "epochs": 3})


@pytest.fixture
def queue(runs, start_worker):
    found = RunQueue(runs, start=start_worker)
    yield found
    found.close()


def ended(queue):
    """Wait for the thread of the run at work."""
    thread = queue._thread
    thread.join(60)
    assert not thread.is_alive()


def test_one_at_a_time_in_order(queue, workers):
    runs = [queue.add(SMALL) for _ in range(3)]
    assert [run.state for run in runs] == ["running", "queued", "queued"]
    assert len(workers) == 1
    workers[0].end("done")
    ended(queue) if len(workers) == 1 else None
    workers[0].got_job.wait(60)
    for at in (1, 2):
        while len(workers) <= at:  # the thread of the run before begins it
            queue._thread.join(0.01)
        workers[at].got_job.wait(60)
        workers[at].end("done")
    while runs[-1].state != "done":
        queue._thread.join(0.01)
    assert [run.state for run in runs] == ["done"] * 3
    assert [worker.job[1].name for worker in workers] == [run.id for run in runs]


def test_ids_are_names_of_folders_that_are_free(queue, runs):
    first = f"digits-{SMALL.digest[:8]}"
    (runs / f"{first}-2").mkdir(parents=True)
    assert [queue.add(SMALL).id for _ in range(3)] == [first, f"{first}-3", f"{first}-4"]


def test_the_worker_gets_the_recipe_and_the_folder(queue, workers, runs):
    run = queue.add(SMALL)
    assert workers[0].got_job.wait(60)
    recipe, folder, resume = workers[0].job
    assert (recipe, folder, resume) == (SMALL, runs / run.id, False)


def test_no_more_than_twenty_wait(queue):
    for _ in range(limits.QUEUE + 1):
        queue.add(SMALL)
    with pytest.raises(Refusal, match="20 runs are waiting") as caught:
        queue.add(SMALL)
    assert caught.value.status == 429


def test_a_run_that_waits_is_stopped_at_once(queue, workers):
    queue.add(SMALL)
    waiting = queue.add(SMALL)
    assert queue.stop(waiting.id).state == "stopped"
    assert not workers[0].asked_to_stop
    workers[0].end("done")
    ended(queue)
    assert len(workers) == 1
    assert queue.resume(waiting.id).state == "running"


def test_stop_and_resume(queue, workers):
    run = queue.add(SMALL)
    queue.stop(run.id)
    ended(queue)
    assert workers[0].asked_to_stop
    assert run.state == "stopped"
    with pytest.raises(Refusal, match="stopped and not at work"):
        queue.stop(run.id)
    queue.resume(run.id)
    assert (run.state, len(workers)) == ("running", 2)


def test_one_that_finishes_while_it_is_stopped_is_done(queue, workers, monkeypatch):
    run = queue.add(SMALL)
    monkeypatch.setattr(workers[0], "stop", lambda grace: workers[0].end("done"))
    queue.stop(run.id)
    ended(queue)
    assert run.state == "done"


def test_a_worker_that_dies_is_a_failed_run_with_its_reason(queue, workers):
    run, after = queue.add(SMALL), queue.add(SMALL)
    workers[0].write_row("none", 0, 1)
    workers[0].die()
    while after.state != "running":
        queue._thread.join(0.01)
    assert run.state == "failed"
    assert "killed by SIGKILL" in run.message
    assert "\n" not in run.message
    assert queue.resume(run.id).state == "queued"


def test_a_worker_that_says_why(queue, workers):
    run = queue.add(SMALL)
    workers[0].end("failed", message="data: the connection was lost\n  try again")
    ended(queue)
    assert (run.state, run.message) == ("failed", "data: the connection was lost; try again")


def test_a_message_that_nobody_understands_fails_the_run_alone(queue, workers):
    run = queue.add(SMALL)
    workers[0].say("started")
    workers[0].die()
    ended(queue)
    assert run.state == "failed"
    assert workers[0].killed
    assert queue.add(SMALL).state == "running"


def test_a_result_that_cannot_be_judged_fails_the_run_alone(queue, workers, monkeypatch):
    def judged(result):
        raise ZeroDivisionError("by zero")

    run = queue.add(SMALL)
    monkeypatch.setattr(queue.disk, "folder", lambda id: queue.disk.root / id)
    monkeypatch.setattr(queue.disk, "result", judged)
    workers[0].end("done")
    ended(queue)
    assert (run.state, run.message) == ("failed", "ZeroDivisionError: by zero")
    assert queue.add(SMALL).state == "running"


def test_a_process_that_cannot_be_started(runs):
    def start():
        raise OSError("no more processes")

    queue = RunQueue(runs, start=start, warm=True)
    queue.open()
    run = queue.add(SMALL)
    assert (run.state, "no more processes" in run.message) == ("failed", True)


def test_a_worker_is_kept_ready(runs, start_worker, workers):
    queue = RunQueue(runs, start=start_worker, warm=True)
    queue.open()
    queue.open()
    assert len(workers) == 1
    queue.add(SMALL)
    assert workers[0].got_job.wait(60)
    workers[0].end("done")
    ended(queue)
    assert len(workers) == 2
    queue.close()
    assert workers[1].killed


def test_closing_stops_the_run_and_begins_no_other(queue, workers):
    run, waiting = queue.add(SMALL), queue.add(SMALL)
    queue.close()
    assert (run.state, waiting.state, len(workers)) == ("stopped", "queued", 1)
    with pytest.raises(Refusal, match="closing"):
        queue.add(SMALL)


def test_a_worker_that_does_not_stop_is_killed_at_the_end(queue, workers, monkeypatch):
    monkeypatch.setattr("droplab.lab._queue.CLOSE_GRACE", -0.35)
    queue.add(SMALL)
    monkeypatch.setattr(workers[0], "stop", lambda grace: None)
    queue.close()
    assert workers[0].killed


def test_an_ended_run_is_read_again_when_it_changes(queue, workers, real_run, runs):
    """Another droplab may go on with a run that this server has trained."""
    run = queue.add(SMALL)
    workers[0].write_row("none", 0, 1)
    workers[0].end("done")
    ended(queue)
    assert queue.summaries()["runs"][0]["state"] == "done"
    assert queue.find(run.id) is run
    with results.RunStore.open_for_resume(runs / run.id) as store:
        store.set_member_state("none", 0, "waiting")
    states = {item["id"]: item["state"] for item in queue.summaries()["runs"]}
    assert states == {run.id: "stopped", real_run: "done"}
    assert (queue.find(run.id), run.state) == (run, "stopped"), "whoever watches it is told"


def test_why_a_run_failed_is_not_forgotten(queue, workers, real_run, runs, monkeypatch):
    """It is not on disk; a run is read anew when others were opened since."""
    monkeypatch.setattr("droplab.lab._disk.OPEN", 1)
    run = queue.add(SMALL)
    workers[0].write_row("none", 0, 1)
    workers[0].end("failed", message="the disk is full")
    ended(queue)
    assert queue.find(real_run).state == "done"
    again = queue.find(run.id)
    assert again is not run
    assert (again.state, again.message) == ("failed", "the disk is full")
    assert queue.summaries()["runs"][0]["message"] == "the disk is full"
    assert queue.resume(run.id).state == "running"


def test_rows_on_disk_make_curves(queue, workers):
    run = queue.add(SMALL)
    for seed, loss in ((0, 0.4), (1, 0.6)):
        workers[0].write_row("0.3", seed, 1, val_loss=loss)
    workers[0].write_row("0.3", 0, 2, val_loss=math.nan)
    workers[0].store().set_member_state("0.3", 1, "nan", "the loss is\nNaN")
    workers[0].end("stopped")
    ended(queue)
    found = run.snapshot()
    assert [each["name"] for each in found["metrics"]] == list(METRICS)
    assert found["curves"]["0.3"]["val_loss"] == [0.5, None]
    assert found["bands"]["0.3"]["val_loss"] == [pytest.approx(0.141421), None]
    assert found["counts"] == {"none": [0, 0], "0.3": [2, 1], "0.5": [0, 0], "input": [0, 0]}
    members = {(item["arm"], item["seed"]): item for item in found["members"]}
    assert members["0.3", 0]["epochs_done"] == 2
    assert members["0.3", 1]["state"] == "nan"
    assert members["0.3", 1]["message"] == "the loss is; NaN"


def test_what_is_read_is_what_is_on_disk_whoever_reads_it(queue, workers, runs):
    """While a run is trained, after its end, and by another server: the same rows, the same way."""
    run = queue.add(SMALL)
    workers[0].write_row("none", 0, 1, val_loss=0.25)
    shown = run.snapshot()
    assert shown["run"]["state"] == "running"
    workers[0].end("stopped")
    ended(queue)
    for other in (queue.find(run.id), RunQueue(runs, start=None).find(run.id)):
        again = other.snapshot()
        assert again["run"]["state"] == "stopped"
        for part in ("curves", "bands", "counts", "members"):
            assert again[part] == shown[part]
    assert shown["curves"]["none"]["val_loss"] == [0.25]


def test_a_list_of_many_runs_goes_through_their_folder_once(queue, real_run, runs, monkeypatch):
    for number in range(6):
        shutil.copytree(runs / real_run, runs / f"digits-copy-{number}")
    assert len(queue.summaries()["runs"]) == 7
    scanned = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or scan(path))
    assert len(queue.summaries()["runs"]) == 7
    assert scanned == [runs]
