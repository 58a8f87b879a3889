from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from droplab.errors import ArgumentError, RunError
from droplab.results import Member, TestRow
from droplab.verdict import choose, judge
from droplab.verdict._table import Table

BASE = [0.80, 0.82, 0.81, 0.79, 0.83, 0.80, 0.78, 0.82]
BETTER = [x - 0.30 + 0.01 * i for i, x in enumerate(BASE)]
WORSE = [x + 0.20 - 0.01 * i for i, x in enumerate(BASE)]
SAME = [x + (0.01 if i % 2 else -0.012) for i, x in enumerate(BASE)]


def words(verdict):
    return {arm.name: arm.word for arm in verdict.arms}


def test_helps_hurts_and_not_shown_to_help(make_result):
    verdict = judge(make_result({"none": BASE, "better": BETTER, "worse": WORSE, "same": SAME}))
    assert words(verdict) == {
        "none": None,
        "better": "helps",
        "worse": "hurts",
        "same": "not shown to help",
    }
    assert verdict.headline == (
        "Dropout helps after 4 epochs: validation loss is 0.806 without dropout and 0.541 with "
        "'better', a difference of −0.265 (95 % interval −0.298 to −0.232). Measured over 8 seeds, "
        "on these 400 validation examples and this training set."
    )
    found = verdict.arm("better").differences["val_loss"]
    assert found.mean == pytest.approx(-0.265)
    assert found.low < -0.265 < found.high < 0
    assert found.better is True
    assert verdict.arm("worse").differences["val_loss"].better is False
    assert verdict.arm("same").sentence == (
        "'same' is not shown to help: −0.001 in validation loss (95 % interval −0.016 to +0.014, "
        "p = 0.94, 8 seeds); seeds that scatter like these see improvements from 0.015 on."
    )
    assert verdict.chosen == "better"
    assert verdict.best is not None
    assert verdict.best.arm == "better"
    assert verdict.best.tied == ()
    assert verdict.arm("none").metrics["val_loss"].mean == pytest.approx(sum(BASE) / 8)
    assert verdict.arm("none").seconds == pytest.approx(2.0)
    assert verdict.cost.seconds == pytest.approx(4 * 8 * 2.0)


def test_loss_and_accuracy_are_never_taken_for_each_other(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    verdict = judge(result)
    assert verdict.also == (
        "Validation accuracy with 'a' is 88.0 % against 88.0 %, the same on every seed."
    )
    rows = tuple(
        replace(
            r, values={**r.values, "val_accuracy": 0.88 + (0.0118 + r.seed / 1000) * (r.arm == "a")}
        )
        for r in result.rows
    )
    better = judge(replace(result, rows=rows))
    assert better.also.startswith(
        "Validation accuracy with 'a' is 89.5 % against 88.0 %, a difference of +1.53 points (95 % "
    )
    turned = judge(replace(result, rows=rows), primary="val_accuracy")
    assert turned.also.startswith("Validation loss with 'a' is 0.541 against 0.806, a difference")
    assert judge(make_result({"none": BASE[:3], "a": BETTER[:3]})).also == ""
    assert judge(make_result({"none": BASE})).also == ""


def test_hurts(make_result):
    verdict = judge(make_result({"none": BASE, "w": WORSE}))
    assert verdict.headline.startswith("Dropout hurts after 4 epochs: validation loss is 0.806 w")
    verdict = judge(make_result({"none": BASE, "w": WORSE, "s": SAME}))
    assert verdict.headline.startswith("Dropout is not shown to help after 4 epochs: validation ")
    assert "with 's', at best, a difference" in verdict.headline
    assert "like these see improvements from 0.011 on; 'w' hurts. Measured" in verdict.headline
    two = judge(make_result({"none": BASE, "w": WORSE, "v": [x + 0.01 for x in WORSE]}))
    assert two.headline.startswith("Dropout hurts after 4 epochs: ")
    assert "with 'w', at best" in two.headline


def test_not_shown_to_help(make_result):
    verdict = judge(make_result({"none": BASE, "s": SAME}))
    assert verdict.headline.startswith(
        "Dropout is not shown to help after 4 epochs: validation loss is 0.806 without dropout and "
        "0.805 with 's', a difference of −0.001 (95 % interval"
    )
    assert "); seeds that scatter like these see improvements from 0.0" in verdict.headline
    assert verdict.best is not None
    assert verdict.best.tied


def test_higher_is_better_is_minded(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    rows = tuple(
        replace(
            r,
            values={
                **r.values,
                "val_accuracy": 0.8 + (0.02 if r.arm == "a" else 0) + r.seed / 1000,
            },
        )
        if r.seed % 2
        else replace(
            r,
            values={
                **r.values,
                "val_accuracy": 0.8 + (0.03 if r.arm == "a" else 0) + r.seed / 1000,
            },
        )
        for r in result.rows
    )
    verdict = judge(replace(result, rows=rows), primary="val_accuracy")
    assert verdict.primary == "val_accuracy"
    assert words(verdict)["a"] == "helps"
    assert "validation accuracy is 80.3 % without dropout and 82.9 % with 'a'" in verdict.headline
    assert "+2.50 points" in verdict.headline
    rows = tuple(replace(r, values={**r.values, "val_accuracy": 1 - r.val_accuracy}) for r in rows)
    assert words(judge(replace(result, rows=rows), primary="val_accuracy"))["a"] == "hurts"


def test_too_few_seeds_and_one_seed(make_result):
    verdict = judge(make_result({"none": BASE[:5], "a": BETTER[:5]}))
    assert words(verdict)["a"] == "too few seeds"
    assert verdict.headline == (
        "No verdict yet: 5 seeds are too few for a verdict: their smallest possible p is 0.0625; "
        "at least 6 are needed. So far, after 4 epochs validation loss is 0.810 without dropout "
        "and 0.530 with 'a'."
    )
    assert any("run at least 6 seeds" in c for c in verdict.caveats)
    one = judge(make_result({"none": BASE[:1], "a": BETTER[:1]}))
    assert "one seed cannot tell a difference from luck" in one.headline
    assert math.isnan(one.arm("a").metrics["val_loss"].sd)
    six = judge(make_result({"none": BASE[:6], "a": BETTER[:6]}))
    assert words(six)["a"] == "helps"


def test_a_missing_seed_is_said_and_left_out(make_result):
    losses = {"none": BASE, "a": [*BETTER[:-1], None]}
    verdict = judge(make_result(losses))
    assert verdict.arm("a").differences["val_loss"].n == 7
    assert verdict.arm("a").seeds == tuple(range(7))
    assert any("'a' has no result for seed 7" in c for c in verdict.caveats)
    whole = judge(make_result({"none": BASE[:7], "a": BETTER[:7]}))
    assert verdict.arm("a").differences["val_loss"] == whole.arm("a").differences["val_loss"]


def test_equal_and_zero_differences(make_result):
    verdict = judge(make_result({"none": BASE, "a": [x - 0.25 for x in BASE], "b": BASE}))
    a, b = verdict.arm("a").differences["val_loss"], verdict.arm("b").differences["val_loss"]
    assert a.low == a.high == pytest.approx(-0.25)
    assert words(verdict) == {"none": None, "a": "helps", "b": "not shown to help"}
    assert (b.low, b.high, b.p) == (0.0, 0.0, 1.0)
    assert any("'a' differs from the baseline by exactly the same" in c for c in verdict.caveats)
    assert any("'b' has exactly the baseline's validation loss" in c for c in verdict.caveats)
    alone = judge(make_result({"none": BASE, "b": BASE}))
    assert "it is exactly the same on every seed" in alone.headline


def test_a_replica_that_ended_in_nan_costs_the_arm_its_verdict(make_result):
    result = make_result({"none": BASE, "a": BETTER, "b": SAME})
    members = tuple(
        replace(m, state="nan") if (m.arm, m.seed) == ("a", 3) else m for m in result.members
    )
    verdict = judge(replace(result, members=members))
    assert words(verdict)["a"] == "unstable"
    assert "a loss became NaN or infinite on seed 3" in verdict.arm("a").sentence
    assert verdict.arm("a").sentence in verdict.caveats
    assert verdict.chosen == "b"
    assert not verdict.target.arms["a"][0].met
    rows = tuple(
        replace(r, values={**r.values, "val_loss": math.nan})
        if (r.arm, r.seed, r.epoch) == ("a", 3, 4)
        else r
        for r in result.rows
    )
    assert words(judge(replace(result, rows=rows)))["a"] == "unstable"
    assert choose(rows, result.recipe) == "b"


def test_a_baseline_that_ended_in_nan_is_said(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    members = (Member("none", 0, "nan", 2), *result.members[1:])
    verdict = judge(replace(result, members=members))
    assert verdict.arm("a").differences["val_loss"].n == 7
    assert any(
        "loss of the baseline became NaN or infinite on seed 0" in c for c in verdict.caveats
    )


def test_every_arm_unstable(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    members = tuple(replace(m, state="nan") if m.arm == "a" else m for m in result.members)
    verdict = judge(replace(result, members=members))
    assert verdict.headline == (
        "No verdict: every arm but the baseline had a loss that became NaN or infinite on some "
        "seed."
    )
    assert verdict.chosen is None
    assert verdict.target.sentence.endswith("no arm to judge.")


def test_a_metric_that_is_not_finite_on_a_seed_is_not_shown(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    rows = tuple(
        replace(r, values={**r.values, "train_loss": math.inf})
        if (r.arm, r.seed) == ("a", 0)
        else r
        for r in result.rows
    )
    verdict = judge(replace(result, rows=rows))
    assert verdict.arm("a").differences["train_loss"].n == 0
    assert math.isnan(verdict.arm("a").metrics["train_loss"].mean)
    assert verdict.arm("a").differences["val_loss"].n == 8


def test_results_of_two_recipes_are_refused(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    for change in ({"arm": "z"}, {"seed": 99}, {"epoch": 5}):
        mixed = replace(result, rows=(*result.rows, replace(result.rows[0], **change)))
        with pytest.raises(ArgumentError, match="do not mix the results of two recipes"):
            judge(mixed)
    with pytest.raises(ArgumentError, match="is there twice"):
        judge(replace(result, rows=(*result.rows, result.rows[0])))
    with pytest.raises(ArgumentError, match="has a test result but is not part"):
        judge(replace(result, tests=(TestRow({"loss": 0, "accuracy": 0, "ece": 0}, "z", 0),)))


def test_unfinished_runs(make_result):
    result = make_result({"none": BASE, "a": BETTER})
    with pytest.raises(RunError, match="no finished epoch yet"):
        judge(replace(result, rows=()))
    begun = tuple(r for r in result.rows if r.epoch <= 3 - (r.arm == "a"))
    verdict = judge(replace(result, rows=begun))
    assert verdict.epoch == 2
    assert any("judged after epoch 2 of 4" in c for c in verdict.caveats)
    only = tuple(r for r in result.rows if r.arm == "none")
    verdict = judge(replace(result, rows=only))
    assert verdict.epoch == 4
    assert verdict.headline.startswith("No verdict: 'a' has no seed in common")
    assert any("'a' has no result yet" in c for c in verdict.caveats)


def test_a_baseline_alone(make_result):
    verdict = judge(make_result({"none": BASE}))
    assert "nothing to compare" in verdict.headline
    assert verdict.best is None
    assert verdict.chosen is None


def test_an_unknown_primary(make_result):
    with pytest.raises(ArgumentError, match="did you mean 'val_loss'"):
        judge(make_result({"none": BASE}), primary="val_los")


def test_the_test_split(make_result):
    tests = tuple(
        TestRow(
            {"loss": loss + seed / 100, "accuracy": right - seed / 2000, "ece": 0.05}, arm, seed
        )
        for arm, loss, right in (("none", 0.8, 0.83), ("a", 0.5, 0.85))
        for seed in range(8)
    )
    verdict = judge(make_result({"none": BASE, "a": BETTER, "b": WORSE}, tests=tests))
    assert verdict.test is not None
    assert set(verdict.test.arms) == {"none", "a"}
    assert verdict.test.differences["accuracy"].mean == pytest.approx(0.02)
    assert verdict.test.differences["accuracy"].better is True
    assert verdict.test.sentence.startswith(
        "On the test split, touched once, 'a' gets 84.8 % right and the baseline 82.8 %"
    )
    alone = judge(make_result({"none": BASE, "a": BETTER}, tests=tests[:8]))
    assert alone.test.sentence == "The test split was touched by 'none' alone."
    few = judge(make_result({"none": BASE[:5], "a": BETTER[:5]}, tests=[*tests[:5], *tests[8:13]]))
    assert "(+2.00 points, no interval)" in few.test.sentence
    assert "∞" not in few.test.sentence


def test_caveats_name_the_split_and_the_size(make_result, make_recipe):
    verdict = judge(make_result({"none": BASE, "a": BETTER}))
    assert any("these 400 validation examples" in c and "1.62 points" in c for c in verdict.caveats)
    recipe = make_recipe(("none", "a"), data=replace(make_recipe().data, validation="test"))
    result = make_result({"none": BASE, "a": BETTER}, recipe)
    found = judge(result).caveats
    assert any("Validated on the test split" in c for c in found)
    assert not any("validation examples. Another" in c for c in found)
    noted = replace(result, notes={"data": '{"train": 60000, "validation": 10000}'})
    assert any("these 10 000 validation examples" in c for c in judge(noted).caveats)


def test_to_dict_is_strict_json(make_result):
    verdict = judge(make_result({"none": BASE[:1], "a": BETTER[:1]}))
    text = json.dumps(verdict.to_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["arms"][1]["differences"]["val_loss"]["low"] is None
    assert found["headline"] == verdict.headline


def test_a_verdict_is_a_pure_function_of_the_rows(make_result):
    result = make_result({"none": BASE, "a": BETTER, "b": SAME})
    turned = replace(result, rows=result.rows[::-1], members=result.members[::-1])
    assert judge(turned) == judge(result)


def test_an_arm_that_does_not_exist(make_result):
    with pytest.raises(ArgumentError, match="no arm 'x'"):
        judge(make_result({"none": BASE})).arm("x")


class Asked(tuple):
    """Seeds that count in how many rows they were looked through for one."""

    times = 0

    def __contains__(self, seed):
        Asked.times += 1
        return super().__contains__(seed)


class Walked(dict):
    """Rows that count how often all of them are gone through."""

    times = 0

    def items(self):
        Walked.times += 1
        return super().items()


def test_many_rows_are_neither_looked_through_for_a_seed_nor_for_one_epoch(make_result):
    result = make_result({"none": [0.5] * 8, "a": [0.4] * 8})
    object.__setattr__(result.recipe, "seeds", Asked(result.recipe.seeds))
    table = Table.of_result(result)
    object.__setattr__(table, "_rows", Walked(table._rows))
    assert table.judged("val_loss").tolist() == [[0.5] * 8, [0.4] * 8]
    assert (Asked.times, Walked.times) == (0, 0)
    assert table.curves("val_loss")[:, :, table.epoch - 1].tolist() == [[0.5] * 8, [0.4] * 8]
    assert table.curves("val_loss") is table.curves("val_loss")
    assert not table.curves("val_loss").flags.writeable
    assert Walked.times == 1
