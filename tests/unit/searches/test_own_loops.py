"""Searches for training loops of somebody's own."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from droplab import results
from droplab.errors import ArgumentError, RunError
from droplab.report import render_search
from droplab.searches import Asked, search
from droplab.studies import study
from droplab.train import ExecutionPlan
from tests.unit.studies import loops

pytest.importorskip("optuna")

FEW = Asked(trials=3, batch=2, seeds=1, confirm_seeds=6)
METRICS = {**loops.METRICS, "test_loss": "lower", "memory": "lower"}


class Loop:
    """A loop of no epochs to speak of, which notes its trials; the last layer's input is "2"."""

    def __init__(self, broken=()):
        self.trials, self.broken = [], broken

    def __call__(self, trial):
        model = trial.place(loops.network())
        self.trials.append((trial.arm, trial.seed))
        if trial.arm in self.broken:
            raise ValueError("out of luck")
        x = torch.randn(4, 6)
        for epoch in trial.epochs(1 if trial.seed else 2):  # trials may have their own length
            loss = (model(x) - 1).square().mean().detach()
            trial.report(val_loss=loss, test_loss=loss + 1, memory=len(trial.arm), train_loss=epoch)


def begin(folder, loop, **changes):
    how = {"arms": {"none": {}}, "seeds": 3, "metrics": METRICS, "quiet": True, **changes}
    return study(folder / "mine", train=loop, **how)


def find(folder, loop, space="site", *, study_has=None, **how):
    asked = how.pop("asked", FEW)
    return search(begin(folder, loop, **(study_has or {})), space, asked=asked, out=folder, **how)


def test_a_search_of_an_own_loop_is_judged_by_what_decided_nothing(tmp_path):
    loop = Loop()
    found = find(tmp_path, loop, test_metric="test_loss")
    record = found.record
    assert record == results.load_search(tmp_path)
    assert record.space == ("2: 0 to 0.8",)
    assert loop.trials[0] == ("none", 0)
    # every plan once, the baseline in the first generation alone, and both again on fresh seeds
    arms = ["none", "plan 0", "plan 1", "plan 2"]
    assert sorted(loop.trials[:4]) == [(arm, 0) for arm in arms]
    assert sorted(loop.trials[4:]) == [(a, s) for a in ("none", found.arm) for s in range(1, 7)]
    best = record.plan(found.arm)
    assert record.baseline["train_loss"] == 2  # of the last epoch
    assert best.values["val_loss"] == min(p.values["val_loss"] for p in record.plans)
    assert found.run.recipe.primary == "test_loss"
    (step,) = record.shrinkage
    assert step.seeds == pytest.approx(step.fresh, rel=1e-4)  # they differ by one, in both arms
    assert "test loss is" in found.verdict.headline
    assert "test examples, which the search never scored" in found.verdict.headline
    assert "by test loss, which decided nothing in it" in record.outcome[0]
    page = render_search(record, "mine")
    assert "fresh seeds, test loss" in page
    assert "test_loss" not in page


def test_without_one_the_verdict_says_that_the_examples_chose(tmp_path):
    found = find(tmp_path, Loop())
    assert "validation loss is" in found.verdict.headline
    assert "examples by which a search chose" in found.verdict.headline
    assert "may be luck with them" in found.record.outcome[0]
    assert found.record.shrinkage[0].fresh is None
    assert "fresh examples: none" in render_search(found.record, "mine")


def test_a_search_of_an_own_loop_goes_on_and_repeats_no_trial(tmp_path):
    whole, cut, rest = Loop(), Loop(), Loop()
    wanted = find(tmp_path / "whole", whole, test_metric="test_loss").record

    def stops(trial):
        cut(trial)
        if len(cut.trials) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(tmp_path / "cut", stops, test_metric="test_loss")
    found = find(tmp_path / "cut", rest, test_metric="test_loss", resume=True).record
    assert found.plans == wanted.plans
    assert found.winners == wanted.winners
    assert [*cut.trials[:3], *rest.trials] == whole.trials
    with pytest.raises(RunError, match=r"test_metric: it has 'test_loss', asked for None"):
        find(tmp_path / "cut", rest, resume=True)


def test_a_trial_that_fails_is_told_as_failed_but_the_baseline_must_not(tmp_path):
    record = find(tmp_path / "a", Loop(broken=["plan 0"]), asked=FEW).record
    assert [plan.state for plan in record.plans] == ["failed", "done", "done"]
    with pytest.raises(RunError, match=r"the baseline failed with seed 0.*out of luck"):
        find(tmp_path / "b", Loop(broken=["none"]))


def test_whatever_a_loop_reports_may_be_a_constraint(tmp_path):
    space = {"constraints": {"memory": "< 5"}}  # as long as the name of the baseline
    record = find(tmp_path / "a", Loop(), space).record
    assert not any(plan.met for plan in record.plans)
    assert "none of them meets memory < 5" in record.headline
    space = {"constraints": {"seconds": "< 1000"}}
    record = find(tmp_path / "b", Loop(), space).record
    assert all(plan.met for plan in record.plans)
    run = results.load(tmp_path / "b" / "generation-002")
    assert record.plan("plan 2").values["seconds"] == pytest.approx(
        sum(r.seconds for r in run.rows)
    )
    assert json.loads(run.notes["data"])["validated_on"] == "own"


def test_halving_gives_up_trials_of_an_own_loop(tmp_path):
    asked = dataclasses.replace(FEW, trials=4, batch=4, seeds=2, confirm_seeds=1)
    loop = Loop()
    record = find(tmp_path, loop, asked=asked).record
    assert sorted(plan.state for plan in record.plans) == ["done", "done", "pruned", "pruned"]
    assert len([each for each in loop.trials if each[1] == 1]) == 3


def test_what_an_own_loop_cannot_have_is_refused(tmp_path):
    for how, said in (
        ({"test_metric": "tset_loss"}, "did you mean 'test_loss'"),
        ({"test_metric": "val_loss"}, "that decides nothing in the search"),
        ({"plan": ExecutionPlan(1)}, "plan: goes with a recipe"),
        ({"warm": ["runs/a"]}, "warm: goes with a recipe"),
        ({"asked": Asked(fresh="test")}, "fresh: goes with a recipe"),
        ({"asked": Asked(first_epochs=1)}, "first_epochs: goes with a recipe"),
        ({"study_has": {"folds": 3}}, "got folds"),
        ({"space": {"constraints": {"mem": "< 5"}}}, "did you mean 'memory'"),
    ):
        with pytest.raises(ArgumentError, match=said):
            find(tmp_path, Loop(), **how)
    with pytest.raises(RunError, match="the loop places no model: out of tune"):
        find(tmp_path, lambda _: (_ for _ in ()).throw(RunError("out of tune")))
    with pytest.raises(RunError, match=r"ended without trial\.place"):
        find(tmp_path, lambda _: None)
    with pytest.raises(ArgumentError, match="made with its loop"):
        find(tmp_path, None)

    def silent(trial):
        model = trial.place(loops.network())
        for _ in trial.epochs(1):
            trial.report(val_loss=model(torch.ones(1, 6)).mean().detach())

    with pytest.raises(RunError, match="expected test_loss in every report"):
        find(tmp_path, silent, test_metric="test_loss")
