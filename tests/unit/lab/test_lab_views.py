"""What the page is given: recipes, verdicts, the solution, the exercises, curves as numbers."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab import models, placement, results
from droplab.lab import _recipes
from droplab.lab._curves import Curves
from droplab.lab._recipes import about, built_in, listing, sites
from droplab.lab._request import requested_recipe
from droplab.lab._verdict import judged, verdict_view
from droplab.practice import exercises
from droplab.recipe import METRICS, Arm, ModelSpec, builtin_names, load, override
from droplab.report import compare_runs
from droplab.report._solution import FILE, solution, source
from droplab.results import EpochRow
from droplab.verdict import judge


def test_the_page_is_told_what_the_metrics_are(lab):
    found = lab.get("/api/metrics").json()
    assert list(found) == list(METRICS)
    assert found["gap"] == {"label": "gap", "unit": "points", "higher": False}
    assert found["val_accuracy"] == {"label": "validation accuracy", "unit": "%", "higher": True}


def test_every_built_in_recipe_is_offered(lab):
    found = lab.get("/api/recipes").json()
    assert [recipe["name"] for recipe in found["recipes"]] == list(builtin_names())
    digits = found["recipes"][0]
    assert digits["widths"] == [64, 128, 64, 10]
    assert digits["sites"][0] == {"path": "fc1", "width": 64, "input": True, "planned": True}
    assert digits["optimizer"] == "Adam, lr 0.003"
    assert len(digits["story"]) == 3
    assert len(digits["hints"]) == 3
    assert {"arms", "seeds", "epochs"} <= set(found["limits"])


@pytest.mark.parametrize("name", builtin_names())
def test_the_sites_are_those_that_placement_finds(name):
    """The page reads them off the recipe, as torch takes seconds to load."""
    recipe = load(name)
    model = models.build(recipe.model)
    found = placement.sites(model)
    assert [site["path"] for site in sites(recipe)] == [site.name for site in found]
    assert [site["input"] for site in sites(recipe)] == [bool(site.left_out) for site in found]
    layers = [model.get_submodule(site.name) for site in found]
    assert [site["width"] for site in sites(recipe)] == [layer.in_features for layer in layers]
    assert recipe.model.widths[-1] == layers[-1].out_features


MODELS = [
    ModelSpec("nets:Net"),
    ModelSpec("nets:Net", {"hidden": 3, "names": ["a", "b"]}),
    ModelSpec("cnn", {"channels": [8, 16]}),
    ModelSpec("mlp", {"in_features": 64}),
    ModelSpec("mlp", {"in_features": 64, "hidden": [], "classes": 10}),
    ModelSpec("mlp", {"in_features": 64, "hidden": 3}),
    ModelSpec("mlp", {"depth": 3}),
]


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_recipe_with_any_model_is_offered(lab, monkeypatch, model):
    """One recipe whose model is unknown to the page must not take the others from it."""
    other = dataclasses.replace(load("digits"), name="other", model=model)
    monkeypatch.setattr(_recipes, "built_in", lambda: {"digits": load("digits"), "other": other})
    shown = lab.get("/api/recipes").json()["recipes"]
    assert [recipe["name"] for recipe in shown] == ["digits", "other"]
    assert shown[0] == about(load("digits"))
    assert shown[1]["network"]
    assert [site["planned"] for site in shown[1]["sites"]].count(True) <= len(other.sites)
    if not model.widths:
        assert [site["path"] for site in shown[1]["sites"]] == list(other.sites)
    body = {"kind": "experiment", "recipe": "other", "epochs": 2, "seeds": 1}
    assert lab.post("/api/runs", json=body).status_code == 201


def test_the_forms_show_a_pattern_as_its_sites_and_keep_existing_rates(lab, monkeypatch):
    every, own = Arm("every", {"*": 0.3, "fc3": 0.5}), Arm("own", existing={"drop": 0.0})
    arms = (Arm("none"), every, own)
    small = dataclasses.replace(load("digits"), name="small", arms=arms)
    cnn = dataclasses.replace(small, name="cnn", model=ModelSpec("nets:Net"))
    monkeypatch.setattr(_recipes, "built_in", lambda: {"small": small, "cnn": cnn})
    shown = about(small)
    assert shown["arms"][1]["rates"] == {"fc2": 0.3, "fc3": 0.5}
    assert [site["planned"] for site in shown["sites"]] == [False, True, True]
    assert shown["arms"][2] == {"name": "own", "rates": {}, "existing": {"drop": 0.0}}
    assert about(cnn)["arms"][1]["rates"] == {"*": 0.3, "fc3": 0.5}
    body = {"kind": "experiment", "recipe": "small", "arms": shown["arms"][1:]}
    found = requested_recipe(body)
    assert found.arm("own").existing == {"drop": 0.0}
    assert found.arm("every").rates == {"fc2": 0.3, "fc3": 0.5}


def test_recipes_are_json():
    json.dumps(listing(), allow_nan=False)


@pytest.mark.parametrize(
    ("rates", "shape"),
    [
        ({"fc2": 0.3, "fc3": 0.3}, (64, 128, 64, 10)),
        ({"fc1": 0.2}, (784, 256, 128, 10)),
        ({"fc2": 1 / 3}, (5, 4, 3)),
        ({"fc1": 0.5}, (4, 2)),
    ],
)
def test_the_solution_is_what_the_source_patch_writes(tmp_path, monkeypatch, rates, shape):
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_text(source(shape, {}))
    patch = placement.patch_file(FILE, "Net", rates)
    patch.write()
    assert (tmp_path / FILE).read_text() == source(shape, rates)


def test_the_solution_of_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = built_in()["digits"]
    (tmp_path / FILE).write_text(source(recipe.model.widths, {}))
    patch = placement.patch_file(FILE, "Net", dict(recipe.arm("input").rates))
    assert solution(recipe, "input") == patch.diff
    assert solution(recipe, "none") is None
    names = {}
    exec((tmp_path / FILE).read_text(), names)
    twin = models.build(recipe.model).state_dict()
    assert {k: v.shape for k, v in names["Net"]().state_dict().items()} == {
        k: v.shape for k, v in twin.items()
    }


@pytest.fixture
def judged_run(runs, real_run):
    """The run with more seeds than it has: rows of seed 0 and 1, moved a little."""
    found = results.load(runs / real_run)
    rng = np.random.default_rng(0)
    rows = [
        dataclasses.replace(
            row, seed=seed, values={**row.values, "val_loss": row.val_loss + rng.normal(0, 0.01)}
        )
        for seed in range(8)
        for row in found.rows
        if row.seed == 0
    ]
    members = [
        dataclasses.replace(m, seed=seed) for seed in range(8) for m in found.members if not m.seed
    ]
    recipe = override(found.recipe, {"seeds": list(range(8))})
    order = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
    rows.sort(key=lambda row: (order.index((row.arm, row.seed)), row.epoch))
    return dataclasses.replace(found, recipe=recipe, rows=tuple(rows), members=tuple(members))


def test_the_verdict_is_that_of_the_command_line(judged_run):
    verdict = judge(judged_run)
    shown = verdict_view(verdict)
    json.dumps(shown, allow_nan=False)
    assert shown["headline"] == verdict.headline
    assert shown["diagnosis"] == verdict.diagnosis.sentence
    assert shown["caveats"] == list(verdict.caveats)
    assert [row["arm"] for row in shown["table"]] == ["none", "0.3", "0.5", "input"]
    assert shown["table"][0]["rates"] == "no dropout"
    assert shown["table"][1]["rates"] == "fc2 0.3 · fc3 0.3"
    assert [[word["text"] for word in row["words"]] for row in shown["table"]] == [
        [text for _, text in arm.said] for arm in verdict.arms
    ]
    tones = {None: "", "helps": "yes", "hurts": "no", "unstable": "no"}
    assert [word["tone"] for row in shown["table"] for word in row["words"]] == [
        tones.get(word, "") for arm in verdict.arms for word in arm.words
    ]
    assert shown["table"][0]["cells"][0]["difference"] is None
    (cell,) = [cell for cell in shown["table"][1]["cells"] if cell["metric"] == "val_loss"]
    difference = verdict.arm("0.3").differences["val_loss"]
    assert float(cell["difference"].replace("−", "-")) == pytest.approx(difference.mean, abs=1e-3)
    assert float(cell["low"].replace("−", "-")) == pytest.approx(difference.low, abs=1e-3)
    assert cell["better"] is difference.better
    signs = set()
    for row in shown["table"][1:]:
        for cell in row["cells"]:
            found = verdict.arm(row["arm"]).differences[cell["metric"]]
            assert cell["difference"] == verdict.metrics.epoch[cell["metric"]].difference(
                found.mean
            )
            signs.add(cell["difference"][0])
    assert signs >= {"+", "−"}


def test_without_the_baseline_there_is_no_verdict(judged_run):
    rows = tuple(row for row in judged_run.rows if row.arm != "none")
    assert judged(dataclasses.replace(judged_run, rows=rows)) is None
    assert judged(dataclasses.replace(judged_run, rows=())) is None


def test_the_exercises_do_not_tell_their_answers(lab):
    found = lab.get("/api/practice").json()
    assert len(found["exercises"]) == len(exercises())
    assert not any(item["done"] for item in found["exercises"])
    text = json.dumps(found)
    for item in exercises():
        assert item.explanation[:40] not in text
        assert item.hints[0][:40] not in text


def test_hints_come_one_by_one(lab):
    first = exercises()[0]
    for place, hint in enumerate(first.hints, start=1):
        answer = lab.get(f"/api/practice/{first.number}/hints/{place}")
        assert answer.json() == {"hint": hint}
    for path in (f"{first.number}/hints/0", f"{first.number}/hints/9", "999/hints/1", "1/hints/x",
                 "9" * 5000 + "/hints/1", "٣/hints/1", "-1/hints/1"):  # fmt: skip
        assert lab.get(f"/api/practice/{path}").status_code == 404


def test_an_exercise_is_run_and_remembered(lab):
    """The only test here that runs a snippet, in the runner's own process."""
    (item,) = (item for item in exercises() if item.name == "eval-mode")
    right = lab.post(f"/api/practice/{item.number}", json={"answer": "A"}).json()["right"]
    answer = lab.post(f"/api/practice/{item.number}", json={"answer": right[0].lower()}).json()
    assert answer["correct"] is True
    assert answer["explanation"] == item.explanation
    assert len(answer["options"]) == len(item.options)
    (shown,) = (
        each for each in lab.get("/api/practice").json()["exercises"] if each["name"] == item.name
    )
    assert shown["done"] is True


values = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["none", "0.3", "gone"]),
            st.integers(0, 3),
            st.integers(0, 4),
            values,
        ),
        max_size=30,
    )
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_curves_are_means_over_the_seeds_that_have_a_row(rows):
    recipe = override(load("digits"), {"seeds": [0, 1, 2], "epochs": 3})
    written = {(arm, seed, epoch): value for arm, seed, epoch, value in rows}
    fake = [
        EpochRow(dict.fromkeys(METRICS, value), arm, seed, epoch, 0.5)
        for (arm, seed, epoch), value in written.items()
    ]
    curves, half = Curves(recipe, fake), Curves(recipe, fake[::2])
    first = {
        at: v for at, v in written.items() if at[0] != "gone" and at[1] < 3 and 1 <= at[2] <= 3
    }
    whole = curves.whole()
    json.dumps(whole, allow_nan=False)
    last = max((epoch for _, _, epoch in first), default=0)
    for arm in ("none", "0.3", "0.5"):
        for epoch in range(1, last + 1):
            there = [first[arm, s, epoch] for s in range(3) if (arm, s, epoch) in first]
            sound = [value for value in there if np.isfinite(value)]
            assert whole["counts"][arm][epoch - 1] == len(there)
            mean = whole["curves"][arm]["gap"][epoch - 1]
            spread = whole["bands"][arm]["gap"][epoch - 1]
            assert (mean is None) == (not sound)
            assert (spread is None) == (len(sound) < 2)
            if sound:
                assert mean == pytest.approx(np.mean(sound), rel=1e-5, abs=1e-9)
            if len(sound) > 1:
                scale = max(map(abs, sound))
                assert spread == pytest.approx(np.std(sound, ddof=1), rel=1e-4, abs=1e-6 * scale)
    for earlier, new in (
        (Curves(recipe), list(written)),
        (half, list(written)[1::2]),
        (curves, []),
    ):
        points = curves.changed_since(earlier)
        assert [(point[0], point[1]) for point in points] == sorted(
            {(["none", "0.3"].index(at[0]), at[2]) for at in new if at in first}
        )
        for arm, epoch, count, means, _ in points:
            name = ["none", "0.3"][arm]
            assert count == whole["counts"][name][epoch - 1]
            assert means == [whole["curves"][name][metric][epoch - 1] for metric in METRICS]


def test_runs_are_compared_as_the_command_line_does(lab, runs, real_run):
    shutil.copytree(runs / real_run, runs / "again")
    answer = lab.get(f"/api/compare?runs={real_run},again")
    assert answer.status_code == 200
    found = [results.load(runs / name) for name in (real_run, "again")]
    assert answer.json() == json.loads(json.dumps(compare_runs(found).to_dict()))
    assert answer.json()["sentences"][0] == "Both follow the same experiment."


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("", 400, "expected 1 to 26 runs, got 0"),
        ("{run},{run}", 400, "is given twice"),
        ("{run},nothing-here", 404, ""),
        ("../../etc,{run}", 404, ""),
        (",".join(f"r{n}" for n in range(40)), 400, "at most 26 runs to compare, got 40"),
    ],
)
def test_what_cannot_be_compared_is_refused(lab, real_run, asked, status, words):
    answer = lab.get(f"/api/compare?runs={asked.format(run=real_run)}")
    assert answer.status_code == status
    assert words in answer.json()["error"]
