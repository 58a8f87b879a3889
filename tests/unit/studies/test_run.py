"""Running recipes: the rows, the folder, going on, and every refusal before training starts."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import droplab
from droplab import results
from droplab.errors import ArgumentError, DroplabError, PlacementError, RecipeError, RunError
from droplab.recipe import Arm, load, override
from droplab.studies import _run, _session, _work, default_folder, resolve, run
from droplab.train import ExecutionPlan
from tests.unit.studies.people import Stop

PLAN = ExecutionPlan(1)
"""Of eager steps, which take a third of the time: test_options has recorded ones go on."""


def tiny(**changes):
    small = {"epochs": 3, "seeds": [0, 1], "data.train": 100, "data.validation": 200}
    return override(load("digits"), small | changes)


def content(result):
    """Everything of the rows but the time they took."""
    return [dataclasses.replace(row, seconds=0.0) for row in result.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, for who changes nothing in it."""
    return run(tiny(), tmp_path_factory.mktemp("whole") / "run", plan=PLAN)


@pytest.fixture
def finished(whole, tmp_path):
    """The folder of a finished run, to be changed."""
    return shutil.copytree(whole.path, tmp_path / "run")


def test_rows_weights_and_tests_of_a_whole_run(whole):
    result, recipe = whole, tiny()
    assert len(result.rows) == len(recipe.arms) * 2 * 3
    assert {member.state for member in result.members} == {"done"}
    assert {row.arm for row in result.tests} >= {recipe.baseline.name}
    assert len(result.tests) == 4  # the baseline and the chosen arm, two seeds each
    weights = sorted(path.name for path in (whole.path / "weights").iterdir())
    assert len(weights) == len(recipe.arms) * 2 * 2
    assert not list((whole.path / "checkpoints").glob("*.part"))
    assert result.plan == PLAN.to_dict()
    assert json.loads(result.notes["data"])["train"] == len(resolve(recipe).splits.train)


def test_the_same_recipe_twice_gives_the_same_rows_and_weights(whole, tmp_path):
    again = run(tiny(), tmp_path / "again", plan=PLAN)
    assert content(again) == content(whole)
    assert again.tests == whole.tests
    for path in (whole.path / "weights").iterdir():
        first, second = load_file(path), load_file(tmp_path / "again" / "weights" / path.name)
        assert all(torch.equal(first[key], second[key]) for key in first), path.name


def test_an_arm_at_zero_equals_the_baseline_bit_for_bit(tmp_path):
    """The engine inserts the union of all sites in every arm: p = 0 must change nothing."""
    recipe = dataclasses.replace(tiny(), arms=(Arm("none"), Arm("half", {"fc2": 0.5})))
    recipe = dataclasses.replace(recipe, seeds=(0,))
    alone = dataclasses.replace(recipe, arms=(Arm("none"),))
    with_site = run(recipe, tmp_path / "a", plan=PLAN)
    bare = run(alone, tmp_path / "b", plan=PLAN)
    assert [row for row in content(with_site) if row.arm == "none"] == content(bare)


@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_an_interrupted_run_goes_on_to_the_same_bits(whole, tmp_path, rows):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "part", plan=PLAN, observer=Stop(rows))
    assert len(results.load(tmp_path / "part").rows) == rows
    resumed = run(tiny(), tmp_path / "part", resume=True)
    assert content(resumed) == content(whole)
    assert resumed.tests == whole.tests
    for path in (whole.path / "weights").iterdir():
        first, second = load_file(path), load_file(tmp_path / "part" / "weights" / path.name)
        assert all(torch.equal(first[key], second[key]) for key in first), path.name


def test_resuming_a_finished_run_changes_nothing(whole, finished):
    assert run(tiny(), finished, resume=True).rows == whole.rows


def test_the_best_weights_are_those_of_the_best_epoch(tmp_path):
    recipe = tiny(epochs=6, seeds=[0], primary="val_accuracy")
    result = run(recipe, tmp_path / "run", arms=["none"], plan=PLAN)
    best = max(result.rows, key=lambda row: (row.val_accuracy, -row.epoch))
    shorter = run(
        dataclasses.replace(recipe, epochs=best.epoch), tmp_path / "short", arms=["none"], plan=PLAN
    )
    assert shorter.rows[-1].val_accuracy == best.val_accuracy
    kept = load_file(next((tmp_path / "run" / "weights").glob("*-best.safetensors")))
    last = load_file(next((tmp_path / "short" / "weights").glob("*-last.safetensors")))
    assert all(torch.equal(kept[key], last[key]) for key in kept)


def test_a_budget_leaves_seeds_away_and_can_be_resumed(tmp_path):
    recipe = tiny(seeds=[3, 4, 5])
    result = run(recipe, tmp_path / "run", budget=1e-9, plan=PLAN)
    assert {row.seed for row in result.rows} == {3}
    assert result.recipe.seeds == (3,)
    assert run(recipe, tmp_path / "run", resume=True).rows == result.rows
    two = run(recipe, tmp_path / "two", budget=1e-9, least_seeds=2, plan=PLAN)
    assert two.recipe.seeds == (3, 4)


def test_only_some_arms(tmp_path):
    recipe = tiny()
    name = recipe.arms[1].name
    result = run(recipe, tmp_path / "run", arms=[name], plan=PLAN)
    assert {row.arm for row in result.rows} == {name}
    assert not result.tests


def test_another_recipe_is_not_resumed(finished):
    with pytest.raises(RunError, match="another recipe"):
        run(tiny(epochs=4), finished, resume=True)


def measured(*_, **__):
    raise AssertionError("a plan was measured first")


def test_a_run_is_not_overwritten(finished, monkeypatch):
    monkeypatch.setattr(_run, "choose_plan", measured)
    with pytest.raises(RunError, match="already holds a run"):
        run(tiny(), finished)


def test_default_folders_are_numbered_and_found_again():
    recipe = tiny(seeds=[0], epochs=1)
    first = default_folder(recipe)
    assert default_folder(recipe, existing=True) == first
    run(recipe, arms=["none"], plan=PLAN)
    assert first.is_dir()
    assert default_folder(recipe, existing=True) == first
    second = default_folder(recipe)
    assert second.name == f"{first.name}-2"
    second.mkdir(parents=True)
    assert default_folder(recipe, existing=True) == second
    assert default_folder(recipe).name == f"{first.name}-3"


def test_a_nan_stops_the_run_says_when_and_keeps_the_rows(tmp_path):
    recipe = tiny(**{"optimizer.name": "SGD", "optimizer.lr": 1e30, "seeds": [0]})
    with pytest.raises(RunError, match=r"seed 0: the training loss became (nan|inf) at epoch \d"):
        run(recipe, tmp_path / "run", plan=PLAN)
    kept = results.load(tmp_path / "run")
    assert kept.members[0].state == "nan"
    assert "epoch" in kept.members[0].message


BAD = {
    "optimizer": ({"optimizer.name": "Adan"}, ArgumentError, "did you mean 'Adam'"),
    "optimizer argument": ({"optimizer.lrr": 1}, ArgumentError, "did you mean 'lr'"),
    "model": ({"model.path": "mpl"}, RecipeError, "did you mean 'mlp'"),
    "model path": ({"model.path": "nowhere.nets:Net"}, ArgumentError, "nowhere"),
    "data": ({"data.name": "digit"}, DroplabError, "did you mean 'digits'"),
    "batch": ({"batch_size": 100_000}, ArgumentError, "at most the"),
    "classes": ({"model.classes": 9}, ArgumentError, "10 classes, and the model returns 9"),
    "features": ({"model.in_features": 63}, ArgumentError, "cannot take a batch"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipes_stop_before_a_folder_is_made(case, tmp_path):
    changes, error, message = BAD[case]
    with pytest.raises(error, match=message):
        run(tiny(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_rate_that_matches_no_site(tmp_path):
    recipe = dataclasses.replace(tiny(), arms=(Arm("none"), Arm("typo", {"fc22": 0.5})))
    with pytest.raises(PlacementError, match=r"arms.typo: .*did you mean 'fc2'"):
        run(recipe, tmp_path / "run")


def test_an_unknown_arm(tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'none'"):
        run(tiny(), tmp_path / "run", arms=["nine"])


def test_an_unwritable_folder_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(_run, "choose_plan", measured)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="choose another"):
        run(tiny(), tmp_path / "file" / "run")


def test_nothing_is_left_where_a_plan_cannot_be_measured(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ArgumentError("no")

    monkeypatch.setattr(_run, "choose_plan", fail)
    (tmp_path / "own").mkdir()
    for folder, there in ((tmp_path / "new", False), (tmp_path / "own", True)):
        with pytest.raises(ArgumentError, match="no"):
            run(tiny(), folder)
        assert folder.exists() is there


def test_a_full_disk_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match="free"):
        run(tiny(), tmp_path / "run", plan=PLAN)


def test_changed_data_is_not_trained_on_after_resuming(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", plan=PLAN, observer=Stop(2))
    import droplab.studies._run as module

    real = module.resolve

    def other(*args, **kwargs):
        experiment = real(*args, **kwargs)
        return dataclasses.replace(experiment, dataset={**experiment.dataset, "checksum": "x"})

    monkeypatch.setattr(module, "resolve", other)
    with pytest.raises(RunError, match="checksum"):
        run(tiny(), tmp_path / "run", resume=True)


class Grows(nn.Module):
    """A buffer gets its size from the first batch, as that of a quantisation observer does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.register_buffer("largest", torch.empty(0))

    def forward(self, x):
        seen = x.detach().abs().amax(0)
        if self.training:
            with torch.no_grad():
                if not len(self.largest):
                    self.largest.resize_(seen.shape)
                    self.largest.zero_()
                self.largest.copy_(torch.maximum(self.largest, seen))
        return self.inner(x)

    def _load_from_state_dict(self, state, prefix, *others):
        self.largest = torch.empty_like(state[f"{prefix}largest"])
        super()._load_from_state_dict(state, prefix, *others)


def test_a_buffer_that_grows_is_kept_and_read_again(tmp_path):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 8, generator=generator)
    targets = torch.randint(0, 3, (60,), generator=generator)

    def sweep(out, **options):
        return droplab.sweep(
            Grows,
            *((inputs[:40], targets[:40]), (inputs[40:], targets[40:])),
            **{"rates": [0.5], "seeds": 1, "epochs": 4, "batch_size": 10, "out": out, **options},
            sites=["inner"],
        )

    whole = sweep(tmp_path / "whole")
    assert whole.model.largest.shape == (8,)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "part", observer=Stop(2))
    resumed = sweep(tmp_path / "part", resume=True)
    losses = [[row.val_loss for row in found.run.rows] for found in (whole, resumed)]
    assert losses[0] == losses[1]


@pytest.fixture
def kept_after(monkeypatch):
    """The epochs after which a checkpoint is written."""
    epochs = []
    real = _work.save_checkpoint

    def save(*args, epoch):
        epochs.append(epoch)
        return real(*args, epoch=epoch)

    monkeypatch.setattr(_work, "save_checkpoint", save)
    return epochs


@pytest.mark.parametrize(("cost", "kept"), [(0.0, [1, 2, 3, 4]), (1.0, [1, 4])])
def test_a_checkpoint_that_takes_long_is_written_seldom(
    cost, kept, kept_after, tmp_path, monkeypatch
):
    clock = itertools.count(step=cost)
    monkeypatch.setattr(_work, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(_session, "_KEEP_HERE", 0.0)
    run(tiny(epochs=4, seeds=[0]), tmp_path / "run", arms=["none"], plan=PLAN)
    assert kept_after == kept


def test_a_large_state_is_first_kept_when_training_has_earned_it(kept_after, tmp_path, monkeypatch):
    monkeypatch.setattr(_work, "_SMALL", 0)
    monkeypatch.setattr(_work, "_BYTES_A_SECOND", 1.0)  # it would take hours
    run(tiny(epochs=4, seeds=[0]), tmp_path / "run", arms=["none"], plan=PLAN)
    assert kept_after == [4]
