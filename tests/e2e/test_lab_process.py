"""`droplab lab` as its users start it: it ends when it is told to, whole, and loses nothing."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import http.client
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import termios
import threading
import time

import psutil
import pytest

from droplab import results
from droplab.lab._queue import CLOSE_GRACE
from droplab.lab._request import requested_recipe
from droplab.train import ExecutionPlan

GONE = 60.0
"""Seconds in which everything is gone, on a machine that is busy with other things as well."""

LONG = {"kind": "experiment", "recipe": "digits", "seeds": 4, "epochs": 1000}
SHORT = {**LONG, "epochs": 20}


class Lab:
    """A lab in a process of its own, and a client of it."""

    def __init__(self, process, runs):
        self.process, self.runs, self.port = process, runs, 0

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        headers = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        assert answer.status < 300, content
        return content

    def events(self, id):
        """Yield (event, data) of a run's stream."""
        with contextlib.ExitStack() as stack:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            stack.callback(connection.close)
            connection.request("GET", f"/api/runs/{id}/events")
            answer = stack.enter_context(connection.getresponse())
            event = ""
            for raw in answer:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield event, json.loads(line.removeprefix("data: "))

    def run_until_rows(self, body=LONG):
        """Order a run and return its id when rows are confirmed."""
        id = self.ask("POST", "/api/runs", body)["id"]
        self.wait_for_points(id)
        return id

    def wait_for_points(self, id):
        """Read a run's events until one tells of new rows."""
        with contextlib.closing(self.events(id)) as events:
            for event, data in events:
                assert (event, data.get("state")) != ("state", "failed"), data
                if event == "points":
                    return
        raise AssertionError("the stream ended without a row")

    def family(self):
        """All processes that it has started, and itself."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


def heed_signals():
    """Let them through, though a shell that starts the tests in the background ignores some."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def take_terminal():
    """Make the standard input the terminal of this process, in which its user types."""
    heed_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def plans(keep_plan):
    """The plans of the runs here, which would take longer to measure than what is tested."""
    for body in (LONG, SHORT):
        keep_plan(requested_recipe(body), ExecutionPlan(1))


@pytest.fixture
def start_lab(tmp_path):
    """Start a lab, with `terminal` in a terminal of its own whose other end is given."""
    with contextlib.ExitStack() as stack:

        def start(terminal=None):
            runs = tmp_path / "runs"
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "droplab",
                    "lab",
                    "--port",
                    "0",
                    "--no-open",
                    "--runs",
                    runs,
                ],
                stdin=terminal,
                stdout=terminal or subprocess.PIPE,
                stderr=terminal or subprocess.PIPE,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
                    "DROPLAB_PROGRESS": str(tmp_path / "practice.json"),
                },
                preexec_fn=take_terminal if terminal else heed_signals,
                start_new_session=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return Lab(process, runs)

        yield start


def read_port(stream):
    """Return the port that a lab says it listens on."""
    text = b""
    while b"\n" not in text:
        part = os.read(stream, 1000)
        assert part, text
        text += part
    return int(re.search(rb"droplab lab: http://127\.0\.0\.1:([0-9]+)/", text)[1])


@pytest.fixture
def lab(start_lab, plans):
    """A lab that is ready."""
    found = start_lab()
    found.port = read_port(found.process.stdout.fileno())
    return found


def rows_on_disk(runs, id):
    return {(row.arm, row.seed, row.epoch, row.val_loss) for row in results.load(runs / id).rows}


def count_rows(runs, id):
    with sqlite3.connect(f"file:{runs / id}/run.sqlite?mode=ro", uri=True) as sql:
        return sql.execute("SELECT count(*) FROM epochs").fetchone()[0]


def gone(family, seconds):
    """Wait until all of a family have ended; return those that have not.

    One whose parent was killed may stay as a zombie where nobody reaps it: it has ended.
    """
    until = time.monotonic() + seconds
    alive = list(family)
    while alive and time.monotonic() < until:
        alive = [process for process in alive if _runs(process)]
        psutil.wait_procs(alive, timeout=0.02)
    return alive


def _runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_that_it_ends(lab, end, *, torch):
    """With a run at work, another waiting and two pages watching.

    And, for a signal and for one terminal, with an exercise's process ready and torch loaded, which
    Python takes its time to unload.
    """
    if torch:
        lab.ask("POST", "/api/practice/2", {"answer": "A"})
        lab.ask("GET", "/api/see?recipe=digits")
    id = lab.run_until_rows()
    lab.ask("POST", "/api/runs", LONG)
    told = [threading.Event() for _ in "ab"]

    def watch(event):
        for _ in lab.events(id):
            event.set()

    watchers = [threading.Thread(target=watch, args=(each,), daemon=True) for each in told]
    for watcher in watchers:
        watcher.start()
    for each in told:
        assert each.wait(GONE)  # who is still connecting does not watch yet
    family, before = lab.family(), rows_on_disk(lab.runs, id)
    assert len(family) >= (3 if torch else 2)
    began = time.monotonic()
    end()
    assert not gone(family, GONE)
    took = time.monotonic() - began
    assert before
    assert before <= rows_on_disk(lab.runs, id)
    if took < CLOSE_GRACE:  # after that a worker is not waited for
        assert not (lab.runs / id / "run.sqlite-wal").exists(), "the run was not closed"
    for watcher in watchers:
        watcher.join(GONE)
        assert not watcher.is_alive()


def test_a_signal_ends_everything(lab):
    """The other two come from a terminal, in the next test."""
    end = functools.partial(lab.process.send_signal, signal.SIGTERM)
    check_that_it_ends(lab, end, torch=True)
    out, errors = lab.process.communicate()
    assert b"Traceback" not in out + errors
    assert lab.process.returncode == 0


@pytest.mark.usefixtures("plans")
@pytest.mark.parametrize("how", ["Ctrl-C is typed", "the terminal is closed"])
def test_the_end_of_a_terminal(start_lab, how):
    own, its = pty.openpty()
    with os.fdopen(own, "r+b", buffering=0) as screen:
        with os.fdopen(its, "r+b", buffering=0) as terminal:
            lab = start_lab(terminal)
        lab.port = read_port(own)
        type_it = how.startswith("Ctrl-C")
        end = functools.partial(screen.write, b"\x03") if type_it else screen.close
        check_that_it_ends(lab, end, torch=not type_it)
        assert lab.process.wait(GONE) == 0


def check_that_the_page_answers(lab):
    """While a worker has all cores, and to this machine only."""
    own = psutil.Process(lab.process.pid)
    addresses = {c.laddr.ip for c in own.net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}
    worker = next(
        child for child in own.children() if "droplab.lab._worker" in " ".join(child.cmdline())
    )
    assert worker.nice() == min(19, own.nice() + 5)
    times = []
    for _ in range(20):
        began = time.monotonic()
        lab.ask("GET", "/api/recipes")
        times.append(time.monotonic() - began)
    assert sorted(times)[10] < 5.0  # a few milliseconds, but for what else the machine does


def test_the_page_answers_and_kill_9_of_the_server_ends_its_worker(lab, start_lab, keep_plan):
    keep_plan(requested_recipe(LONG), ExecutionPlan(psutil.cpu_count()))
    id = lab.run_until_rows()
    check_that_the_page_answers(lab)
    family, before = lab.family(), rows_on_disk(lab.runs, id)
    lab.process.kill()
    assert not gone(family, GONE)
    assert before <= rows_on_disk(lab.runs, id)
    # and the next server finds the run, and goes on with it
    lab = start_lab()
    lab.port = read_port(lab.process.stdout.fileno())
    (found,) = lab.ask("GET", "/api/runs")["runs"]
    assert (found["id"], found["state"]) == (id, "stopped")
    count = count_rows(lab.runs, id)
    lab.ask("POST", f"/api/runs/{id}/resume", {})
    lab.wait_for_points(id)
    assert count_rows(lab.runs, id) > count
    assert before <= rows_on_disk(lab.runs, id)


def test_from_the_first_request_to_the_verdict_with_a_stop_and_kill_9_of_the_worker(lab):
    assert "digits" in [recipe["name"] for recipe in lab.ask("GET", "/api/recipes")["recipes"]]
    id = lab.run_until_rows(SHORT)
    assert lab.ask("POST", f"/api/runs/{id}/stop", {})["state"] == "stopping"
    assert last_state(list(lab.events(id)))["state"] == "stopped"
    stopped = rows_on_disk(lab.runs, id)
    assert 0 < len(stopped) < 4 * 4 * 20

    lab.ask("POST", f"/api/runs/{id}/resume", {})
    lab.wait_for_points(id)
    before = rows_on_disk(lab.runs, id)
    (worker,) = [
        child
        for child in psutil.Process(lab.process.pid).children()
        if "droplab.lab._worker" in " ".join(child.cmdline())
    ]
    worker.kill()
    state = last_state(list(lab.events(id)))
    assert state["state"] == "failed"
    assert "SIGKILL" in state["message"]
    assert "\n" not in state["message"]
    assert stopped < before
    assert before <= rows_on_disk(lab.runs, id)

    lab.ask("POST", f"/api/runs/{id}/resume", {})
    found = list(lab.events(id))
    assert found[0][0] == "snapshot"
    assert last_state(found)["state"] == "done"
    assert found[-1] == ("end", {})
    verdict = next(data for event, data in found if event == "verdict")["verdict"]
    assert "4 seeds are too few" in verdict["headline"]
    after = rows_on_disk(lab.runs, id)
    assert before <= after
    assert len(after) == 4 * 4 * 20
    assert results.load(lab.runs / id).tests


def last_state(found):
    """Return what the last of a run's events says of its state."""
    states = [data for event, data in found if event == "state"]
    return states[-1] if states else found[0][1]["run"]


def test_a_port_that_is_taken(droplab):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = droplab("lab", "--port", port, "--no-open", check=False)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr


def test_without_the_extra_it_says_how_to_get_it(droplab, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['starlette'] = None\n")
    script = "import sitecustomize; from droplab.cli import main; main(['lab', '--no-open'])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "pip install 'droplab[lab]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
