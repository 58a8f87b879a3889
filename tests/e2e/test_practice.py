"""`droplab practice` from the outside: one answer, and a visit on a terminal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time

import psutil
import pytest

COMMAND = [sys.executable, "-m", "droplab", "practice"]


@pytest.fixture
def environment(tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return {
        **kept,
        "DROPLAB_PROGRESS": str(tmp_path / "practice.json"),
        "TMPDIR": str(tmp_path),
        "TERM": "xterm",
    }


def test_an_answer_as_json(environment, tmp_path):
    done = subprocess.run(
        [*COMMAND, "--answer", "thirty-percent=E", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["answers"][0]["correct"] is True
    assert document["progress"]["solved"] == ["thirty-percent"]
    assert [item.name for item in tmp_path.iterdir() if "lock" not in item.name] == [
        "practice.json"
    ]


class Terminal:
    """A program on a terminal, of which one sees what it prints and types what it reads."""

    def __init__(self, arguments, **kwargs):
        pty = pytest.importorskip("pty")
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            arguments,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **kwargs,
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text, seconds=120):
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no '{text}' in {self.shown}"
            self.shown += os.read(self._ours, 1 << 16).decode()

    def type(self, text):
        self.shown = ""
        os.write(self._ours, text.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_a_visit_on_a_terminal_that_ends_with_ctrl_c(environment, tmp_path):
    terminal = Terminal([*COMMAND, "--topic", "eval-mode"], env=environment, cwd=tmp_path)
    try:
        terminal.wait_for("Your answer")
        assert "What comes out in eval mode" in terminal.shown
        terminal.type("h\n")
        terminal.wait_for("Hint: ")
        terminal.type("c\n")
        terminal.wait_for("go on")
        assert "C: right." in terminal.shown
        workers = psutil.Process(terminal.process.pid).children(recursive=True)
        assert workers
        # What Ctrl-C does, without asking the terminal's driver for it.
        terminal.process.send_signal(2)
        terminal.wait_for("interrupted")
        assert terminal.process.wait(60) == 130
        assert not [worker for worker in workers if worker.is_running()]
    finally:
        terminal.close()
    assert json.loads((tmp_path / "practice.json").read_text())["exercises"]["eval-mode"]["right"]
