from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from droplab.recipe import Arm, dumps
from droplab.report import render
from droplab.results import AnswersRow
from droplab.verdict import judge

EMPTY = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects what a test asks about, and that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]


@pytest.fixture(scope="module")
def text(fashion) -> str:
    return render(fashion, judge(fashion))


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_it_opens_with_the_verdict(page, fashion):
    words = " ".join(page.text.replace("\u00a0", " ").split())
    verdict = judge(fashion)
    assert page.tags[0][0] == "html"
    start = words.index("Dropout helps after 50 epochs Validation loss is")
    table = words.index("Difference to 'none', paired by seed")
    decides = words.index("p (validation loss)")
    assert start < table < decides < words.index("Before and after", table)
    for sentence in (
        verdict.also,
        verdict.diagnosis.sentence,
        verdict.target.sentence,
        verdict.test.sentence,
        verdict.best.sentence,
        *verdict.caveats,
    ):
        assert sentence in words


def test_it_is_small_and_asks_nothing_of_anyone(text, page):
    assert len(text.encode()) < 200_000  # the numbers that it holds included
    assert not page.all("script", "link", "img", "iframe", "object", "embed", "form", "base")
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "src"]
        assert attrs.get("href", "#").startswith(("#", "data:text/csv;", "data:application/json;"))
        assert "style" not in attrs
    outside = re.findall(r"https?://[^\"'<\s]+|url\((?!#fig)|@import|@font-face", text)
    assert set(outside) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_ten_arms_and_two_hundred_epochs_stay_small(make_run, sweep):
    arms = (*sweep.recipe.arms, Arm("0.9", {"fc2": 0.9, "fc3": 0.9}))
    recipe = replace(sweep.recipe, arms=arms, epochs=200)
    shapes = {arm.name: (0.8, 0.45, 0.84, 0.1, 0.95, 0.1) for arm in arms}
    result = make_run(recipe, shapes)
    assert len(render(result, judge(result)).encode()) < 250_000


def test_headings_are_in_order_and_sections_are_named(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    assert {attrs.get("lang") for attrs in page.all("html")} == {"en"}
    assert len(page.all("main")) == len(page.all("title")) - len(page.all("svg")) == 1


def test_every_chart_says_what_it_shows(text, page):
    charts = page.all("svg")
    assert len(charts) == 10
    for chart in charts:
        assert chart["role"] == "img"
        title, description = chart["aria-labelledby"].split()
        assert re.search(rf'<title id="{title}">[^<]+</title>', text)
        assert re.search(rf'<desc id="{description}">[^<]{{40,}}</desc>', text)


def test_tables_have_captions_and_scopes(page):
    tables = page.all("table")
    assert len(tables) == len(page.all("caption")) == 5
    assert all(attrs.get("scope") in {"row", "col"} for attrs in page.all("th"))
    for region in (a for a in page.all("div") if a.get("class") == "scroll"):
        assert region["tabindex"] == "0"
        assert region["aria-label"]


def test_the_numbers_of_the_tables_are_those_of_the_verdict(page, fashion):
    words = page.text.replace("\u00a0", " ")
    for arm in judge(fashion).arms:
        assert f"{arm.metrics['val_loss'].mean:.3f}" in words
        assert f"{100 * arm.metrics['val_accuracy'].mean:.1f} %" in words
        if arm.differences:
            assert f"−{abs(arm.differences['val_loss'].mean):.3f}" in words


def test_recipe_environment_and_patch_are_in_full(page, fashion):
    assert dumps(fashion.recipe) in page.text
    assert fashion.recipe.digest in page.text
    assert fashion.environment["packages"]["torch"] in page.text
    assert "droplab run fashion-overfit" in page.text
    for line in fashion.notes["patch"].splitlines():
        assert line in page.text


def test_everything_from_outside_is_escaped(fashion):
    evil = "<script>alert('x')</script><img src=x onerror=y>{{ 7*7 }}"
    recipe = replace(
        fashion.recipe,
        title=evil,
        story=evil,
        hints=(evil,),
        model=replace(fashion.recipe.model, arguments={"note": evil}),
        optimizer=replace(fashion.recipe.optimizer, arguments={"x": evil}),
    )
    result = replace(
        fashion,
        recipe=recipe,
        environment={"cpu": evil, evil: evil, "packages": {evil: evil}},
        notes={
            "patch refused": evil,
            "patch": evil + "\n+" + evil,
            "data": '{"checksum": "' + evil + '"}',
        },
        plan={evil: evil},
        created=evil,
    )
    text = render(result, judge(result))
    page = Page(text)
    assert not page.all("script", "img")
    assert page.text.count("alert('x')") > 8
    assert "49" not in re.findall(r"onerror=y>(.{0,9})", page.text)[0]


def test_without_torch():
    code = """
import sys
sys.modules["torch"] = None
from droplab.recipe import METRICS, load
from droplab.results import EpochRow, RunResult
from droplab.verdict import judge
from droplab.report import render
from droplab.results import AnswersRow
from pathlib import Path
recipe = load("digits")
pairs = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
rows = tuple(
    EpochRow(dict.fromkeys(METRICS, 0.5 + seed / 100), arm, seed, 1, 0.5) for arm, seed in pairs
)
result = RunResult(Path("x"), recipe, {}, rows)
assert "<h1>" in render(result, judge(result))
assert not {"numba", "matplotlib", "scipy", "PIL"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_same_rows_give_the_same_page(fashion, text):
    assert render(fashion, judge(fashion)) == text


def only(result, **changes):
    return replace(result, tests=(), **changes)


def test_runs_with_little_to_show_have_a_page_too(fashion):
    rows = fashion.rows
    few = {
        "one seed": only(fashion, rows=tuple(r for r in rows if r.seed == 0)),
        "one epoch": only(fashion, rows=tuple(r for r in rows if r.epoch == 1)),
        "baseline alone": only(fashion, rows=tuple(r for r in rows if r.arm == "none")),
        "no baseline": only(fashion, rows=tuple(r for r in rows if r.arm != "none")),
        "unfinished": only(fashion, rows=tuple(r for r in rows if r.epoch + r.seed < 40)),
        "a recipe of one arm": only(
            fashion,
            recipe=replace(fashion.recipe, arms=fashion.recipe.arms[:1]),
            rows=tuple(r for r in rows if r.arm == "none"),
            members=(),
        ),
        "bare": only(
            fashion, environment={}, notes={"data": "no JSON"}, plan={}, members=(), created=""
        ),
        "NaN": only(
            fashion,
            rows=tuple(
                replace(r, values={**r.values, "val_loss": math.nan, "train_loss": math.inf})
                if r.arm == "input" and r.seed == 3 and r.epoch > 20
                else r
                for r in rows
            ),
        ),
    }
    for name, result in few.items():
        text = render(result, judge(result))
        page = Page(text)
        drawn = re.findall(r' (?:d|x|y|cx|cy|width|height)="([^"]*)"', text)
        assert not [value for value in drawn if "nan" in value or "inf" in value], name
        assert page.all("h1"), name
    assert "unstable" in render(few["NaN"], judge(few["NaN"]))
    assert "not bounded" in render(few["one seed"], judge(few["one seed"]))


def test_a_run_without_a_comparison_shows_its_own_numbers_first(fashion):
    alone = only(fashion, rows=tuple(r for r in fashion.rows if r.arm == "none"))
    page = Page(render(alone, judge(alone)))
    assert len([a for a in page.all("div") if a.get("class") == "tile"]) == 4
    assert not [a for a in page.all("div") if a.get("class") == "first"]


def digests(result) -> dict[str, str]:
    text = render(result, judge(result))
    return dict(re.findall(r"<dt>([^<]+)</dt><dd>[^<]*<code>(sha256:[0-9a-f]+)</code>", text))


def test_what_did_not_change_has_digests(fashion):
    mine = digests(fashion)
    assert mine["data"] == "sha256:12ab"
    assert mine["recipe digest"] == f"sha256:{fashion.recipe.digest}"
    assert {"model", "optimizer", "length", "seeds", "validated on", "execution plan"} < set(mine)

    def changed(**values) -> set[str]:
        other = digests(only(fashion, recipe=replace(fashion.recipe, **values)))
        return {name for name, digest in mine.items() if other[name] != digest}

    rest = {"recipe digest", "all of the recipe but its arms"}
    optimizer = replace(fashion.recipe.optimizer, arguments={"lr": 0.002})
    data = replace(fashion.recipe.data, validation=9000)
    assert changed(optimizer=optimizer) == {"optimizer", *rest}
    assert changed(data=data) == {"validated on", *rest}
    assert changed(batch_size=32) == {"length", *rest}
    arms = (*fashion.recipe.arms[:3], Arm("input", {"fc1": 0.25}))
    assert changed(arms=arms) == {"recipe digest"}


def test_the_primary_metric_leads(fashion):
    page = Page(render(fashion, judge(fashion, primary="val_accuracy")))
    words = " ".join(page.text.split())
    assert "Validation accuracy is" in words
    assert "p (validation accuracy)" in words


def test_rates_and_grids_are_drawn(sweep, grid, text):
    assert "Which rate?" not in text
    assert render(sweep, judge(sweep)).count("against the rate</title>") == 2
    assert "rate at fc2" in render(grid, judge(grid))


def test_classes_have_a_table_where_answers_were_counted(fashion, text):
    bins = ((0, 0.0, 0),) * 14 + ((200, 180.0, 150),)
    arms = [arm.name for arm in fashion.recipe.arms]
    rows = tuple(
        AnswersRow(arm, seed, bins, ((100, 80 - 20 * (arm == "input") + seed % 3), (100, 70)))
        for arm in arms
        for seed in range(8)
    )
    counted = replace(fashion, answers=rows)
    found = render(counted, judge(counted))
    table = found[found.index('aria-label="Table of recalls"') :]
    table = table[: table.index("</table>")]
    cells = re.findall(r"<td>(?:<span class=\"(\w*)\">)?([^<]*)", table)
    assert [value for _, value in cells[:3]] == ["100", "80.9\u00a0%", "60.9\u00a0%"]
    assert cells[3] == ("bad", "\u221220.00")
    assert cells[7] == ("", "0.00")
    assert "Recall falls after 50 epochs" in found
    assert "Table of recalls" not in text
