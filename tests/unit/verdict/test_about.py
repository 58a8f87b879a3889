"""What the notes of a run add to its words: the constant answer, and dropout of the model's own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from droplab.results import ExampleRow, TestRow
from droplab.verdict import RunMetrics, judge
from droplab.verdict._constant import beats

BASE = [0.80, 0.82, 0.81, 0.79, 0.83, 0.80, 0.78, 0.82]
BETTER = [x - 0.30 + 0.01 * i for i, x in enumerate(BASE)]
WORSE = [x + 0.20 - 0.01 * i for i, x in enumerate(BASE)]
SAME = [x + (0.01 if i % 2 else -0.012) for i, x in enumerate(BASE)]
COUNTS = {"classes": ["no", "yes"], "validation_counts": [885, 115]}


def with_accuracies(result, data, **accuracies):
    rows = tuple(
        replace(r, values={**r.values, "val_accuracy": accuracies[r.arm]}) for r in result.rows
    )
    return judge(replace(result, rows=rows, notes={"data": json.dumps(data)}))


def test_an_arm_that_a_constant_answer_beats_is_said_so_first(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    verdict = with_accuracies(result, COUNTS, none=0.858, a=0.882)
    assert verdict.headline.startswith(
        "No better than a constant answer: always 'no' gets 88.5 % of the validation examples "
        "right, and the best arm, 'a', 88.2 %. Dropout helps after 4 epochs: "
    )
    assert verdict.headline.endswith(" 'none' gets no more right than that either.")


def test_the_share_and_the_accuracy_are_never_written_alike_if_they_differ(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    close = with_accuracies(result, COUNTS, none=0.9, a=0.88496)
    assert "gets 88.500 % of the validation examples right" in close.headline
    assert "'a', 88.496 %. Dropout" in close.headline
    equal = with_accuracies(result, COUNTS, none=0.9, a=0.885)
    assert equal.headline.startswith("No better than a constant answer")


def test_other_arms_that_a_constant_answer_beats_come_after(make_result):
    result = make_result({"none": BASE, "a": BETTER, "b": SAME})
    verdict = with_accuracies(result, COUNTS, none=0.858, a=0.95, b=0.885)
    assert verdict.headline.startswith("Dropout helps after 4 epochs: ")
    assert verdict.headline.endswith(
        " 'none' and 'b' get no more right than the constant answer 'no', 88.5 %."
    )
    fine = with_accuracies(result, COUNTS, none=0.95, a=0.95, b=0.95)
    assert fine.headline.endswith("validation examples and this training set.")


def test_an_arm_a_little_better_than_a_constant_is_not_shown_to_beat_it(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    near = with_accuracies(result, COUNTS, none=0.858, a=0.9)
    assert near.headline.startswith(
        "Not shown to beat a constant answer: always 'no' gets 88.5 % of the validation examples "
        "right, and the best arm, 'a', 90.0 %. Dropout helps after 4 epochs: "
    )


@pytest.mark.parametrize(
    ("constant", "spread", "begin"),
    [
        (0.50, 0.01, "No better than a constant answer: the same answer for every example has a "),
        (0.60, 5.0, "Not shown to beat a constant answer: the same answer for every example has "),
        (0.60, 0.01, "Dropout helps"),
    ],
)
def test_what_decides_is_held_against_a_constant_example_by_example(
    make_result, constant, spread, begin
):
    rng = np.random.default_rng(1)
    each = rng.normal(0, spread, 400)
    each += constant - each.mean()
    note = {"values": {"val_loss": constant}, "examples": each.tolist()}
    result = make_result({"none": BASE, "a": BETTER}, notes={"constant": json.dumps(note)})
    rows = tuple(
        ExampleRow(arm, seed, np.full(400, loss, np.float32), np.ones(400, np.float32))
        for arm, losses in (("none", BASE), ("a", BETTER))
        for seed, loss in enumerate(losses)
    )
    assert judge(replace(result, examples=rows)).headline.startswith(begin)
    unreadable = replace(result, notes={"constant": '{"values": [1], "examples": {"a": 1}}'})
    assert judge(unreadable).headline.startswith("Dropout helps")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"classes": ["no", "yes"]},
        {"classes": ["no"], "validation_counts": [1, 2]},
        {"classes": ["no", "yes"], "validation_counts": [0, 0]},
        {"classes": "no", "validation_counts": [1, 2]},
        [1, 2],
    ],
)
def test_runs_that_do_not_know_their_classes_say_nothing_of_them(make_result, data):
    verdict = with_accuracies(make_result({"none": BASE, "a": BETTER}), data, none=0.1, a=0.1)
    assert "constant" not in verdict.headline


def test_a_long_name_of_a_class_is_cut(make_result):
    data = {"classes": ["n" * 500, "yes"], "validation_counts": [885, 115]}
    verdict = with_accuracies(make_result({"none": BASE, "a": BETTER}), data, none=0.1, a=0.1)
    assert f"'{'n' * 40}…'" in verdict.headline


@pytest.mark.parametrize("other", [BETTER, SAME, WORSE])
def test_dropout_of_the_models_own_is_never_called_none(make_result, other):
    result = make_result({"none": BASE, "a": other})
    own = judge(replace(result, notes={"dropout": '{"drop": 0.5, "off": 0.0}'}))
    plain = judge(replace(result, notes={"dropout": "{}"}))
    assert own.headline.startswith("Dropout beyond the model's own ")
    alike = own.headline.replace("Dropout beyond the model's own", "Dropout")
    assert alike.replace("with 'none'", "without dropout") == plain.headline
    assert own.own_dropout == {"drop": 0.5}
    assert own.rates_text("none") == own.without == "the model's own dropout"
    assert (plain.rates_text("none"), plain.without) == ("no dropout", "without dropout")
    assert own.rates_text("a") == plain.rates_text("a") == "fc2 0.2"
    (caveat,) = set(own.caveats) - set(plain.caveats)
    assert caveat.startswith("The model drops by itself (drop 0.5), in the baseline and in every")
    assert plain == judge(result)


def on_the_test_split(result, difference):
    noise = [0.01 * ((7 * i) % 5) for i in range(8)]
    return judge(
        replace(
            result,
            tests=tuple(
                TestRow(
                    {
                        "loss": 0.8 + (arm == "a") * (difference + noise[seed]),
                        "accuracy": 0.8,
                        "ece": 0.1,
                    },
                    arm,
                    seed,
                )
                for arm in ("none", "a")
                for seed in range(8)
            ),
        )
    ).test.sentence


def test_validation_and_test_that_disagree_are_said_to(make_result):
    better, same = (make_result({"none": BASE, "a": each}) for each in (BETTER, SAME))
    assert on_the_test_split(better, 0.1).endswith(
        " Validation and test disagree: 'a' helps by validation loss (−0.265), and has +0.120 in "
        "test loss, an interval without 0."
    )
    assert on_the_test_split(same, -0.2).endswith(
        " Validation and test disagree: 'a' is not shown to help by validation loss (−0.001), and "
        "has −0.180 in test loss, an interval without 0."
    )
    assert "disagree" not in on_the_test_split(better, -0.2)
    assert "disagree" not in on_the_test_split(same, -0.02)


@pytest.mark.parametrize("task", ["classification", "binary"])
def test_examples_are_counted_where_each_is_right_or_wrong(make_recipe, task):
    assert RunMetrics.of(make_recipe(task=task)).counts_right


@pytest.mark.parametrize("task", ["multilabel", "tokens", "regression"])
def test_nothing_is_counted_as_right_where_an_example_has_several_answers_or_a_number(
    make_recipe, task
):
    recipe = make_recipe(task=task, target=None)
    assert not RunMetrics.of(recipe).counts_right


def test_beating_a_constant_counts_the_error_of_examples_and_of_seeds():
    """Eight margins of mean 1 with a standard error of 0.50: 0.4 beside it is too much."""
    margins = np.array([0.01, 0.01, 0.02, 0.02, 1.0, 1.0, 1.94, 4.0])
    assert margins.mean() == pytest.approx(1.0)
    assert margins.std(ddof=1) / np.sqrt(8) == pytest.approx(0.50, abs=0.01)
    assert beats(margins, 0.3)  # 1.645 of 0.58 is 0.96
    assert not beats(margins, 0.4)  # of 0.64, 1.05: neither error alone would refuse it
    assert not beats(np.where(margins < 1, -margins, margins), 0.0)  # too few are above 0
