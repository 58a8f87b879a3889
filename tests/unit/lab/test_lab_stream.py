"""Event streams: what a page is told, and what it is told when it comes back."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from droplab.lab import _queue, _run, _stream
from droplab.lab._log import KEPT, EventLog
from droplab.lab._queue import RunQueue
from droplab.recipe import METRICS, load, override

SMALL = override(load("digits"), {"seeds": [0, 1], "epochs": 3})


@pytest.fixture(autouse=True)
def _every_event(monkeypatch):
    monkeypatch.setattr(_run, "OFTEN", 0.0)
    monkeypatch.setattr(_queue, "OFTEN", 0.0)
    monkeypatch.setattr(_queue, "PAUSE", 0)


def names(found):
    return [event for _, event, _ in found]


def play(workers, at=0):
    worker = workers[at]
    worker.say_and_wait("data", what="fetching digits", done=1, total=2)
    worker.store(plan={"group": 8, "threads": 1})
    worker.say_and_wait("started", steps=240, steps_done=0)
    for epoch in (1, 2):
        worker.write_row("none", 0, epoch, val_loss=0.25 * epoch)


def test_a_stream_from_the_beginning(lab, order, workers, events, wait_for):
    id = order()
    play(workers)
    workers[0].end("done")
    wait_for(lab, id, "done")
    found = events(lab, id)
    assert names(found) == ["snapshot", "end"]
    assert found[0][2] == lab.get(f"/api/runs/{id}").json()
    sent = lab.get(f"/api/runs/{id}/events", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in sent.headers  # which would hold events back


def test_a_page_that_comes_back_gets_what_it_missed(lab, order, workers, events, wait_for):
    id = order()
    play(workers)
    workers[0].end("done")
    wait_for(lab, id, "done")
    last = events(lab, id)[-1][0]
    name = last.rpartition("-")[0]
    missed = events(lab, id, known=f"{name}-1")
    assert names(missed) == [
        "progress", "progress", "state", "progress", "points", "progress", "points",
        "progress", "verdict", "state", "end",
    ]  # fmt: skip
    ids = [at for at, _, _ in missed]
    assert ids == sorted(ids, key=lambda at: int(at.rpartition("-")[2]))
    points = [data["points"] for _, event, data in missed if event == "points"]
    place = list(METRICS).index("val_loss")
    assert [(p[0][0], p[0][1], p[0][2], p[0][3][place]) for p in points] == [
        (0, 1, 1, 0.25), (0, 2, 1, 0.5)
    ]  # fmt: skip
    progress = [data for _, event, data in missed if event == "progress"]
    assert progress[0]["what"] == "fetching digits (50 %)"
    assert [each["steps_done"] for each in progress] == [0, 0, 10, 20, 2], "as told, then on disk"
    states = [data for _, event, data in missed if event == "state"]
    assert [data["state"] for data in states] == ["running", "done"]
    assert "8 replicas together" in states[0]["plan"]
    # and after the end there is nothing more to come back for
    answer = lab.get(f"/api/runs/{id}/events", headers={"last-event-id": last})
    assert answer.status_code == 204


@pytest.mark.parametrize("known", ["x", "abc-1", "-", "1-99999999999999999999", "é-²"])
def test_an_unknown_id_gets_a_snapshot(lab, order, workers, events, wait_for, known):
    id = order()
    workers[0].end("done")
    wait_for(lab, id, "done")
    assert names(events(lab, id, known=known.encode())) == ["snapshot", "end"]


def test_the_log_forgets_what_is_old():
    log = EventLog()
    first = log.newest
    for at in range(KEPT):
        log.add("points", {"at": at})
    assert len(log.since(first)) == KEPT
    log.add("points", {})
    assert log.since(first) is None
    assert log.since(log.newest) == []
    assert EventLog().since(log.newest) is None


def collect(stream, *, until, tell=lambda event: None):
    """Read a stream that does not end by itself."""

    async def read():
        found = []
        async for part in stream:
            for line in part.decode().splitlines():
                if line.startswith("event: "):
                    found.append(line.removeprefix("event: "))
                    tell(found[-1])
            if until(found):
                break
        return found

    return asyncio.run(asyncio.wait_for(read(), 20))


def test_a_stream_follows_the_run(runs, start_worker, workers):
    """Each event is sent before the next thing happens: the curves are live."""
    queue = RunQueue(runs, start=start_worker)
    id = queue.add(SMALL).id
    steps = {
        "snapshot": lambda: workers[0].say_and_wait("started", steps=8, steps_done=0),
        "progress": lambda: workers[0].write_row("none", 0, 1),
        "points": lambda: workers[0].end("done"),
    }
    found = collect(
        _stream.stream(queue, id, "", threading.Event()),
        until=lambda found: "end" in found,
        tell=lambda event: steps.pop(event, lambda: None)(),
    )
    assert found == [
        "snapshot", "progress", "progress", "points", "progress", "verdict", "state", "end"
    ]  # fmt: skip
    queue.close()


def test_a_stream_ends_when_the_server_closes(runs, start_worker):
    queue = RunQueue(runs, start=start_worker)
    closing = threading.Event()
    found = collect(
        _stream.stream(queue, queue.add(SMALL).id, "", closing),
        until=lambda found: False,
        tell=lambda event: closing.set(),
    )
    assert found == ["snapshot"]
    queue.close()


def test_points_are_gathered(runs, start_worker, workers, monkeypatch):
    """However fast epochs come, the rows are looked at five times a second, or more seldom."""
    monkeypatch.setattr(_run, "OFTEN", 3600.0)
    monkeypatch.setattr(_queue, "OFTEN", 3600.0)
    queue = RunQueue(runs, start=start_worker)
    run = queue.add(SMALL)
    start = run.snapshot_event()[0]
    for seed in (0, 1):
        for epoch in (1, 2, 3):
            workers[0].write_row("none", seed, epoch)
    workers[0].end("done")
    queue._thread.join(60)
    found = run.missed(start)
    assert names(found) == ["points", "points", "progress", "verdict", "state"]
    assert json.loads(found[0][2])["points"][0][:3] == [0, 1, 1], "the first look"
    points = json.loads(found[1][2])["points"]
    assert [(arm, epoch, count) for arm, epoch, count, _, _ in points] == [
        (0, 1, 2), (0, 2, 2), (0, 3, 2)
    ]  # fmt: skip


def test_the_time_that_is_left(runs, start_worker, monkeypatch):
    run = RunQueue(runs, start=start_worker).add(SMALL)
    now = 100.0
    monkeypatch.setattr(_run.time, "monotonic", lambda: now)
    run.take({"event": "started", "steps": 300, "steps_done": 100})
    now = 200.0  # to load and to measure takes a while, which says nothing about steps
    run.take({"event": "steps", "steps_done": 110, "what": "x"})
    assert run.progress()["seconds_left"] is None
    now = 208.0
    run.take({"event": "steps", "steps_done": 150, "what": "x"})
    assert run.progress()["seconds_left"] == 30.0  # 40 steps took 8 seconds, 150 are left
    run.set_state("stopped")
    now = 10_000.0
    run.set_state("queued")
    run.set_state("running")
    assert run.progress()["seconds_left"] is None
    run.take({"event": "started", "steps": 300, "steps_done": 150})
    run.take({"event": "steps", "steps_done": 160, "what": "x"})
    now = 10_001.0
    run.take({"event": "steps", "steps_done": 170, "what": "x"})
    assert run.progress()["seconds_left"] == 13.0


def test_no_more_streams_than_the_limit(lab, order, monkeypatch):
    from droplab.lab import _limits

    monkeypatch.setattr(_limits, "STREAMS", 0)
    assert lab.get(f"/api/runs/{order()}/events").status_code == 429


def test_a_run_of_another_process_is_followed_on_disk(runs, real_run, start_worker, monkeypatch):
    """A run that the command line is writing: its file changes, and the page is told."""
    from droplab import results

    monkeypatch.setattr(_stream, "DISK_POLL", 0.01)
    queue = RunQueue(runs, start=start_worker)
    store = results.RunStore.open_for_resume(runs / real_run)
    store.set_member_state("none", 0, "running")
    told = []

    def tell(event):
        told.append(event)
        if told == ["snapshot"]:
            assert queue.find(real_run).state == "running"
            assert "another droplab" in queue.find(real_run).message
            store.set_plan({"group": 3})
        elif told == ["snapshot", "state"]:
            store.set_member_state("none", 0, "done")
            store.close()

    stream = _stream.stream(queue, real_run, "", threading.Event())
    collect(stream, until=lambda found: "end" in found, tell=tell)
    assert told == ["snapshot", "state", "verdict", "state", "end"]
    assert queue.find(real_run).state == "done"
