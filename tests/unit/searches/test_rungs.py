"""Halving over seeds and epochs: what is trained, gone on with, given up and told."""

from __future__ import annotations

import dataclasses

import pytest

from droplab import results
from droplab.errors import ArgumentError, RunError
from droplab.recipe import load, override
from droplab.searches import Asked, SearchObserver, search
from droplab.studies import run
from droplab.train import ExecutionPlan

optuna = pytest.importorskip("optuna")

RECIPE = override(
    load("digits"),
    {
        "data.train": 60,
        "epochs": 4,
        "seeds": [0, 1],
        "batch_size": 30,
        "model.hidden": [16, 16],
        "scheduler.name": "OneCycleLR",  # as long as the whole training
        "scheduler.max_lr": 0.05,
        "scheduler.cycle_momentum": False,
    },
)
ASKED = Asked(trials=4, batch=4, seeds=2, confirm_seeds=1, first_epochs=1)
RUNGS = ((1, 1), (2, 2), (2, 4))


def rows_of(folder):
    """For each arm and seed: the values of its epochs, without those that are not finite."""
    found = {}
    for row in results.load(folder).rows:
        values = {name: value for name, value in row.values.items() if value == value}
        found.setdefault((row.arm, row.seed), []).append(values)
    return found


class Counter(SearchObserver):
    """Counts the epochs that are trained."""

    trained = 0

    def epoch_done(self, row):
        self.trained += 1


@pytest.fixture(scope="module", params=[1, 8], ids=["alone", "together"])
def found(request, tmp_path_factory):
    """A search over rungs, its replicas alone or in groups, its folder and what it trained."""
    folder, plan = tmp_path_factory.mktemp("rungs"), ExecutionPlan(request.param)
    counter = Counter()
    record = search(RECIPE, asked=ASKED, plan=plan, out=folder, observer=counter).record
    return record, folder, counter.trained


def test_half_is_given_up_at_each_rung_and_the_rest_goes_on(found):
    record, folder, _ = found
    assert ASKED.decided(1, 4).rungs(4) == RUNGS
    rungs = sorted((plan.epochs, plan.seeds, plan.state) for plan in record.plans)
    assert rungs == [(1, 1, "pruned"), (1, 1, "pruned"), (2, 2, "pruned"), (4, 2, "done")]
    first, second = rows_of(folder / "generation-001"), rows_of(folder / "generation-001-rung-2")
    for plan in record.plans:
        assert len(first[plan.name, 0]) == plan.epochs
        assert len(second.get((plan.name, 1), ())) == (plan.epochs if plan.seeds == 2 else 0)
    after_one = {plan.name: first[plan.name, 0][0]["val_loss"] for plan in record.plans}
    order = sorted(after_one, key=after_one.__getitem__)
    assert {plan.name for plan in record.plans if plan.epochs > 1} == set(order[:2])
    assert record.winners == tuple(plan.name for plan in record.plans if plan.state == "done")
    for each in record.plans:  # the number of a plan is that of where it stopped
        mine = [rows[each.name, seed] for seed, rows in enumerate((first, second)[: each.seeds])]
        last = [rows[each.epochs - 1]["val_loss"] for rows in mine]
        assert each.values["val_loss"] == pytest.approx(sum(last) / each.seeds)


def test_what_goes_on_is_the_whole_training_cut_in_pieces(found, tmp_path):
    """To the bit where replicas train alone; the learning rate falls as in four epochs."""
    record, folder, _ = found
    before = results.load(folder / "generation-001")
    (winner,) = record.winners
    plan = ExecutionPlan.from_dict(before.plan)
    again = dataclasses.replace(before.recipe, data=RECIPE.data, name=RECIPE.name)
    run(again, tmp_path, arms=["none", winner], plan=plan)
    whole, mine = rows_of(tmp_path), rows_of(folder / "generation-001")
    for arm in ("none", winner):
        exact = dict.fromkeys(whole[arm, 0][0], 0.0)
        assert len(mine[arm, 0]) == len(whole[arm, 0]) == 4
        for one, other in zip(mine[arm, 0], whole[arm, 0], strict=True):
            if plan.group == 1:
                assert one == other
            else:
                assert one == pytest.approx(other, rel=1e-5, abs=1e-5), exact


def test_optuna_is_told_of_every_rung(found):
    record, folder, _ = found
    study = optuna.load_study(study_name="droplab", storage=f"sqlite:///{folder}/optuna.sqlite")
    assert study.metric_names == ["validation loss"]
    names = {"done": "COMPLETE", "pruned": "PRUNED"}
    for trial, plan in zip(study.trials, record.plans, strict=True):
        assert trial.state.name == names[plan.state]
        assert trial.value == pytest.approx(plan.values["val_loss"])
        steps = [seeds * epochs for seeds, epochs in RUNGS if epochs <= plan.epochs]
        assert list(trial.intermediate_values) == steps
        assert trial.intermediate_values[steps[-1]] == trial.value
    study._storage._backend.engine.dispose()


def test_the_cost_is_what_was_trained(found):
    record, folder, trained = found
    places = ("generation-001", "generation-001-rung-2")
    assert record.epochs_trained == sum(len(results.load(folder / place).rows) for place in places)
    plans = ASKED.decided(1, 4).most_epochs(4, 4)
    assert record.epochs_trained == plans + 8 == 14 + 8  # the baseline has all of its epochs
    assert trained == record.epochs_trained + 8  # nothing twice; and the last run
    assert ASKED.decided(1, 4).most_epochs(4, 4) < Asked(seeds=2, halving=True).most_epochs(4, 4)


def test_rungs_that_cannot_be_are_refused(tmp_path):
    for changes, said in (
        ({"first_epochs": 0}, "first_epochs: expected a whole number from 1"),
        ({"first_epochs": 2, "halving": False}, "first_epochs: goes with halving"),
    ):
        with pytest.raises(ArgumentError, match=said):
            dataclasses.replace(ASKED, **changes)
    with pytest.raises(ArgumentError, match="fewer than the 4 epochs of a whole training, got 4"):
        search(RECIPE, asked=dataclasses.replace(ASKED, first_epochs=4), out=tmp_path)
    with pytest.raises(ArgumentError, match="expected one objective"):
        ASKED.decided(2, 4)
    assert Asked(seeds=1, first_epochs=1).decided(1, 4).rungs(4) == ((1, 1), (1, 2), (1, 4))


def test_a_run_stops_after_an_epoch_and_goes_on_with_some_of_its_arms(tmp_path):
    recipe = dataclasses.replace(RECIPE, seeds=(0,))
    names = [arm.name for arm in recipe.arms]
    arms = [names[0], names[-1]]
    plan = ExecutionPlan(2)
    first = run(recipe, tmp_path, arms=arms, plan=plan, until=1)
    assert [(each.state, each.epochs_done) for each in first.members] == [("running", 1)] * 2
    last = run(recipe, tmp_path, arms=arms[1:], resume=True, until=4)
    assert [each.epochs_done for each in last.members] == [1, 4]
    assert [each.state for each in last.members] == ["waiting", "done"]
    with pytest.raises(RunError, match="the run has the arms"):
        run(recipe, tmp_path, arms=arms[1:], resume=True)
    with pytest.raises(ArgumentError, match="until: expected an epoch from 1 to 4, got 5"):
        run(recipe, tmp_path, until=5)
