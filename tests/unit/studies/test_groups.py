"""Replicas trained together: the rows of single runs, going on, NaN, and too little memory."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from droplab import results
from droplab.errors import RunError
from droplab.recipe import Arm, load, override
from droplab.studies import Observer, choose_plan, resolve, run
from droplab.studies._grouping import Group, make_groups, stored_groups
from droplab.studies._planning import why_alone
from droplab.train import ExecutionPlan, Population
from droplab.train.checkpoint import load_weights
from tests.unit.studies.people import Stop

ALONE = ExecutionPlan(1)
TOGETHER = ExecutionPlan(1, captured=True, group=6)


def tiny(**changes):
    small = {"epochs": 3, "seeds": [0, 1], "data.train": 100, "data.validation": 200}
    return override(load("digits"), small | changes)


def content(result):
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, in groups of at most 6: 4 arms x 1 seed each."""
    return run(tiny(), tmp_path_factory.mktemp("whole") / "run", plan=TOGETHER)


def same_weights(one, two):
    for path in (one / "weights").iterdir():
        first, second = load_file(path), load_file(two / "weights" / path.name)
        assert all(torch.equal(first[key], second[key]) for key in first), path.name


def test_the_rows_are_those_of_single_runs(whole, tmp_path):
    """After three epochs of 5 steps each, rounding has not grown beyond a tenth of a per cent."""
    alone = run(tiny(), tmp_path / "alone", plan=ALONE)
    assert {member.state for member in whole.members} == {"done"}
    for one, two in zip(whole.rows, alone.rows, strict=True):
        assert (one.arm, one.seed, one.epoch) == (two.arm, two.seed, two.epoch)
        for name in ("train_loss_running", "train_loss", "val_loss"):
            assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-3), (one, name)
        assert one.val_accuracy == pytest.approx(two.val_accuracy, abs=0.005)
    assert [(t.arm, t.seed) for t in whole.tests] == [(t.arm, t.seed) for t in alone.tests]
    assert {p.name for p in (whole.path / "weights").iterdir()} == {
        p.name for p in (alone.path / "weights").iterdir()
    }


def test_the_last_weights_have_the_last_score(whole):
    experiment = resolve(tiny())
    from droplab.train import evaluate

    row = whole.rows[-1]
    replica = experiment.replica(whole.recipe.arm(row.arm), row.seed)
    path = next((whole.path / "weights").glob(f"*-{row.arm}-seed{row.seed}-last.safetensors"))
    load_weights(replica.model, path)
    score = evaluate(replica.model, experiment.splits.validation)
    assert score["loss"] == pytest.approx(row.val_loss, rel=1e-5)
    assert score["accuracy"] == pytest.approx(row.val_accuracy)


def test_the_same_plan_gives_the_same_bits(whole, tmp_path):
    again = run(tiny(), tmp_path / "run", plan=TOGETHER)
    assert content(again) == content(whole)
    same_weights(whole.path, again.path)


@pytest.mark.parametrize("rows", [1, 4, 9, 20])
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, tmp_path, rows):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", plan=TOGETHER, observer=Stop(rows))
    resumed = run(tiny(), tmp_path / "run", resume=True)
    assert content(resumed) == content(whole)
    assert resumed.tests == whole.tests
    same_weights(whole.path, resumed.path)


def test_going_on_from_an_older_checkpoint_comes_past_the_same_rows(whole, tmp_path, monkeypatch):
    """Checkpoints are rarer than rows: what lies between is computed again, to the same bits."""
    monkeypatch.setattr("droplab.studies._session._KEEP_HERE", 1e9)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", plan=TOGETHER, observer=Stop(8))
    before = results.load(tmp_path / "run").rows
    assert len(before) == 8
    resumed = run(tiny(), tmp_path / "run", resume=True)
    assert content(resumed) == content(whole)


def poison(monkeypatch, members, at=7):
    """Make a parameter of some members of the first group NaN at a step of their second epoch."""
    real = Population.set_step
    poisoned = []

    def set_step(self, step):
        real(self, step)
        if not poisoned or poisoned[0] is self:
            if not poisoned and self.members > 1:
                poisoned.append(self)
            if step == at and poisoned:
                with torch.no_grad():
                    self.parameters["fc2.weight"][members, 0, 0] = math.nan

    monkeypatch.setattr(Population, "set_step", set_step)


def test_a_nan_stops_one_replica_and_the_others_go_on(whole, tmp_path, monkeypatch):
    poison(monkeypatch, [1])
    seen = []

    class Watching(Observer):
        def diverged(self, arm, seed, message):
            seen.append((arm, seed))

    result = run(tiny(), tmp_path / "run", plan=TOGETHER, observer=Watching())
    lost = [member for member in result.members if member.state == "nan"]
    assert (
        [(member.arm, member.seed) for member in lost] == [(whole.recipe.arms[1].name, 0)] == seen
    )
    assert "epoch 2, step 3" in lost[0].message
    assert lost[0].epochs_done == 1
    others = [row for row in content(whole) if (row.arm, row.seed) != seen[0] or row.epoch == 1]
    assert content(result) == others  # to the last bit
    assert {member.state for member in result.members} == {"nan", "done"}
    assert result.tests


def test_a_run_without_a_sound_replica_is_an_error(tmp_path, monkeypatch):
    recipe = tiny(**{"optimizer.name": "SGD", "optimizer.lr": 1e30, "seeds": [0]})
    with pytest.raises(
        RunError, match=r"no replica could be trained; arm 'none', seed 0: .* (nan|inf)"
    ):
        run(recipe, tmp_path / "run", plan=TOGETHER)
    assert {m.state for m in results.load(tmp_path / "run").members} == {"nan"}


def test_too_little_memory_halves_the_group_and_goes_on(tmp_path, monkeypatch):
    """Groups of 4 and more "do not fit", from their second epoch on."""
    from droplab.studies import _work as module

    real = module.fit
    halved = []

    def fit(executor, *args, **kwargs):
        for epoch in real(executor, *args, **kwargs):
            if epoch.epoch == 2 and executor.members >= 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
            yield epoch

    class Watching(Observer):
        def group_halved(self, before, after):
            halved.append((before, after))

    monkeypatch.setattr(module, "fit", fit)
    recipe = tiny(seeds=[0])
    result = run(recipe, tmp_path / "run", plan=TOGETHER, observer=Watching())
    assert halved == [(4, 2)]
    assert len(result.rows) == 4 * 3
    names = [arm.name for arm in recipe.arms]
    groups = stored_groups(result.plan)
    assert groups == (Group(tuple(names[:2]), (0,)), Group(tuple(names[2:]), (0,)))


def test_other_errors_are_not_taken_for_too_little_memory(tmp_path, monkeypatch):
    from droplab.studies import _work as module

    def fit(*args, **kwargs):
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(RuntimeError, match="a defect"):
        run(tiny(), tmp_path / "run", plan=TOGETHER)


def test_groups_keep_the_arms_of_a_seed_together():
    arms = [
        Arm("none"),
        Arm("a", {"x": 0.1}),
        Arm("b", {"x": 0.2}),
        Arm("c", {"x": 0.3}, "channel"),
    ]
    for size in (1, 2, 3, 4, 6, 100):
        groups = make_groups(arms, range(5), size)
        members = [member for group in groups for member in group.members]
        assert sorted(members) == sorted((arm.name, seed) for arm in arms for seed in range(5))
        assert max(len(group.members) for group in groups) <= max(size, 1)
        assert not any({"a", "c"} <= set(group.arms) for group in groups)  # two kinds
    assert make_groups(arms[:3], range(4), 6)[0] == Group(("none", "a", "b"), (0, 1))


@pytest.mark.usefixtures("thorough")
def test_what_can_be_trained_together_may_be():
    """Whether it is depends on the machine; nothing but speed may speak against it."""
    recipe = tiny()
    plan = choose_plan(resolve(recipe), recipe.arms[:2])
    assert 1 <= plan.group <= 4
    assert plan.reason in ("", "training them together was measured to be slower")
    assert why_alone(resolve(tiny()), tiny().arms) == ""


def test_what_cannot_be_trained_together_says_why():
    recipe = tiny(**{"optimizer.name": "Adafactor"})
    assert "Adafactor looks at whole tensors" in why_alone(resolve(recipe), recipe.arms)
