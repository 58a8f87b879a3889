"""`droplab-check`: the reading half of droplab's doctor, without torch."""

from __future__ import annotations

import sys
from pathlib import Path

_DOCTOR = Path(__file__).parent / "_doctor"


def main() -> None:
    """Run `droplab check` on what the command line names."""
    if any(".py:" in argument for argument in sys.argv[1:]):
        print(
            "error: droplab-check reads files and folders; install droplab to run a model "
            "(droplab check FILE.py:NAME --example SHAPE)",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.path.insert(0, str(_DOCTOR))
    from droplab.cli import main as droplab

    droplab(["check", *sys.argv[1:]])
