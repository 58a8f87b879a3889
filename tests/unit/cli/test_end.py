"""How the process of a command ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys
import droplab.cli
from droplab.cli import main

class Command:
    def main(self, **options):
        atexit.register(print, "closed")
        print("said")
        {end}

droplab.cli.group = Command()
sys.stdout.reconfigure(line_buffering=False)
main()
"""


@pytest.mark.parametrize(
    ("end", "code", "errors"),
    [
        ("return None", 0, ""),
        ("sys.exit(130)", 130, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no way')", 1, "no way\n"),
        ("raise droplab.cli.DroplabError('no such thing')", 2, "error: no such thing\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
    ],
)
def test_it_says_all_closes_all_and_keeps_its_code(end, code, errors):
    script = SCRIPT.format(end=end)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\nclosed\n", errors)


def test_python_takes_nothing_apart():
    script = SCRIPT.format(end="self.held = sys.modules['__main__'].Held()")
    script = script.replace("class Command", "class Held:\n    __del__ = print\n\nclass Command")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "said\nclosed\n"


@pytest.mark.parametrize("show", ["rich.console.Console().print('shown')", "click.echo('shown')"])
def test_a_reader_that_has_gone_is_no_failure(show):
    reader, writer = os.pipe()
    os.close(reader)
    script = "import click, rich.console\n" + SCRIPT.format(end=show)
    with os.fdopen(writer) as gone:
        done = subprocess.run([sys.executable, "-c", script], stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
