"""The worker as a real process: what it tells, and how it ends.

That it ends with its server, and keeps its rows: `test_lab_process.py` of tests/e2e.
"""

from __future__ import annotations

import os
import queue

import pytest

from droplab import results
from droplab.lab._process import WorkerProcess
from droplab.lab._worker import _train
from droplab.recipe import dumps, load, override
from droplab.train import ExecutionPlan

SMALL = override(load("digits"), {"seeds": [0, 1], "epochs": 2})
LONG = override(load("digits"), {"seeds": [0, 1], "epochs": 1000})


@pytest.fixture
def worker(keep_plan):
    for recipe in (SMALL, LONG):  # to measure one would take longer than the rest
        keep_plan(recipe, ExecutionPlan(1))
    found = WorkerProcess()
    yield found
    found.kill()
    for stream in (found._process.stdin, found._process.stdout, found._errors):
        stream.close()


def test_it_tells_of_steps_and_the_end(worker, runs):
    worker.send(SMALL, runs / "run", resume=False)
    told = list(worker.messages())
    events = [message["event"] for message in told]
    assert events[-1] == "done"
    assert events.count("started") == 1
    assert set(events) == {"started", "steps", "done"}, "what is measured is on disk"
    assert len(results.load(runs / "run").rows) == 4 * 2 * 2
    steps = [message["steps_done"] for message in told if message["event"] == "steps"]
    assert steps == sorted(steps)
    started = next(message for message in told if message["event"] == "started")
    assert steps[-1] == started["steps"] == 4 * 2 * 2 * 10


def test_it_says_why_a_run_cannot_be(runs):
    """In this process; `test_the_reason_of_a_defect` has another of its own."""
    runs.mkdir()
    (runs / "run").write_text("in the way")
    jobs, told = queue.Queue(), []
    jobs.put({"recipe": dumps(SMALL), "folder": str(runs / "run"), "resume": False})
    _train(lambda event, **more: told.append((event, more["message"])), jobs)
    [(event, message)] = told
    assert event == "failed"
    assert "cannot be written to" in message


def test_stop_closes_the_run(worker, runs):
    worker.send(LONG, runs / "run", resume=False)
    told, seen = [], ()
    for message in worker.messages():
        told.append(message)
        if message["event"] == "steps" and not seen:
            seen = results.load(runs / "run").rows
            if seen:
                worker.stop(60)
    assert told[-1] == {"event": "stopped"}
    assert set(seen) <= set(results.load(runs / "run").rows)
    assert not (runs / "run" / "run.sqlite-wal").exists()


def test_one_that_does_not_stop_is_killed(worker, runs):
    """Before it has loaded torch it hears nothing; the grace is over at once."""
    worker.send(LONG, runs / "run", resume=False)
    worker.stop(0.0)
    list(worker.messages())
    assert worker._process.poll() is not None


def test_the_reason_of_a_sudden_end(worker):
    os.kill(worker.pid, 9)
    assert list(worker.messages()) == []
    assert worker.reason() == "its process was killed by SIGKILL, perhaps for lack of memory"


def test_the_reason_of_a_defect(worker):
    worker.say('{"no": "job"}')
    (told,) = worker.messages()
    assert told == {"event": "failed", "message": "KeyError: 'recipe'"}
