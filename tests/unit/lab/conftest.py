"""A lab whose workers are played by the test, and runs that are really on disk."""

from __future__ import annotations

import queue
import shutil
import threading

import pytest
from starlette.testclient import TestClient

from droplab.lab import create_app
from droplab.recipe import METRICS, dumps, load, override
from droplab.results import EpochRow, RunStore

PORT = 8765
HOME = f"http://127.0.0.1:{PORT}"


class PlayedWorker:
    """A worker that says, and writes to the run's folder, what the test lets it."""

    def __init__(self):
        self._said = queue.Queue()
        self._store = None
        self.job = None
        self.got_job = threading.Event()
        self.asked_to_stop = False
        self.killed = False

    def send(self, recipe, folder, *, resume):
        self.job = (recipe, folder, resume)
        self.got_job.set()

    def messages(self):
        for message in iter(self._said.get, None):
            yield message
            self._said.task_done()  # the server comes for the next one when it is through
        self._said.task_done()

    def say(self, event, **content):
        self._said.put({"event": event, **content})

    def say_and_wait(self, event, **content):
        """Say something and wait until the server has done what it does then."""
        self.say(event, **content)
        self._said.join()

    def store(self, **made):
        """Return the run's store, made or opened when it is first needed."""
        assert self.got_job.wait(60)
        if self._store is None:
            recipe, folder, resume = self.job
            members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
            self._store = (
                RunStore.open_for_resume(folder)
                if resume
                else RunStore.create(folder, dumps(recipe), recipe.digest, {}, members, **made)
            )
        return self._store

    def write_row(self, arm, seed, epoch, **values):
        """Confirm a row, and tell of steps as they come after it."""
        row = EpochRow(dict.fromkeys(METRICS, 0.5) | values, arm, seed, epoch, 0.5)
        self.store().commit_epoch(row)
        self.say_and_wait("steps", steps_done=10 * epoch, what="training")

    def die(self):
        if self._store is not None:
            self._store.close()
            self._store = None
        self._said.put(None)

    def end(self, event="done", **content):
        if event == "done" and self._store is not None:
            for member in self._store.members():
                self._store.set_member_state(member.arm, member.seed, "done")
        self.say(event, **content)
        self.die()

    def stop(self, grace):
        if not self.asked_to_stop:
            self.asked_to_stop = True
            self.end("stopped")

    def kill(self):
        self.killed = True
        self.die()

    def reason(self):
        return "its process was killed by SIGKILL"


@pytest.fixture(autouse=True)
def _progress_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DROPLAB_PROGRESS", str(tmp_path / "progress" / "practice.json"))


@pytest.fixture
def workers():
    """Every worker that was started, in order."""
    return []


@pytest.fixture
def start_worker(workers):
    """Start a played worker."""

    def start():
        workers.append(PlayedWorker())
        return workers[-1]

    return start


@pytest.fixture
def runs(tmp_path):
    """The folder of the runs, empty."""
    return tmp_path / "runs"


@pytest.fixture
def lab(runs, start_worker):
    """A client of a lab with played workers, whose posts come from the lab's own page."""
    app = create_app(runs, port=PORT, start=start_worker)
    with TestClient(app, base_url=HOME, headers={"origin": HOME}) as client:
        yield client


@pytest.fixture
def order(lab):
    """Order a small run and return its id."""

    def post(**changes):
        body = {"kind": "experiment", "recipe": "digits", "seeds": 2, "epochs": 3, **changes}
        answer = lab.post("/api/runs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    return post


@pytest.fixture
def wait_for():
    """Wait until a run is in a state: threads take their time."""

    def wait(lab, id, *states):
        # Every state is told in the stream, which ends with the run; nothing is slept for.
        until = threading.Event()
        for _ in range(2000):
            state = lab.get(f"/api/runs/{id}").json()["run"]["state"]
            if state in states:
                return state
            until.wait(0.005)
        raise AssertionError(f"the run is still {state}")

    return wait


@pytest.fixture
def events():
    """Read a finite stream into [(id, event, data)]."""
    import json

    def read(lab, id, known=None):
        headers = {"last-event-id": known} if known else {}
        answer = lab.get(f"/api/runs/{id}/events", headers=headers)
        assert answer.status_code == 200, answer.text
        found = []
        for block in answer.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                found.append((fields["id"], fields["event"], json.loads(fields["data"])))
        return found

    return read


@pytest.fixture(scope="session")
def _real_run(tmp_path_factory):
    """A finished run of the digits, made once."""
    from droplab.studies import run
    from droplab.train import ExecutionPlan

    folder = tmp_path_factory.mktemp("made") / "digits-made"
    recipe = override(load("digits"), {"seeds": [0, 1], "epochs": 2})
    run(recipe, folder, plan=ExecutionPlan(threads=1, group=8))
    return folder


@pytest.fixture
def real_run(_real_run, runs):
    """The id of a finished run among the runs, which the test may change."""
    shutil.copytree(_real_run, runs / _real_run.name)
    return _real_run.name
