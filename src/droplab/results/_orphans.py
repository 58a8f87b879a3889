"""Checkpoints that no replica points to: what a driver that was killed may have left."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

_CHECKPOINT = re.compile(
    r"(\d+-[\w.-]+-seed\d+(-\d+-replicas)?|group\d+-seed\d+-\d+)-epoch\d+\.safetensors(\.part)?",
    re.ASCII,
)
"""What the engine calls checkpoints, and earlier versions called unfinished ones."""


def orphans(folder: Path, kept: Collection[str]) -> list[str]:
    """Return the names of the checkpoints in `folder` that are not among those to be kept.

    Only files whose names are those of checkpoints are named: what else lies in the folder is
    somebody's own.
    """
    return [
        path.name
        for path in folder.iterdir()
        if _CHECKPOINT.fullmatch(path.name) and path.name not in kept and path.is_file()
    ]
