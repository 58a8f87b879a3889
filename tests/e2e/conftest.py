"""The command line as its users start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from droplab.cli import main

ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "140",
}


def heed_interrupts():
    """Let Ctrl-C through, though a shell that starts the tests in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def droplab(tmp_path):
    """Run `droplab ARGUMENTS` in a folder of its own and return the finished process."""

    def call(*arguments, check=True, timeout=300, cwd=None, **kwargs):
        done = subprocess.run(
            [sys.executable, "-m", "droplab", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or tmp_path,
            env={**ENVIRONMENT, "DROPLAB_PLANS": os.environ["DROPLAB_PLANS"]},
            **kwargs,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return call


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Do the same in this process, which has torch: for what a process of its own adds nothing to.

    A process takes four seconds of a processor to get as far as this one is.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", ENVIRONMENT["COLUMNS"])

    def call(*arguments, check=True):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        done = subprocess.CompletedProcess(arguments, end.value.code, *capsys.readouterr())
        assert "Traceback" not in done.stderr, done.stderr
        if check:
            assert done.returncode == 0, done.stderr
        return done

    return call


@pytest.fixture
def start_droplab(tmp_path):
    """Start `droplab ARGUMENTS` and return the process; it is gone when the test is."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "droplab", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**ENVIRONMENT, "DROPLAB_PLANS": os.environ["DROPLAB_PLANS"]},
            preexec_fn=heed_interrupts,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def root():
    return Path(__file__).parents[2]
