"""Rows that droplab did not make: read from anywhere, said to be unseen, refused clearly."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from droplab.errors import ArgumentError, DataError, DroplabError
from droplab.report import render, render_markdown
from droplab.results import RunResult, load_rows
from droplab.verdict import judge

pandas = pytest.importorskip("pandas")

COLUMNS = {"arm": "dropout", "seed": "seed", "metrics": {"val_loss": "lower"}}


def trials(arms=(0.0, 0.3, 0.5), seeds=range(8), epochs=0):
    """Return rows in which every arm is better than the one before it, noise alike in all."""
    draw = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        level = draw.normal(0.6, 0.05)
        for i, arm in enumerate(arms):
            for epoch in range(1, epochs + 1) if epochs else (None,):
                loss = level - 0.05 * i + draw.normal(0, 0.005) + (0.2 / epoch if epoch else 0)
                row = {"dropout": arm, "seed": seed, "val_loss": float(loss)}
                rows.append(row if epoch is None else {**row, "epoch": epoch})
    return rows


def read(rows, **options) -> RunResult:
    return load_rows(rows, **(COLUMNS | options))


def written(folder: Path, form: str) -> Path:
    frame, path = pandas.DataFrame(trials()), folder / f"results.{form}"
    if form == "parquet":
        frame.to_parquet(path)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, sep="\t" if form == "tsv" else ",", index=False)
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "jsonl", "csv.gz"])
def test_every_format_gives_the_same_rows(tmp_path, form):
    found, expected = read(written(tmp_path, form)), read(trials())
    assert [arm.name for arm in found.recipe.arms] == ["0", "0.3", "0.5"]
    assert [(r.arm, r.seed, r.epoch) for r in found.rows] == [
        (r.arm, r.seed, r.epoch) for r in expected.rows
    ]
    assert [r.val_loss for r in found.rows] == pytest.approx([r.val_loss for r in expected.rows])


def test_a_frame_and_its_index_are_read(tmp_path):
    frame = pandas.DataFrame(trials())
    assert read(frame).rows == read(trials()).rows
    assert read(frame.set_index(["dropout", "seed"])).rows == read(trials()).rows


def test_the_verdict_is_that_of_the_paired_test():
    """Hand-made differences: all eight pairs better, so p is the smallest of an exact test."""
    verdict = judge(trials(), **COLUMNS)
    assert [arm.word for arm in verdict.arms] == [None, "helps", "helps"]
    found = verdict.arm("0.5").differences["val_loss"]
    values = {(r["dropout"], r["seed"]): r["val_loss"] for r in trials()}
    differences = [values[0.5, seed] - values[0.0, seed] for seed in range(8)]
    assert found.mean == pytest.approx(np.mean(differences))
    assert found.p == 2 / 2**8
    assert (verdict.baseline, verdict.chosen) == ("0", "0.5")


def test_what_droplab_did_not_see_is_said_everywhere():
    result = read(trials())
    verdict = judge(result)
    said = "droplab did not see these runs: pairs rest on column 'seed' alone"
    assert any(note.startswith(said) for note in verdict.caveats)
    page, text = render(result, verdict), render_markdown(result, verdict)
    assert "did not see these runs" in page
    assert "did not see these runs" in text
    for unknown in ("same initial weights", "order of batches", "mini-batches", "own:loop"):
        assert unknown not in page, unknown
        assert unknown not in text, unknown


def test_a_reversed_metric_reverses_the_words():
    words = [
        a.word for a in judge(trials(), **(COLUMNS | {"metrics": {"val_loss": "higher"}})).arms
    ]
    assert words == [None, "hurts", "hurts"]


def test_unequal_trials_are_judged_where_all_still_are():
    rows = [r for r in trials(epochs=6) if not (r["seed"] == 3 and r["dropout"] and r["epoch"] > 4)]
    verdict = judge(rows, **COLUMNS, epoch="epoch")
    assert verdict.epoch == 4
    assert any("unequal length" in note and "epoch 4" in note for note in verdict.caveats)
    assert any("'0.3' with seed 3" in note for note in verdict.caveats)
    at_four = [r for r in rows if r["epoch"] == 4]
    means = judge(at_four, **COLUMNS).arm("0.5").metrics["val_loss"].mean
    assert verdict.arm("0.5").metrics["val_loss"].mean == means


def test_epochs_with_gaps_are_judged_at_one_that_all_have():
    rows = [r for r in trials(epochs=6) if not (r["seed"] == 3 and r["epoch"] in (5, 6))]
    rows = [r for r in rows if not (r["seed"] == 1 and r["epoch"] == 4)]
    verdict = judge(rows, **COLUMNS, epoch="epoch")
    assert verdict.epoch == 3
    assert [len(arm.seeds) for arm in verdict.arms] == [8, 8, 8]


def test_steps_are_numbered_and_it_is_said():
    rows = [{**r, "step": 100 * (r.pop("epoch") - 1)} for r in trials(epochs=3)]
    result = read(rows, epoch="step")
    assert {row.epoch for row in result.rows} == {1, 2, 3}
    assert any("from 0 to 200" in note for note in judge(result).caveats)


def test_a_trial_that_ends_in_nan_makes_its_arm_unstable():
    """Its other seeds alone would flatter it; a cell that is empty in between is no divergence."""
    rows = trials(epochs=3)
    next(r for r in rows if r["dropout"] == 0.5 and r["epoch"] == 3)["val_loss"] = math.nan
    next(r for r in rows if r["dropout"] == 0.3 and r["epoch"] == 2)["val_loss"] = None
    verdict = judge(rows, **COLUMNS, epoch="epoch")
    assert [arm.word for arm in verdict.arms] == [None, "helps", "unstable"]
    assert verdict.epoch == 3
    assert any("left out" in note for note in verdict.caveats)


def test_a_trial_that_diverged_early_shortens_no_other():
    rows = [
        {**r, "val_loss": math.nan if r["epoch"] == 2 else r["val_loss"]}
        if (r["dropout"], r["seed"]) == (0.5, 0)
        else r
        for r in trials(epochs=3)
        if (r["dropout"], r["seed"], r["epoch"]) != (0.5, 0, 3)
    ]
    result = read(rows, epoch="epoch")
    verdict = judge(result)
    assert [arm.word for arm in verdict.arms] == [None, "helps", "unstable"]
    assert verdict.epoch == 3
    assert [(m.arm, m.seed) for m in result.members if m.state == "nan"] == [("0.5", 0)]


def test_rows_of_other_things_between_are_left_out():
    """A log with a row for training and one for validation gives what a tidy table gives."""
    tidy = trials(epochs=3)
    logged = []
    for row in tidy:
        logged.append({**row, "epoch": 2 * row["epoch"], "train_loss": None})
        logged.append({**row, "epoch": 2 * row["epoch"] + 1, "val_loss": None, "train_loss": 0.1})
    options = {"epoch": "epoch", "metrics": {"val_loss": "lower", "train_loss": "lower"}}
    found = judge(logged, **(COLUMNS | options))
    expected = judge(tidy, **COLUMNS, epoch="epoch")
    # the log numbers its rows: its fifth is that of the third epoch
    assert found.headline == expected.headline.replace("after 3 epochs", "after 5 epochs")
    assert not any("unequal" in note for note in found.caveats)
    assert [a.word for a in found.arms] == [None, "helps", "helps"]


def test_unpaired_seeds_are_compared_on_those_in_common():
    rows = [r for r in trials() if not (r["dropout"] == 0.5 and r["seed"] == 7)]
    verdict = judge(rows, **COLUMNS)
    assert verdict.arm("0.5").differences["val_loss"].n == 7
    assert any("'0.5' has no result for seed 7" in note for note in verdict.caveats)


def test_one_seed_an_arm_is_too_few():
    verdict = judge(trials(seeds=[3]), **COLUMNS)
    assert verdict.headline.startswith("No verdict yet: one seed cannot tell")


def test_arms_with_names_have_no_rates():
    rows = [
        {**r, "dropout": {0.0: "none", 0.3: "light", 0.5: "heavy"}[r["dropout"]]} for r in trials()
    ]
    result = read(rows)
    verdict = judge(result)
    assert verdict.baseline == "none"
    assert verdict.rates_text("heavy") == "rates not given"
    assert "no dropout" not in render(result, verdict)


@pytest.mark.parametrize("column", ["optimizer", "weight_decay", "dropout", "p"])
@pytest.mark.parametrize("named", [True, False])
def test_the_headline_speaks_of_what_the_arms_are(column: str, named: bool):
    names = {0.0: "plain", 0.3: "new", 0.5: "newer"} if named else {0.0: 0, 0.3: 0.3, 0.5: 0.5}
    rows = [{**r, column: names[r["dropout"]]} for r in trials()]
    found = judge(rows, **{**COLUMNS, "arm": column}, baseline=names[0.0]).headline
    if column in ("dropout", "p"):
        assert found.startswith("Dropout helps")
    else:
        assert found.startswith(f"Changing '{column}' helps")
        assert "ropout" not in found
        assert f"with '{names[0.0]}' and" in found


def _shape(rows, shape: str):
    """Return rows that call for other sentences: arms alike, apart by a constant, or one."""
    base = {row["seed"]: row["val_loss"] for row in rows if row["dropout"] == 0.0}
    if shape == "one arm":
        return [row for row in rows if row["dropout"] == 0.0]
    if shape in ("alike", "apart"):
        by = float(shape == "apart")
        return [{**row, "val_loss": base[row["seed"]] + by * row["dropout"]} for row in rows]
    return [{**row, "train_loss": row["val_loss"] - 0.1} for row in rows]


@pytest.mark.parametrize("shape", ["better", "alike", "apart", "one arm", "curves"])
@pytest.mark.parametrize("baseline", ["sgd", 0, 0.1])
def test_of_arms_that_are_something_else_nothing_says_that_they_drop(shape: str, baseline):
    names = {0.0: baseline, 0.3: 0.3, 0.5: 0.5}
    rows = _shape(trials(epochs=3 if shape == "curves" else 0), shape)
    rows = [{**row, "optimizer": names[row.pop("dropout")]} for row in rows]
    options = {"epoch": "epoch"} if shape == "curves" else {}
    if shape == "curves":
        options["metrics"] = {"val_loss": "lower", "train_loss": "lower"}
    result = read(rows, arm="optimizer", baseline=baseline, **options)
    verdict = judge(result)
    page = re.sub(r"<style.*?</style>|<dt>eval mode.*?</dd>|<[^>]+>", " ", render(result, verdict))
    page = page.replace("with dropout on", "").replace("dropout is on", "")  # of running means
    for text in (str(verdict), page, render_markdown(result, verdict)):
        assert not re.findall(r"(?i).*\bdrop(?!lab).*", text)


def test_folds_are_judged_as_folds():
    rows = trials(seeds=range(10))
    verdict = judge(rows, **COLUMNS, folds=5, margin_size=0.2)
    assert (verdict.folds, verdict.unit, verdict.margin) == (5, "fold", "0.200")
    assert "5 folds x 2 repeats" in verdict.headline
    same = [{**row, "val_loss": row["val_loss"] + 0.05 * (row["dropout"] > 0)} for row in rows]
    said = judge([r for r in same if r["dropout"] != 0.5], **COLUMNS, folds=5, margin_size=0.2)
    assert said.arm("0.3").word == "does not help by 0.200 or more"
    alone = judge(rows, **COLUMNS)
    assert (alone.folds, alone.unit) == (None, "seed")


@pytest.mark.parametrize(
    ("seeds", "folds", "words"),
    [
        (range(1, 6), 5, "column 'seed', numbered from 0 on .* got 1 to 5, with 4 of repeat 0"),
        (range(7), 5, "whole repeats of 5 folds .* with 2 of repeat 1"),
        (range(5), 1, "expected how many folds, .* got 1"),
    ],
)
def test_folds_that_are_not_whole_are_refused(seeds, folds, words):
    with pytest.raises(ArgumentError, match=words):
        read(trials(seeds=seeds), folds=folds)


def test_a_baseline_that_drops_is_the_models_own_dropout():
    verdict = judge(trials(arms=(0.1, 0.3, 0.5)), **COLUMNS, baseline="0.10")
    assert verdict.baseline == "0.1"
    assert verdict.headline.startswith("Changed dropout helps")
    assert any("dropout 0.1" in note for note in verdict.caveats)


def test_numbers_are_arms_however_they_are_written(tmp_path):
    path = tmp_path / "results.csv"
    lines = [f"{p},{seed},{0.5 + seed}" for p in ("None", "0.30", ".5") for seed in range(2)]
    path.write_text("\n".join(["dropout,seed,val_loss", *lines]))
    assert [arm.name for arm in read(path).recipe.arms] == ["None", "0.3", "0.5"]


def test_the_rates_of_arms_are_drawn_as_a_curve():
    result = read(trials())
    page = render(result, judge(result))
    assert "Which rate?" in page


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"arm": "dropuot"}, r"arm: .*no column 'dropuot'; did you mean 'dropout'\?"),
        ({}, {"seed": "sead"}, r"seed: .*did you mean 'seed'\?"),
        ({}, {"metrics": {"val_los": "lower"}}, r"metric: .*did you mean 'val_loss'\?"),
        ({}, {"metrics": {"val_loss": "down"}}, r"lower or higher.*'val_loss', got 'down'"),
        ({}, {"metrics": {}}, "at least one metric"),
        ({}, {"metrics": {"seed": "lower"}}, "'seed' is the seed already"),
        ({}, {"primary": "val_lost"}, r"primary: .*did you mean 'val_loss'\?"),
        ({}, {"baseline": 0.4}, "the table has no arm '0.4'; did you mean '0.5'"),
        ({}, {"epoch": "epoch"}, "epoch: .*no column 'epoch'"),
        ({"val_loss": "low"}, {}, "numbers in column 'val_loss', got 'low' in row 2"),
        ({"val_loss": "0,4"}, {}, "with a decimal point in column 'val_loss', got '0,4' in row 2"),
        ({"val_loss": True}, {}, "numbers in column 'val_loss', got True in row 2"),
        ({"seed": 1.5}, {}, r"whole numbers .* column 'seed'.* got 1\.5 in row 2"),
        ({"seed": "a"}, {}, "numbers in column 'seed', got 'a' in row 2"),
        ({"seed": None}, {}, "whole numbers .* got None in row 2"),
        ({"dropout": None}, {}, "'dropout' has no value in row 2; write 0 or none"),
        ({"dropout": 0.0}, {}, "arm '0', seed 0 is in row 1 and in row 2; .* column of the epoch"),
        ({"dropout": "(0.1, 0.2)"}, {}, "expected a name of at most 64"),
    ],
)
def test_bad_input_gets_one_sentence(change, options, words):
    rows = trials()
    rows[1] |= change
    with pytest.raises(ArgumentError, match=words) as caught:
        read(rows, **options)
    assert "\n" not in str(caught.value)


def test_without_an_arm_of_0_the_baseline_is_asked_for():
    with pytest.raises(ArgumentError, match=r"baseline: .*called 0 or none.* has 0\.1, 0\.3; say"):
        read(trials(arms=(0.1, 0.3)))


def test_rows_that_have_no_epoch_in_common_are_refused():
    rows = [r for r in trials(epochs=2) if (r["epoch"] == 1) == (r["seed"] == 0)]
    with pytest.raises(ArgumentError, match="no epoch is common"):
        read(rows, epoch="epoch")


def test_the_same_row_twice_names_a_likely_column():
    with pytest.raises(ArgumentError, match="'epoch' for example"):
        read(trials(epochs=2))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "x", r"expected results as \.csv"),
        ("a.jsonl", "{", "a.jsonl, line 1: expected one JSON object a line"),
        ("a.jsonl", "[1]", "one mapping a row"),
        ("a.csv", "", "cannot read this table"),
        ("a.csv", "dropout,seed,val_loss\n", "got no rows"),
        ("a.parquet", "x", "cannot read this table"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DroplabError, match=words):
        read(tmp_path / name)


def test_a_file_that_is_not_there_is_refused_with_the_nearest(tmp_path):
    written(tmp_path, "csv")
    with pytest.raises(DataError, match=r"did you mean 'results\.csv'"):
        read(tmp_path / "result.csv")


@pytest.mark.parametrize("rows", [None, 3, {"dropout": [0]}, b"x", ["x"], []])
def test_what_is_no_table_is_refused(rows):
    with pytest.raises(
        ArgumentError, match=r"(rows: expected a file|one mapping a row|got no rows)"
    ):
        read(rows)


def test_a_run_takes_no_columns_and_rows_need_them():
    with pytest.raises(ArgumentError, match="leave out what is of rows"):
        judge(read(trials()), arm="dropout")
    with pytest.raises(ArgumentError, match="got no seed, metrics"):
        judge(trials(), arm="dropout")


def test_json_of_the_verdict_is_finite():
    text = json.dumps(judge(trials(), **COLUMNS).to_dict(), allow_nan=False)
    assert json.loads(text)["primary"] == "val_loss"
