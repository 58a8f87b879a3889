"""A run on disk that an earlier version began still opens and goes on.

`run_of_layout_1` was written with layout 1 and killed after five of its six epochs, so that its
newest rows are still in the journal.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from droplab import results
from droplab.recipe import dumps, loads
from droplab.studies import run
from droplab.verdict import judge

OLD = Path(__file__).parent / "run_of_layout_1"


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_it_opens(old):
    result = results.load(old)
    assert dumps(result.recipe) == (OLD / "recipe.toml").read_text()
    assert [(row.arm, row.epoch) for row in result.rows] == [
        ("none", 1), ("none", 2), ("none", 3), ("0.3", 1), ("0.3", 2),
    ]  # fmt: skip
    assert [member.state for member in result.members] == ["done", "running"]
    assert judge(result).epoch == 2


def test_it_goes_on(old):
    before = results.load(old).rows
    result = run(loads((OLD / "recipe.toml").read_text()), old, resume=True)
    assert result.rows[:5] == before
    assert [(row.arm, row.epoch) for row in result.rows[5:]] == [("0.3", 3)]
    # half a run of blocks would say nothing: it goes on without them
    assert (result.blocks, result.examples, result.stopped_tests) == ((), (), ())
    assert run(loads((OLD / "recipe.toml").read_text()), old.with_name("new")).blocks
    assert {member.state for member in result.members} == {"done"}
    assert {path.name for path in (old / "checkpoints").iterdir()} == {
        "0-none-seed0-epoch3.safetensors",
        "1-0.3-seed0-epoch3.safetensors",
    }


def test_its_seeds_may_be_the_first_of_those_asked_for(old):
    """An earlier version did not keep which seeds a budget had left away."""
    recipe = loads((OLD / "recipe.toml").read_text())
    assert len(run(dataclasses.replace(recipe, seeds=(0, 1, 2)), old, resume=True).rows) == 6
