"""Runs side by side: what is said to differ, what may be said of all seeds, and the page."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from droplab.cli import compare as command
from droplab.errors import ArgumentError, RunError
from droplab.recipe import TASKS, Arm, dumps, load, override
from droplab.recipe._metrics import metrics_of
from droplab.report import MOST_COMPARED, compare_runs, render_comparison
from droplab.results import RunStore
from droplab.results import load as load_run
from droplab.verdict import judge, pool

SHAPES = {
    "none": (0.62, 0.452, 0.836, 0.040, 0.986, 0.118),
    "half": (0.48, 0.445, 0.845, 0.105, 0.944, 0.076),
}
RATES = {"half": {"fc2": 0.5}, "tenth": {"fc2": 0.1}}
BASE = {"seeds": list(range(8)), "epochs": 6}


@pytest.fixture(scope="module")
def made(make_run):
    """A run of a recipe with two arms, whose values may be changed."""

    def make(name, *, arms=("none", "half"), created="2026-01-31T12:00:00+00:00", **changes):
        recipe = override(load("digits"), {**BASE, **changes})
        given = [Arm(arm, RATES.get(arm, {})) for arm in arms]
        recipe = replace(recipe, arms=tuple(given))
        result = make_run(recipe, {arm: SHAPES.get(arm, SHAPES["half"]) for arm in arms})
        return replace(result, path=Path(name), created=created)

    return make


def kinds(*results):
    return [row.what for row in compare_runs(results).differing]


def test_what_differs_is_named_and_the_names_of_recipes_do_not_count(made):
    one, other = made("one"), made("other")
    renamed = replace(other, recipe=replace(other.recipe, name="x", title="another", story="y"))
    found = compare_runs([one, renamed])
    assert found.sentences == ("Both follow the same experiment.",)
    assert found.differing == ()
    assert found.runs[0].digest == found.runs[1].digest
    # today's two runs of one name with other seeds and epochs
    longer = made("longer", epochs=7, seeds=[1, 2, 3])
    found = compare_runs([one, longer])
    assert found.sentences[0] == (
        "They differ in epochs and seeds: what differs between their results is of more than "
        "dropout."
    )
    assert [(row.what, row.values) for row in found.differing] == [
        ("epochs", ("6", "7")),
        ("seeds", ("[0, 1, 2, 3, 4, 5, 6, 7]", "[1, 2, 3]")),
    ]


def test_an_experiment_and_a_sweep_may_differ_in_arms_alone(made):
    one = made("one")
    sweep = made("sweep", arms=("none", "tenth"))
    sweep = replace(sweep, recipe=replace(sweep.recipe, name="digits-sweep"))
    found = compare_runs([one, sweep])
    assert found.sentences[0] == "They differ in arms alone: in dropout, and in nothing else."
    assert [row.values for row in found.differing] == [
        ("none (no dropout added); half (fc2 0.5)", "none (no dropout added); tenth (fc2 0.1)")
    ]
    other = made("other", arms=("none", "tenth"), seeds=[8, 9])
    assert "of dropout and of luck" in compare_runs([one, other]).sentences[0]


def test_arms_go_by_what_they_drop(made):
    """Another name for the same dropout is no difference; one name for two is said."""
    one = made("one")
    arms = (one.recipe.arms[0], replace(one.recipe.arms[1], name="fifty"))
    rows = tuple(replace(r, arm="fifty") if r.arm == "half" else r for r in one.rows)
    renamed = replace(one, path=Path("x"), recipe=replace(one.recipe, arms=arms), rows=rows)
    assert kinds(one, renamed) == []
    arms = (one.recipe.arms[0], Arm("half", {"fc2": 0.25}))
    other = replace(one, path=Path("x"), recipe=replace(one.recipe, arms=arms))
    found = compare_runs([one, other])
    assert "'half' of A and 'half' of B are different arms." in found.sentences
    alpha = (one.recipe.arms[0], Arm("half", {"fc2": 0.5}, "alpha"))
    assert kinds(one, replace(other, recipe=replace(one.recipe, arms=alpha))) == ["arms"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer.lr": 0.5}, "optimizer"),
        ({"model.hidden": [3]}, "model"),
        ({"data.train": 50}, "data"),
        ({"batch_size": 7}, "batch size"),
        ({"primary": "val_accuracy"}, "the metric that decides"),
        ({"looks": 2}, "looks"),
        ({"stopping.patience": 3}, "early stopping"),
        ({"clip": 1.0}, "clip"),
    ],
)
def test_every_part_of_an_experiment_is_looked_at(made, changes, words):
    found = compare_runs([made("one"), made("other", **changes)])
    assert found.sentences[0].startswith(f"They differ in {words}: ")


def test_data_versions_and_plans_of_the_machine_are_told_apart(made):
    one = made("one")
    data = {**json.loads(one.notes["data"]), "checksum": "sha256:ffff"}
    other = replace(one, path=Path("x"), notes={**one.notes, "data": json.dumps(data)})
    assert compare_runs([one, other]).sentences[0].startswith("They differ in data: ")
    newer = {**one.environment, "packages": {"torch": "9.9"}}
    found = compare_runs(
        [one, replace(one, path=Path("x"), environment=newer, plan={"threads": 1})]
    )
    assert found.sentences == (
        "Both follow the same experiment.",
        "They were run with other versions and another execution plan: equal bits are not "
        "expected.",
    )
    assert [row.what for row in found.differing] == ["versions", "execution"]


def test_of_three_runs_each_value_stands_under_its_run(made):
    found = compare_runs([made("a"), made("b", epochs=7), made("c", batch_size=9)])
    assert {row.what: row.values for row in found.differing} == {
        "epochs": ("6", "7", "6"),
        "batch_size": ("20", "20", "9"),
    }


def test_every_arm_of_every_run_has_its_numbers(made):
    one, other = made("one"), made("other", epochs=7)
    found = compare_runs([one, other])
    assert [(row.letter, row.arm) for row in found.arms] == [
        *(("A", "none"), ("A", "half"), ("B", "none"), ("B", "half"))
    ]
    verdict = judge(one)
    metric = verdict.metrics.named("val_loss")
    arm = verdict.arm("half")
    row = found.arms[1]
    assert row.cells[found.metrics.index("validation loss")].startswith(
        metric.text(arm.metrics["val_loss"].mean)
    )
    assert row.word == arm.word == "helps"
    assert metric.difference(arm.differences["val_loss"].mean) in row.difference
    assert any(cell.startswith("84.") and " % ± " in cell for cell in row.cells)
    assert found.runs[0].headline == verdict.headline
    assert found.pooled == ()
    json.dumps(found.to_dict(), allow_nan=False)


def added(made, looks):
    first = made("first", looks=looks)
    later = "2026-03-01T12:00:00+00:00"
    second = made("second", looks=looks, seeds=list(range(8, 16)), created=later)
    return first, second


def test_seeds_that_were_not_planned_get_no_word(made):
    first, second = added(made, 1)
    for order, letter in (((first, second), "B"), ((second, first), "A")):
        found = compare_runs(order)
        assert found.sentences[:2] == (
            "They differ in seeds alone.",
            "With looks = 1, the first verdict has spent the 5 %: over all seeds the arms are "
            f"shown without a word, and {letter} is judged alone, as a new experiment.",
        )
        assert [row.seeds for row in found.pooled] == [16, 16]
        assert [row.word for row in found.pooled] == ["baseline", ""]
        mean = judge(pool([first, second])).arm("half").differences["val_loss"].mean
        assert found.pooled[1].difference == judge(first).metrics.named("val_loss").difference(mean)
        assert "[" not in found.pooled[1].difference


def test_a_second_look_that_was_planned_has_its_verdict(made):
    first, second = added(made, 2)
    found = compare_runs([first, second])
    whole = judge(pool([first, second]))
    assert whole.level == 0.975
    assert found.sentences[1] == (
        f"The second look, as planned (97.5 %), over all seeds: {whole.headline}"
    )
    assert found.pooled[1].word == whole.arm("half").word
    assert "[" in found.pooled[1].difference
    third = made("third", looks=2, seeds=[20, 21], created="2026-04-01T12:00:00+00:00")
    found = compare_runs([first, second, third])
    assert "the first two looks have spent the 5 %" in found.sentences[1]
    assert "and C is judged alone" in found.sentences[1]
    assert found.pooled[1].word == ""


def test_a_seed_that_two_runs_share_counts_once(made):
    found = compare_runs([made("one"), made("other", seeds=[7, 8, 9])])
    assert "They share seeds (7), so they are not taken together." in found.sentences
    assert found.pooled == ()


def test_runs_of_other_tasks_and_metrics_stand_beside_each_other(made):
    one = made("one")
    metrics = metrics_of(TASKS["regression"])
    rows = tuple(
        replace(row, values=dict.fromkeys(metrics, 0.5 - 0.1 * (row.arm == "half")))
        for row in one.rows
    )
    regression = replace(
        one,
        path=Path("r"),
        recipe=replace(one.recipe, task="regression"),
        rows=rows,
        metrics=metrics,
    )
    found = compare_runs([one, regression])
    assert found.sentences[0].startswith("They differ in task: ")
    assert "They do not measure the same; what one did not is left empty." in found.sentences
    accuracy, rmse = (found.metrics.index(f"validation {name}") for name in ("accuracy", "RMSE"))
    assert [bool(row.cells[accuracy]) for row in found.arms] == [True, True, False, False]
    assert [bool(row.cells[rmse]) for row in found.arms] == [False, False, True, True]


def test_a_run_without_a_verdict_says_why(made):
    one = made("one")
    empty = replace(one, path=Path("x"), rows=(), members=())
    found = compare_runs([one, empty])
    assert found.runs[1].headline == "No verdict yet: its baseline has no finished epoch."
    assert not found.runs[1].judged
    assert {row.letter for row in found.arms} == {"A"}
    assert compare_runs([empty, replace(empty, path=Path("y"))]).metrics == ()


def test_too_many_none_and_one_twice_are_refused(made):
    one = made("one")
    with pytest.raises(ArgumentError, match="expected 1 to 26 runs, got 0"):
        compare_runs([])
    with pytest.raises(ArgumentError, match="one is given twice"):
        compare_runs([one, one])
    with pytest.raises(ArgumentError, match="got 27"):
        compare_runs([one] * (MOST_COMPARED + 1))
    assert compare_runs([one]).sentences == ()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.text = [], set(), []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.ids |= {value for name, value in attrs if name == "id"}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_has_it_all_and_escapes_what_came_from_outside(made):
    one = made("one")
    nasty = replace(one.recipe, title="<b>")
    other = replace(made("<script>alert(1)<script>", epochs=7), recipe=replace(nasty, epochs=7))
    page = render_comparison(compare_runs([one, other]))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert {"h-runs", "h-differs", "h-arms"} <= tags.ids
    assert "<script" not in page
    text = " ".join(tags.text)
    assert "They differ in epochs" in text
    assert "Over the seeds of all" not in text
    assert "Over the seeds of all" in render_comparison(compare_runs(added(made, 2)))


@pytest.fixture
def stored(tmp_path, made):
    """Folders of two runs that differ in seeds alone."""
    folders = []
    for result in added(made, 1):
        recipe = result.recipe
        members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
        folder = tmp_path / result.path.name
        with RunStore.create(
            folder, dumps(recipe), recipe.digest, {}, members, metrics=recipe.metrics.values()
        ) as store:
            store.commit_epochs(result.rows)
        folders.append(folder)
    return folders


def told(*arguments):
    return CliRunner().invoke(command.command, [str(each) for each in arguments])


def test_the_command_prints_the_same_and_writes_the_page(stored, tmp_path):
    page = tmp_path / "new" / "out.html"
    found = told(*stored, "--html", page)
    assert found.exit_code == 0, found.output
    assert "They differ in seeds alone." in found.output
    assert f"Page: {page}" in found.output
    assert "Every arm" in page.read_text(encoding="utf-8")
    document = json.loads(told(*stored, "--json").output)
    assert document == json.loads(
        json.dumps(compare_runs([load_run(each) for each in stored]).to_dict())
    )


def test_a_run_of_an_earlier_layout_stands_beside_a_new_one(stored, tmp_path):
    sql = (Path(__file__).parents[1] / "results" / "layout1.sql").read_text(encoding="utf-8")
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    connection = sqlite3.connect(earlier / "run.sqlite")
    connection.executescript(sql)
    connection.close()
    found = told(stored[0], earlier)
    assert found.exit_code == 0, found.output
    assert "They differ in" in found.output


def test_bad_input_is_one_sentence(stored, tmp_path):
    assert "at least two runs" in told(stored[0]).output
    assert "Missing argument" in told().output
    assert isinstance(told(stored[0], tmp_path / "no").exception, RunError)
    assert isinstance(told(stored[0], stored[0]).exception, ArgumentError)
    (tmp_path / "file").write_text("")
    blocked = told(*stored, "--html", tmp_path / "file" / "out.html").exception
    assert isinstance(blocked, RunError)
    assert "the page cannot be written" in str(blocked)
