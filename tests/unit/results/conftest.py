from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from droplab import recipe
from droplab.results import EpochRow, RunStore

VALUES = dict(zip(recipe.METRICS, (0.9, 0.70, 0.6, 0.80, 0.7, 0.75, 0.02, 0.05), strict=True))
ROW = EpochRow(VALUES, "none", 0, 1, 1.5)
MEMBERS = [("none", 0), ("none", 7), ("half", 0), ("half", 7)]


@pytest.fixture
def plain_recipe() -> recipe.Recipe:
    return recipe.Recipe(
        name="tiny",
        title="A tiny run",
        data=recipe.DataSpec(name="digits"),
        model=recipe.ModelSpec(path="mlp", arguments={"in_features": 64}),
        optimizer=recipe.OptimizerSpec(name="Adam", arguments={"lr": 0.001}),
        epochs=3,
        batch_size=64,
        seeds=(0, 7),
        arms=(recipe.Arm("none", {}), recipe.Arm("half", {"fc2": 0.5})),
    )


@pytest.fixture
def row() -> Callable[..., EpochRow]:
    def make(arm: str = "none", seed: int = 0, epoch: int = 1, **changes: float) -> EpochRow:
        seconds = changes.pop("seconds", ROW.seconds)
        return EpochRow(VALUES | changes, arm, seed, epoch, seconds)

    return make


@pytest.fixture
def create(plain_recipe: recipe.Recipe) -> Callable[[Path], RunStore]:
    def make(folder: Path) -> RunStore:
        return RunStore.create(
            folder,
            recipe.dumps(plain_recipe),
            plain_recipe.digest,
            {"python": "CPython 3.11"},
            MEMBERS,
        )

    return make


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """A block in which folder permissions hold, also when the tests run as root."""
    root = sys.platform != "win32" and os.geteuid() == 0

    @contextmanager
    def block() -> Iterator[None]:
        if not root:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return block


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder outside pytest's own, which other users may not enter."""
    place = Path(tempfile.mkdtemp(prefix="droplab-test-"))
    place.chmod(0o755)
    yield place
    for found in [place, *place.rglob("*")]:
        if found.is_dir():
            found.chmod(0o755)
    shutil.rmtree(place)
