"""Early stopping, absence and trends: what a verdict says beside the last epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.errors import ArgumentError, RunError
from droplab.recipe import DataSpec, LossSpec, StoppingSpec, stopped_epoch
from droplab.results import BlockRow, EpochRow, ExampleRow, Member, RunResult
from droplab.verdict import RunMetrics, judge
from droplab.verdict._margin import Margin
from droplab.verdict._stopped import HALVINGS
from droplab.verdict._trend import contrasts, one_rate

SOUND = settings(max_examples=30, deadline=None)
EPOCHS = 6
BELOW = np.array([0.5, 0.8])


@pytest.fixture(scope="session")
def stopping_run(make_recipe) -> Callable[..., RunResult]:
    """A run from curves of the validation loss, arm -> (seeds, epochs, blocks)."""

    def make(curves: dict[str, np.ndarray], examples=None, **changes) -> RunResult:
        seeds, epochs, blocks = next(iter(curves.values())).shape
        recipe = make_recipe(tuple(curves), range(seeds), epochs=epochs, **changes)
        rows, parts = [], []
        for arm, each in curves.items():
            for seed in range(seeds):
                for epoch in range(epochs):
                    loss = float(each[seed, epoch].mean())
                    values = {"train_loss_running": 0.6, "train_accuracy_running": 0.85}
                    values |= {"train_loss": 0.5, "train_accuracy": 0.9, "gap": 0.02}
                    values |= {"val_loss": loss, "val_accuracy": 0.88, "val_ece": 0.02}
                    rows.append(EpochRow(values, arm, seed, epoch + 1, 0.5))
                    parts.append(
                        BlockRow(arm, seed, epoch + 1, tuple(each[seed, epoch]), (50.0,) * blocks)
                    )
        members = [Member(arm, seed, "done", epochs) for arm in curves for seed in range(seeds)]
        values = examples or {}
        kept = [
            ExampleRow(a, s, np.float32(v), np.ones(len(v), np.float32))
            for (a, s), v in values.items()
        ]
        return RunResult(
            Path("run"),
            recipe,
            {},
            tuple(rows),
            members=tuple(members),
            blocks=tuple(parts),
            examples=tuple(kept),
        )

    return make


def valley(rng, seeds=8, *, end=0.8, least=0.5, at=2, noise=0.004) -> np.ndarray:
    """Losses that fall until epoch `at` + 1 and rise to `end` after it, with noise of blocks."""
    epochs = np.arange(EPOCHS)
    down = least + 0.1 * (at - epochs)
    up = least + (end - least) * (epochs - at) / max(EPOCHS - 1 - at, 1)
    curve = np.where(epochs <= at, down, up)
    shift = rng.normal(0, noise, (seeds, 1, 1))
    return curve[None, :, None] + shift + rng.normal(0, noise, (seeds, EPOCHS, 8))


def test_halvings_are_of_all_blocks_and_no_two_blocks_stay_together():
    for first in HALVINGS:
        assert len(set(first)) == 4
        assert set(first) < set(range(8))
    for pair in combinations(range(8), 2):
        assert any(len(set(pair) & set(first)) == 1 for first in HALVINGS)


def test_both_questions_are_answered_in_one_headline(stopping_run):
    rng = np.random.default_rng(1)
    result = stopping_run({"none": valley(rng), "a": valley(rng, end=0.55, least=0.44)})
    verdict = judge(result)
    assert verdict.questions == ("budget", "stopped")
    arm = verdict.arm("a")
    assert arm.words == ("helps", "helps")
    assert arm.stopped.difference.mean == pytest.approx(-0.06, abs=0.005)
    assert arm.differences["val_loss"].mean == pytest.approx(-0.25, abs=0.01)
    assert set(arm.stopped.epochs.values()) == {3}
    said = verdict.headline
    assert said.startswith(
        "Dropout helps, after 6 epochs and with early stopping: after 6 epochs validation loss is "
        "0.80"
    )
    assert " Stopped early it is 0.50" in said
    assert " Stopping the baseline by itself gains 0.3" in said
    assert "With the error of the examples themselves the intervals are " in said
    assert said.endswith("on these 400 validation examples and this training set.")
    assert verdict.gain.mean == pytest.approx(-0.3, abs=0.01)
    assert not any("last epoch" in each for each in verdict.caveats)
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_what_early_stopping_does_as_well_is_no_help_with_it(stopping_run):
    rng = np.random.default_rng(2)
    result = stopping_run({"none": valley(rng), "a": valley(rng, end=0.55)})
    verdict = judge(result)
    assert verdict.arm("a").words == ("helps", "does not help by 5 % or more")
    assert verdict.headline.startswith(
        "After 6 epochs dropout helps, with early stopping it does not help by 5 % or more: "
    )
    assert "an improvement by 5 % or more is excluded" in verdict.headline
    assert "'a' stopped early does not help by 5 % or more" in verdict.arm("a").stopped.sentence


def test_an_arm_is_stopped_on_examples_that_do_not_measure_it(stopping_run):
    """With noise alone the least value flatters; the value on the other half does not."""
    rng = np.random.default_rng(3)
    curves = {name: 0.5 + rng.normal(0, 0.05, (8, EPOCHS, 8)) for name in ("none", "a")}
    verdict = judge(stopping_run(curves))
    least = np.mean([curves["none"].mean(axis=2).min(axis=1)])
    assert least < 0.5 - 0.015
    assert verdict.arm("none").stopped.summary.mean == pytest.approx(0.5, abs=0.012)


@SOUND
@given(seed=st.integers(0, 10**6))
def test_stopping_the_last_epoch_changes_nothing(stopping_run, seed):
    """Where the loss falls all the way, both questions have one answer, to rounding."""
    rng = np.random.default_rng(seed)
    falling = np.linspace(1.0, 0.5, EPOCHS)[None, :, None]
    curves = {
        name: falling + rng.normal(0, 0.01, (8, 1, 1)) + rng.normal(0, 1e-4, (8, EPOCHS, 8))
        for name in ("none", "a", "b")
    }
    verdict = judge(stopping_run(curves))
    for name in ("a", "b"):
        arm = verdict.arm(name)
        there, here = arm.stopped.difference, arm.differences["val_loss"]
        assert there.mean == pytest.approx(here.mean, abs=1e-12)
        assert there.p == pytest.approx(here.p)
        assert arm.words[0] == arm.words[1]
    assert verdict.gain.mean == pytest.approx(0, abs=1e-12)
    assert any(
        "At their best in the last epoch: 'none' on 8 of 8, 'a' on 8 of 8" in each
        for each in verdict.caveats
    )


@SOUND
@given(seed=st.integers(0, 10**6), arms=st.integers(1, 3))
def test_one_question_alone_sees_no_less(stopping_run, seed, arms):
    rng = np.random.default_rng(seed)
    names = ("none", *"abc"[:arms])
    curves = {name: valley(rng, least=rng.normal(0.5, 0.004)) for name in names}
    result = stopping_run(curves)
    both = judge(result)
    for question in ("budget", "stopped"):
        alone = judge(result, question=question)
        assert alone.questions == (question,)
        for name in names[1:]:
            mine = both.arm(name), alone.arm(name)
            if question == "budget":
                p, q = (each.differences["val_loss"].p for each in mine)
                assert mine[1].stopped is None
            else:
                p, q = (each.stopped.difference.p for each in mine)
                assert mine[1].word == mine[1].stopped.word
            assert q <= p + 1e-12


def test_patience_and_gain_are_the_recipes(stopping_run):
    rng = np.random.default_rng(4)
    curve = np.array([0.6, 0.5, 0.55, 0.56, 0.57, 0.4])
    curves = {
        name: curve[None, :, None] + rng.normal(0, 0.002, (8, EPOCHS, 8)) for name in ("none", "a")
    }
    found = judge(stopping_run(curves))
    patient = judge(stopping_run(curves, stopping=StoppingSpec(patience=2)))
    assert set(found.arm("none").stopped.epochs.values()) == {6}
    assert set(patient.arm("none").stopped.epochs.values()) == {2}
    assert found.arm("none").stopped.summary.mean == pytest.approx(0.4, abs=0.01)
    assert patient.arm("none").stopped.summary.mean == pytest.approx(0.5, abs=0.01)
    assert stopped_epoch(curve.tolist(), higher_is_better=False, patience=2, min_gain=0) == 2


def test_runs_without_blocks_say_nothing_of_stopping(stopping_run):
    rng = np.random.default_rng(5)
    result = replace(stopping_run({"none": valley(rng), "a": valley(rng)}), blocks=())
    verdict = judge(result)
    assert verdict.questions == ("budget",)
    assert "topp" not in verdict.headline
    said = [caveat for caveat in verdict.caveats if "topp" in caveat]
    assert said == [
        "Nothing is said of early stopping: the run has no validation loss on blocks of the "
        "validation examples, and an epoch must not be chosen by the examples that measure it."
    ]
    alone = judge(result, question="budget")  # which does not ask
    assert "topp" not in " ".join(alone.caveats)
    assert verdict.arm("a").stopped is None
    with pytest.raises(RunError, match="cannot say what stopping early gives"):
        judge(result, question="stopped")
    with pytest.raises(ArgumentError, match="expected 'budget' or 'stopped', got 'both'"):
        judge(result, question="both")
    other = judge(stopping_run({"none": valley(rng), "a": valley(rng)}), primary="val_accuracy")
    assert other.questions == ("budget",)


def test_a_block_that_cannot_be_measured_leaves_out_its_arm(stopping_run):
    rng = np.random.default_rng(6)
    result = stopping_run({"none": valley(rng), "a": valley(rng, end=0.5), "b": valley(rng)})
    rows = tuple(
        replace(row, values=(float("nan"), *row.values[1:]))
        if (row.arm, row.seed, row.epoch) == ("b", 3, 1)
        else row
        for row in result.blocks
    )
    verdict = judge(replace(result, blocks=rows))
    assert verdict.arm("b").stopped.difference.n == 0
    assert verdict.arm("b").stopped.word == "too few seeds"
    assert verdict.arm("a").words[0] == "helps"


def test_absence_needs_the_examples_to_agree(stopping_run):
    rng = np.random.default_rng(7)
    curves = {name: valley(rng, noise=0.002) for name in ("none", "a")}
    result = stopping_run(curves)
    assert judge(result, question="budget").arm("a").word == "not shown to help"  # none are known
    for error, word in ((0.1, "does not help by 5 % or more"), (5.0, "not shown to help")):
        values = {
            (arm, seed): (0.8 + rng.normal(0, error, 400) * (arm == "a"))
            for arm in ("none", "a")
            for seed in range(8)
        }
        noise = rng.normal(0, error, 400)
        values = {(a, s): v + noise * (a == "a") for (a, s), v in values.items()}
        found = judge(stopping_run(curves, values), question="budget").arm("a")
        assert found.word == word
        difference = found.differences["val_loss"]
        assert difference.wide_low < difference.low < difference.high < difference.wide_high


def test_a_small_help_is_called_small(stopping_run):
    rng = np.random.default_rng(8)
    shift = rng.normal(0, 0.003, (8, 1, 1))
    base = 0.5 + 0.1 * np.linspace(1, 0, EPOCHS)[None, :, None] + shift
    curves = {"none": np.repeat(base, 8, axis=2), "a": np.repeat(base - 0.01, 8, axis=2)}
    curves["a"] = curves["a"] + rng.normal(0, 1e-3, curves["a"].shape)
    verdict = judge(stopping_run(curves))
    assert verdict.arm("a").words == ("helps, by less than 5 %",) * 2
    assert verdict.headline.startswith("Dropout helps, by less than 5 %, after 6 epochs and with ")
    large = judge(stopping_run(curves, margin=0.01)).arm("a")
    assert large.words == ("helps",) * 2
    sized = judge(stopping_run(curves, margin_size=0.02))
    assert sized.arm("a").words == ("helps, by less than 0.020",) * 2
    assert sized.margin == "0.020"


def test_absence_of_a_loss_that_can_be_negative_needs_a_size(stopping_run):
    rng = np.random.default_rng(9)
    curves = {name: valley(rng) - 2 for name in ("none", "a")}
    verdict = judge(stopping_run(curves))
    assert set(verdict.arm("a").words) == {"not shown to help"}
    assert any("margin_size gives the smallest" in each for each in verdict.caveats)
    sized = judge(stopping_run(curves, margin_size=0.05))
    assert set(sized.arm("a").words) == {"does not help by 0.050 or more"}
    assert not any("margin_size" in each for each in sized.caveats)


@pytest.mark.parametrize(
    ("changes", "name", "perfect"),
    [
        ({}, "val_loss", 0.0),
        ({}, "val_accuracy", 1.0),
        ({}, "gap", None),
        ({"task": "tokens"}, "val_perplexity", 1.0),
        ({"task": "regression"}, "val_rmse", 0.0),
        ({"task": "regression", "also_measure": ("nll",)}, "val_nll", None),
        ({"also_measure": ("nll",)}, "val_nll", 0.0),
        (
            {"also_measure": ({"name": "own", "path": "my:own", "better": "lower"},)},
            "val_own",
            None,
        ),
        ({"loss": LossSpec("my:loss")}, "val_loss", None),
        ({"loss": LossSpec("my:loss")}, "val_accuracy", 1.0),
        ({"loss": LossSpec("cross_entropy", {"label_smoothing": 0.1})}, "val_loss", None),
    ],
)
def test_a_share_is_of_the_way_to_perfect_where_that_is_known(make_recipe, changes, name, perfect):
    recipe = make_recipe(target=None, **changes)
    margin = Margin.of(recipe, RunMetrics.of(recipe).named(name))
    found = margin.of_baseline(np.array([1.5, 1.2]) if perfect != 1.0 or "plex" in name else BELOW)
    if perfect is None:
        assert np.isnan(found).all()
    else:
        values = np.array([1.5, 1.2]) if perfect != 1.0 or "plex" in name else BELOW
        assert found == pytest.approx(0.05 * np.abs(values - perfect))


def test_a_trend_is_told_as_a_trend(stopping_run):
    rng = np.random.default_rng(10)
    names = ("none", "a", "b", "c", "d")  # fc2 at 0.2, 0.3, 0.4, 0.5
    curves = {name: valley(rng, end=0.8 + 0.03 * i, least=0.5) for i, name in enumerate(names)}
    verdict = judge(stopping_run(curves))
    assert "The rate matters: after 6 epochs validation loss rises" in verdict.also
    assert {(t.question, t.shape) for t in verdict.trends} == {
        (q, s) for q in ("budget", "stopped") for s in ("linear", "quadratic")
    }
    assert "helps" not in verdict.headline
    flat = judge(stopping_run({name: valley(rng) for name in names}))
    assert "rate matters" not in flat.also


def test_only_a_sweep_over_one_rate_has_a_trend(make_recipe):
    recipe = make_recipe(("none", "a", "b", "c"))
    assert one_rate(recipe) == [0, 1, 2, 3]
    assert one_rate(make_recipe(("none", "a", "b"))) == []
    other = replace(recipe.arms[3], rates={"fc3": 0.5})
    assert one_rate(replace(recipe, arms=(*recipe.arms[:3], other))) == []
    same = replace(recipe.arms[3], rates={"fc2": 0.2})
    assert one_rate(replace(recipe, arms=(*recipe.arms[:3], same))) == []
    values = np.array([[1.0], [2.0], [3.0], [4.0]])
    linear, bend = contrasts(values, [0, 1, 2, 3])
    assert linear[0] > 0
    assert bend[0] == pytest.approx(0)
    assert contrasts(np.array([[4.0], [1.0], [1.0], [4.0]]), [0, 1, 2, 3])[1][0] > 0


def test_another_arm_that_is_best_when_stopped_is_named(stopping_run):
    rng = np.random.default_rng(11)
    curves = {
        "none": valley(rng, end=0.9),
        "late": valley(rng, end=0.6, least=0.5),
        "early": valley(rng, end=0.8, least=0.4),
    }
    verdict = judge(stopping_run(curves))
    assert verdict.chosen == "late"
    (said,) = [each for each in verdict.caveats if "was chosen by the last epoch" in each]
    mine, other = (verdict.arm(name).stopped.summary.mean for name in ("late", "early"))
    assert said == (
        "'late' was chosen by the last epoch; where replicas are stopped early, 'early' has a "
        f"better mean ({other:.3f} against {mine:.3f})."
    )
    same = {**curves, "early": valley(rng, end=0.8, least=0.6)}
    for other in (judge(stopping_run(same)), judge(stopping_run(curves), question="budget")):
        assert "was chosen by the last epoch" not in " ".join(other.caveats)


def test_rows_from_elsewhere_say_why_nothing_is_said_of_stopping():
    rng = np.random.default_rng(12)
    rows = [
        {"p": p, "seed": seed, "epoch": epoch, "loss": 0.5 + rng.normal(0, 0.01)}
        for p in (0, 0.3)
        for seed in range(8)
        for epoch in (1, 2, 3)
    ]
    columns = {"arm": "p", "seed": "seed", "metrics": {"loss": "lower"}}
    verdict = judge(rows, epoch="epoch", **columns)
    assert verdict.questions == ("budget",)
    assert (
        "Nothing is said of early stopping: the rows have no loss on blocks of the validation "
        "examples, and an epoch must not be chosen by the examples that measure it."
    ) in verdict.caveats
    assert (
        "That an improvement is absent is not said: how much the validation examples themselves "
        "move loss is not known."
    ) in verdict.caveats
    last = [row for row in rows if row["epoch"] == 3]
    assert "early stopping" not in " ".join(judge(last, **columns).caveats)


def test_a_larger_pool_is_proposed_to_be_drawn_from(stopping_run):
    rng = np.random.default_rng(13)
    curves = {"none": valley(rng), "a": valley(rng)}
    for changes, proposed in (
        ({"train": 300}, True),
        ({}, False),  # on all that is left
        ({"train": 300, "validation": "test"}, False),
        ({"train": 300, "resample": True}, False),
        ({"train": 300, "in_memory": False}, False),
    ):
        data = DataSpec(**{"name": "digits", "validation": 400, **changes})
        verdict = judge(stopping_run(curves, data=data))
        assert any("resample = true" in each for each in verdict.caveats) is proposed, changes
