"""Searches from the space to the verdict, on a network that trains in no time."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from droplab import results
from droplab.data import Split, Splits
from droplab.errors import ArgumentError, BackendError, DataError, RunError
from droplab.models import MLP
from droplab.recipe import load, override
from droplab.report import render_search
from droplab.searches import Asked, SearchObserver, _driver, _proposals, search
from droplab.searches._examples import divide
from droplab.studies import own_experiment
from droplab.train import ExecutionPlan

pytest.importorskip("optuna")

PARTS = (("train", 0, 40), ("validation", 40, 60), ("test", 60, 80))
PLAN = ExecutionPlan(1)
"""Two steps take less than their recording."""
FEW = Asked(trials=4, batch=2, seeds=1, confirm_seeds=1)


def recipe(**changes):
    small = {"data.train": 60, "epochs": 1, "seeds": [0, 1], "batch_size": 30}
    small["model.hidden"] = [16, 16]
    return override(load("digits"), {**small, **changes})


def comparable(record):
    return dataclasses.replace(record, created="")


class StopsAt(SearchObserver):
    """Stops the search at an event, as a user would by Ctrl-C."""

    def __init__(self, event):
        self.event = event

    def told(self, record):
        self.stop("told")

    def confirming(self, plans):
        self.stop("confirming")

    def epoch_done(self, row):
        self.stop("epoch")

    def stop(self, event):
        if event == self.event:
            raise KeyboardInterrupt


def test_a_search_ends_on_fresh_seeds_and_fresh_examples(tmp_path):
    asked = Asked(trials=4, batch=2, seeds=2, confirm_seeds=6, halving=False)
    found = search(recipe(), asked=asked, plan=PLAN, out=tmp_path)
    record = found.record
    assert record == results.load_search(tmp_path)
    assert record.seeds == (0, 1)
    assert record.fresh_seeds == (2, 3, 4, 5, 6, 7)
    assert (record.searched, record.fresh, record.fresh_from) == (600, 500, "test")
    assert [plan.source for plan in record.plans] == ["common", "sampler", "sampler", "sampler"]
    runs = [results.load(tmp_path / name) for name in ("generation-001", "generation-002")]
    for run in runs:
        assert {row.seed for row in run.rows} == {0, 1}
        assert not run.tests  # nobody looked at the fresh examples
        assert json.loads(run.notes["data"])["validation"] == 600
    assert {row.arm for row in runs[0].rows} == {"none", "plan 0", "plan 1"}
    assert {row.arm for row in runs[1].rows} == {"plan 2", "plan 3"}
    of_plan = [row.val_loss for row in runs[1].rows if row.arm == "plan 2"]
    assert record.plan("plan 2").values["val_loss"] == pytest.approx(sum(of_plan) / 2)
    best = min(record.plans, key=lambda plan: plan.values["val_loss"])
    assert record.winners == (best.name,)
    assert found.arm == best.name
    assert repr(found).startswith(f"SearchResult({str(found.path)!r}, arm={best.name!r}, drops=")
    assert str(found) == str(found.verdict)
    assert found.run.recipe.seeds == record.fresh_seeds
    assert json.loads(found.run.notes["data"])["validation"] == 500
    (step,) = record.shrinkage
    assert step.searched == pytest.approx(best.values["val_loss"] - record.baseline["val_loss"])
    last = found.verdict.arm(best.name).differences["val_loss"]
    assert step.fresh == pytest.approx(last.mean)
    assert step.seeds not in (None, step.fresh)
    assert "test loss is" in found.verdict.headline
    assert "on these 500 test examples, which the search never scored" in found.verdict.headline
    assert "validation" not in " ".join([found.verdict.headline, *found.verdict.caveats])
    assert any(said.startswith("By validation loss the search saw") for said in record.outcome)


def test_fresh_seeds_on_searched_examples_are_those_that_training_would_have_scored(tmp_path):
    found = search(recipe(), "all", asked=FEW, plan=PLAN, out=tmp_path)
    (name,), (seed,) = found.record.winners, found.record.fresh_seeds
    arms = (found.run.recipe.baseline, dataclasses.replace(found.run.recipe.arm(name)))
    again = dataclasses.replace(recipe(), arms=arms, seeds=(seed,), target=None)
    from droplab.studies import run

    rows = {row.arm: row.val_loss for row in run(again, tmp_path / "again", plan=PLAN).rows}
    assert found.record.shrinkage[0].seeds == pytest.approx(rows[name] - rows["none"], rel=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The record of a search that nobody disturbed."""
    return search(recipe(), asked=FEW, plan=PLAN, out=tmp_path_factory.mktemp("whole")).record


def test_a_search_goes_on_to_the_same_proposals(tmp_path, whole):
    """Stopped in its first epoch, after its first generation, and before the last run."""
    for number, event in enumerate(["epoch", "told", "confirming"]):
        how = {"resume": number > 0, "observer": StopsAt(event)}
        with pytest.raises(KeyboardInterrupt):
            search(recipe(), asked=FEW, plan=PLAN, out=tmp_path, **how)
    with pytest.raises(RunError, match="holds a search already"):
        search(recipe(), asked=FEW, plan=PLAN, out=tmp_path)
    other = dataclasses.replace(FEW, sampler_seed=1)
    with pytest.raises(RunError, match="sampler_seed: it has 0, asked for 1"):
        search(recipe(), asked=other, plan=PLAN, out=tmp_path, resume=True)
    cut = search(recipe(), asked=FEW, plan=PLAN, out=tmp_path, resume=True).record
    assert comparable(cut) == comparable(whole)


def test_a_proposal_rests_on_the_trials_before_it_alone(tmp_path):
    """However asking is cut into pieces, and whichever object asks."""
    knobs = [_proposals.Knob("a"), _proposals.Knob("b"), _proposals.Knob("c", words=("x", "y"))]
    found = []
    for name, pieces in (("one", [12]), ("many", [5, 6, 1])):
        (tmp_path / name).mkdir()
        for piece in pieces:
            study = _proposals.Proposals(tmp_path / name, knobs, "tpe", 3, [False])
            study.propose([], piece)
            study.close()
        study = _proposals.Proposals(tmp_path / name, knobs, "tpe", 3, [False])
        for number in range(12):
            study.tell(number, [float(number % 5)])
        more = study.propose([], 2 if name == "one" else 1)
        study.close()
        if name == "many":
            study = _proposals.Proposals(tmp_path / name, knobs, "tpe", 3, [False])
            more += study.propose([], 1)
            study.close()
        found.append([each.choice for each in more])
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_half_of_a_generation_is_given_up_after_its_first_seed(tmp_path):
    asked = Asked(trials=4, batch=4, seeds=2, confirm_seeds=1)
    record = search(recipe(), asked=asked, plan=PLAN, out=tmp_path).record
    assert sorted(plan.state for plan in record.plans) == ["done", "done", "pruned", "pruned"]
    first = results.load(tmp_path / "generation-001")
    loss = {row.arm: row.val_loss for row in first.rows if row.arm != "none"}
    kept = {plan.name for plan in record.plans if plan.state == "done"}
    assert kept == set(sorted(loss, key=loss.__getitem__)[:2])
    assert (
        "of 1 epoch (8 epochs of a replica in all, of 10 if none had been given up)"
        in record.outcome[0]
    )
    second = results.load(tmp_path / "generation-001-rung-2")
    assert {row.arm for row in second.rows} == {"none", *kept}


def test_a_model_and_data_of_ones_own_are_searched(tmp_path):
    inputs = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(1) > 0).long()
    part = {name: (inputs[a:b], targets[a:b]) for name, a, b in PARTS}
    mine = own_experiment(lambda: MLP(4, (3, 3), 2), part, epochs=1, batch_size=20, seeds=2)
    found = search(mine, "depth", asked=FEW, plan=PLAN, out=tmp_path)
    assert (found.record.searched, found.record.fresh, found.record.fresh_from) == (20, 20, "test")
    assert set(found.plan) == {"fc2", "fc3"}
    with pytest.raises(ArgumentError, match="go with a study of your own loop"):
        search(mine, test_metric="val_ece", asked=FEW, out=tmp_path / "other")


def test_what_becomes_nan_is_told_as_failed(tmp_path, monkeypatch):
    real = _driver.values_of

    def broken(result, **how):
        found = real(result, **how)
        for name in ("plan 0", "plan 1"):
            if name in found:
                found[name] = [dict.fromkeys(row, float("nan")) for row in found[name]]
        return found

    monkeypatch.setattr(_driver, "values_of", broken)
    found = search(recipe(), asked=FEW, plan=PLAN, out=tmp_path)
    assert [plan.state for plan in found.record.plans] == ["failed", "failed", "done", "done"]
    assert found.arm in ("plan 2", "plan 3")
    assert "2 of the 4 plans failed" in " ".join(found.record.outcome)
    import optuna

    study = optuna.load_study(study_name="droplab", storage=f"sqlite:///{tmp_path}/optuna.sqlite")
    assert [t.state.name for t in study.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    study._storage._backend.engine.dispose()


def test_constraints_that_nothing_meets_leave_nothing(tmp_path):
    space = {"constraints": {"train_accuracy_running": "< 0.0001"}}
    found = search(recipe(), space, asked=FEW, plan=PLAN, out=tmp_path)
    assert found.verdict is None
    assert found.plan == {}
    assert "none of them meets running training accuracy < 0.0001" in found.record.headline
    page = render_search(found.record, "mine")
    assert "running training accuracy &lt; 0.0001" in page
    assert "train_accuracy_running" not in page


def test_two_objectives_send_the_whole_front(tmp_path):
    asked = dataclasses.replace(FEW, confirm_seeds=2)
    names = ("val_loss", "val_ece")
    found = search(recipe(), asked=asked, objective=names, plan=PLAN, out=tmp_path)
    record = found.record
    assert {step.metric for step in record.shrinkage} == set(names)
    assert [arm.name for arm in found.run.recipe.arms] == ["none", *record.winners]


def test_an_earlier_sweep_is_told_and_its_seeds_are_not_fresh(tmp_path):
    from droplab.studies import run, sweep_recipe

    run(sweep_recipe(recipe(), [0, 0.2, 0.5]), tmp_path / "sweep", plan=PLAN)
    out = tmp_path / "search"
    warm = [tmp_path / "sweep"]
    record = search(recipe(), asked=FEW, plan=PLAN, warm=warm, out=out).record
    told = [plan for plan in record.plans if plan.generation == 0]
    assert [plan.rates.get("fc2", 0.0) for plan in told] == [0.0, 0.2, 0.5]
    assert record.fresh_seeds == (2,)
    assert not {f"plan {plan.number}" for plan in told} & set(record.winners)
    asked = dataclasses.replace(FEW, fresh="validation")
    with pytest.raises(ArgumentError, match="scored all validation examples"):
        search(recipe(), asked=asked, warm=warm, out=tmp_path / "other")
    with pytest.raises(RunError, match=r"another experiment .*epochs"):
        search(recipe(epochs=2), asked=FEW, warm=warm, out=tmp_path / "other")


def test_examples_are_set_aside_whole_and_for_good():
    targets = torch.arange(80) % 4
    split = Split(torch.arange(80.0)[:, None], targets)
    splits = Splits(split, split, None, "train")
    one, other = divide(splits, None), divide(splits, "validation")
    mine, fresh = (set(part.validation.inputs[:, 0].tolist()) for part in (one.searched, one.fresh))
    assert not mine & fresh
    assert len(mine) == len(fresh) == 40
    assert mine | fresh == set(map(float, range(80)))
    assert all(8 <= count <= 12 for count in one.fresh.validation.targets.bincount())
    assert torch.equal(other.fresh.validation.inputs, one.fresh.validation.inputs)
    with pytest.raises(DataError, match="test split"):
        divide(splits, "test")
    with pytest.raises(DataError, match="too few"):
        divide(dataclasses.replace(splits, validation=split.subset(0, 9)), None)
    with pytest.raises(ArgumentError, match="'test' or 'validation'"):
        divide(splits, "train")


def test_settings_that_cannot_be_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="trials"):
        Asked(trials=0)
    with pytest.raises(ArgumentError, match="at least 2 seeds"):
        Asked(seeds=1, halving=True)
    with pytest.raises(ArgumentError, match="expected one objective"):
        Asked(halving=True).decided(2, 4)
    assert not Asked().decided(2, 4).halving
    with pytest.raises(ArgumentError, match=r"did you mean 'val_loss'"):
        search(recipe(), objective="val_los", out=tmp_path)
    with pytest.raises(ArgumentError, match="and so take the same memory"):
        search(recipe(), {"constraints": {"memory": "< 1000"}}, out=tmp_path)
    with pytest.raises(ArgumentError, match=r"expected one of tpe"):
        search(recipe(), asked=dataclasses.replace(FEW, sampler="cma"), out=tmp_path / "a")
    with pytest.raises(ArgumentError, match="folds"):
        search(recipe(**{"data.folds": 5}), asked=FEW, out=tmp_path)
    with pytest.raises(RunError, match="found none"):
        search(recipe(), asked=FEW, out=tmp_path / "none", resume=True)
    import optuna

    monkeypatch.setattr(optuna, "__version__", "4.9.1")
    with pytest.raises(BackendError, match=r"Optuna 5.0 or later, got 4.9.1"):
        search(recipe(), asked=FEW, out=tmp_path)
