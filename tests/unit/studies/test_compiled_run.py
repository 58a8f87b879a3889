"""Runs whose steps are compiled: the same bits again, in workers and after a break."""

from __future__ import annotations

import dataclasses

import pytest

from droplab.errors import RunError
from droplab.recipe import load, override
from droplab.studies import _run, run
from droplab.train import ExecutionPlan
from droplab.train.compiled import compiler
from tests.unit.studies.people import Stop

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

PLAN = ExecutionPlan(1, captured=True, compiled=True)
RECIPE = override(load("digits"), {"epochs": 3, "seeds": [0, 1]})
ARMS = ["none", "0.5"]


def content(found):
    return {(row.arm, row.seed, row.epoch): row.values for row in found.rows}


@needs_compiler
def test_a_compiled_run_has_the_same_bits_in_workers_and_after_a_break(tmp_path):
    whole = run(RECIPE, tmp_path / "whole", arms=ARMS, plan=PLAN)
    assert len(whole.rows) == 12
    workers = dataclasses.replace(PLAN, workers=2)
    assert content(run(RECIPE, tmp_path / "workers", arms=ARMS, plan=workers)) == content(whole)
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, tmp_path / "broken", arms=ARMS, plan=PLAN, observer=Stop(5))
    again = run(RECIPE, tmp_path / "broken", arms=ARMS, resume=True)
    assert again.plan["compiled"]
    assert content(again) == content(whole)


@needs_compiler
def test_a_compiled_run_learns_what_a_recorded_one_learns(tmp_path):
    """The first epochs within what rounding becomes in thirty steps."""
    compiled = run(RECIPE, tmp_path / "compiled", arms=ARMS, plan=PLAN)
    recorded = run(RECIPE, tmp_path / "recorded", arms=ARMS, plan=ExecutionPlan(1, captured=True))
    assert len(compiled.rows) == 12
    for one, two in zip(compiled.rows, recorded.rows, strict=True):
        assert (one.arm, one.seed, one.epoch) == (two.arm, two.seed, two.epoch)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-3)
        assert abs(one.val_accuracy - two.val_accuracy) <= 2 / 600


@needs_compiler
def test_without_a_compiler_a_compiled_run_is_not_resumed(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, tmp_path / "run", arms=ARMS, plan=PLAN, observer=Stop(5))
    monkeypatch.setattr(_run, "compiler", lambda: None)
    with pytest.raises(RunError, match=r"no C compiler here: expected cc, gcc or clang"):
        run(RECIPE, tmp_path / "run", arms=ARMS, resume=True)
