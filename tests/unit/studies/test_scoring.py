"""Scoring: on which training examples, how many at a time, and what is said about it."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from types import SimpleNamespace

import pytest
import torch

from droplab import results
from droplab.cli._watch import Watch
from droplab.lab._plan import plan_sentence
from droplab.recipe import SCORE_TRAIN, load, override
from droplab.results import scored_at, scored_note
from droplab.studies import _scoring, resolve, run
from droplab.studies._scoring import choose_scoring, with_recipe
from droplab.train import ExecutionPlan, timing
from droplab.train.scoring import EVAL_BATCH
from droplab.train.streams import scored_examples
from tests.unit.studies.people import Stop

ALONE = ExecutionPlan(1)
PLANS = {
    "alone": ALONE,
    "together": ExecutionPlan(1, captured=True, group=4),
    "workers": ExecutionPlan(1, workers=2),
}


def tiny(**changes):
    small = {"epochs": 3, "seeds": [0, 1], "data.train": 100, "data.validation": 200}
    recipe = override(load("digits"), small | changes)
    return dataclasses.replace(recipe, arms=recipe.arms[:2])


def content(result, *, training=True):
    """Everything of the rows but the time, and on demand without the training scores."""
    blank = {} if training else {"train_loss": 0.0, "train_accuracy": 0.0, "gap": 0.0}
    return [
        dataclasses.replace(row, seconds=0.0, values={**row.values, **blank}) for row in result.rows
    ]


def test_the_choice_depends_on_nothing_but_the_data():
    some = scored_examples(1000, 100)
    assert torch.equal(some, scored_examples(1000, 100))
    assert len(set(some.tolist())) == 100
    assert torch.equal(some, some.sort().values)
    assert set(some.tolist()) < set(scored_examples(1000, 300).tolist())
    for limit in (0, 1000, 2000):
        assert torch.equal(scored_examples(1000, limit), torch.arange(1000))


def test_labels_that_come_in_a_rhythm_are_all_in_the_choice():
    """Every sixth of 60 000 examples would be of one of six classes only."""
    share = torch.bincount(scored_examples(60_000, 10_000) % 6) / 10_000
    # six classes, five standard deviations of a share: false alarm below 1e-5 (the draw is fixed)
    assert (share - 1 / 6).abs().max() < 5 * (5 / 36 / 10_000) ** 0.5


@pytest.mark.parametrize("way", PLANS)
def test_a_part_is_scored_until_the_last_epoch_and_nothing_else_changes(tmp_path, way):
    plan = PLANS[way]
    part = run(tiny(score_train=50), tmp_path / "part", plan=plan)
    every = run(tiny(score_train="all"), tmp_path / "all", plan=plan)
    assert (part.plan["score_train"], every.plan["score_train"]) == (50, 0)
    assert content(part, training=False) == content(every, training=False)
    for one, two in zip(part.rows, every.rows, strict=True):
        same = (one.train_loss, one.train_accuracy) == (two.train_loss, two.train_accuracy)
        assert same == (one.epoch == 3)
        # every one of 50 examples is right or wrong: arms and seeds have them in common
        assert one.epoch == 3 or (one.train_accuracy * 50) == pytest.approx(
            round(one.train_accuracy * 50)
        )


def test_arms_and_seeds_are_scored_on_the_same_examples(tmp_path, monkeypatch):
    from droplab.train import Single

    seen = []
    real = Single.measure

    def noted(executor, split, order=None, **options):
        seen.append(None if order is None else tuple(order.tolist()))
        return real(executor, split, order, **options)

    monkeypatch.setattr(Single, "measure", noted)
    run(tiny(score_train=50), tmp_path / "run", plan=ALONE)
    count = len(resolve(tiny()).splits.train)
    chosen = tuple(scored_examples(count, 50).tolist())
    # training and validation, in three epochs, for two arms and two seeds
    assert seen == [chosen, None, chosen, None, None, None] * 4


@pytest.mark.parametrize("way", ["alone", "together"])
def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(tmp_path, way):
    plan = dataclasses.replace(PLANS[way], score_batch=100)
    whole = run(tiny(score_train=50), tmp_path / "whole", plan=plan)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(score_train=50), tmp_path / "part", plan=plan, observer=Stop(5))
    resumed = run(tiny(score_train=50), tmp_path / "part", resume=True)
    assert resumed.plan["score_batch"] == 100
    assert content(resumed) == content(whole)
    assert resumed.tests == whole.tests


def test_a_run_of_an_earlier_version_goes_on_scoring_all_examples(tmp_path, monkeypatch):
    whole = run(tiny(score_train="all"), tmp_path / "whole", plan=ALONE)
    monkeypatch.setattr(_scoring, "SCORE_TRAIN", 50)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "old", plan=ALONE, observer=Stop(1))
    stored = tmp_path / "old" / "run.sqlite"
    with sqlite3.connect(stored) as connection:
        (text,) = connection.execute("SELECT value FROM run WHERE name = 'plan'").fetchone()
        plan = json.loads(text)
        assert plan.pop("score_train") == 50
        assert plan.pop("score_batch") == EVAL_BATCH
        connection.execute("UPDATE run SET value = ? WHERE name = 'plan'", (json.dumps(plan),))
        connection.execute("DELETE FROM epoch_values")
        connection.execute("DELETE FROM epochs")
        connection.execute("DELETE FROM run WHERE name = 'checksum'")
        connection.execute("UPDATE members SET state='waiting', epochs_done=0, checkpoint=NULL")
    connection.close()
    resumed = run(tiny(), tmp_path / "old", resume=True)
    assert content(resumed) == content(whole)
    assert scored_note(resumed.plan) == ""


@pytest.mark.parametrize(
    ("wanted", "count", "scored"),
    [
        (None, 54_000, SCORE_TRAIN),
        (None, SCORE_TRAIN, 0),
        ("all", 54_000, 0),
        (500, 54_000, 500),
        (60_000, 54_000, 0),
    ],
)
def test_how_many_are_scored(wanted, count, scored):
    recipe = dataclasses.replace(load("digits"), score_train=wanted)
    experiment = SimpleNamespace(recipe=recipe, splits=SimpleNamespace(train=range(count)))
    assert with_recipe(ALONE, experiment).score_train == scored


class Machine:
    """A clock that scoring moves on, with a known cost an example for each batch size.

    A second thread saves the part `gain` of it.
    """

    members = 1

    def __init__(self, cost, gain=0.0):
        self.now, self.cost, self.gain, self.asked = 0.0, cost, gain, []

    def perf_counter(self):
        return self.now

    def score_some(self, split, order, batch_size):
        self.asked.append(batch_size)
        saved = self.gain if torch.get_num_threads() > 1 else 0.0
        self.now += len(order) * self.cost(batch_size) * (1 - saved)


def plan_of(monkeypatch, cost, gain=0.0, plan=ALONE, **changes):
    machine = Machine(cost, gain)
    monkeypatch.setattr(_scoring, "usable_threads", lambda: 2)
    monkeypatch.setattr(_scoring, "perf_counter", machine.perf_counter)
    for name in ("perf_counter", "process_time", "thread_time"):
        monkeypatch.setattr(timing, name, machine.perf_counter)
    monkeypatch.setattr(_scoring, "TimedReplicas", lambda *_: machine)
    experiment = resolve(override(load("digits"), {"epochs": 1000, **changes}))
    whole = torch.zeros(3000, 64), torch.zeros(3000, dtype=torch.int64)
    train = type(experiment.splits.train)(*whole)
    splits = dataclasses.replace(experiment.splits, train=train)
    experiment = dataclasses.replace(experiment, splits=splits)
    return choose_scoring(experiment, experiment.recipe.arms, plan), machine


def chosen(monkeypatch, cost, **changes):
    plan, machine = plan_of(monkeypatch, cost, **changes)
    assert not plan.score_threads
    return plan.score_batch, machine


@pytest.mark.parametrize(
    ("gain", "workers", "threads"), [(0.3, 0, 2), (0.3, 2, 0), (0.03, 0, 0), (-0.3, 0, 0)]
)
def test_more_threads_score_where_they_save_enough_and_are_free(
    monkeypatch, gain, workers, threads
):
    plan = dataclasses.replace(ALONE, workers=workers)
    found, _ = plan_of(monkeypatch, lambda b: 1e-5, gain, plan)
    assert (found.score_threads, found.threads) == (threads, 1)
    with found.active():
        assert torch.get_num_threads() == 1
        with found.scoring():
            assert torch.get_num_threads() == (threads or 1)
        assert torch.get_num_threads() == 1


def test_the_batch_that_scores_fastest_is_taken(monkeypatch):
    size, machine = chosen(monkeypatch, lambda b: 1e-5 * (1 + abs(b - 256) / 256))
    assert size == 256
    assert machine.now < 1.5


def test_a_small_saving_leaves_the_usual_batch(monkeypatch):
    assert chosen(monkeypatch, lambda b: 1e-5 if b == EVAL_BATCH else 0.97e-5)[0] == EVAL_BATCH


def test_a_short_run_is_not_measured(monkeypatch):
    size, machine = chosen(monkeypatch, lambda b: 1e-5, epochs=1, seeds=[0])
    assert size == EVAL_BATCH
    assert not machine.asked


def test_comparing_is_a_small_part_of_scoring(monkeypatch):
    _, machine = chosen(monkeypatch, lambda b: 1e-5, epochs=20, seeds=[0])
    scored = 20 * 4 * (3000 + 600)
    assert machine.now < 0.25 * scored * 1e-5


def test_a_large_model_is_scored_in_small_batches_and_not_measured_for_long(monkeypatch):
    size, machine = chosen(monkeypatch, lambda b: 0.05)
    assert size == 128
    assert machine.now < 3.0


def test_where_the_training_figures_are_of_a_part_every_surface_says_so(tmp_path, capsys):
    from rich.console import Console

    from droplab.cli._outcome import outcome, show
    from droplab.report import render, render_markdown
    from droplab.verdict import judge

    label = "on 50 training examples"
    recipe = tiny(score_train=50)
    console = Console(width=160, force_terminal=False)
    with Watch(console, recipe, [arm.name for arm in recipe.arms]) as watch:
        whole = run(recipe, tmp_path / "run", plan=ALONE, observer=watch)
    assert scored_note(whole.plan) in " ".join(capsys.readouterr().out.split())
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "part", plan=PLANS["together"], observer=Stop(8))
    part = results.load(tmp_path / "part")
    assert {row.epoch for row in part.rows} == {1, 2}
    show(outcome(part), console)
    assert label in " ".join(capsys.readouterr().out.split())  # the title of a table folds
    page, text = render(part, judge(part)), render_markdown(part, judge(part))
    assert page.count("50 training examples") >= 3
    assert label in text
    show(outcome(whole), console)
    assert label not in " ".join(capsys.readouterr().out.split())
    assert "and after the last epoch on all" in render_markdown(whole, judge(whole))
    assert plan_sentence(recipe, whole.plan).endswith(scored_note(whole.plan))
    assert scored_at(whole.plan, 3, 3) == ""
    bare = run(tiny(score_train="all"), tmp_path / "all", plan=ALONE)
    assert "training examples, and after" not in render(bare, judge(bare))
