"""What a reader takes from a page: its numbers, its contents, its words."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest

from droplab.report import render
from droplab.verdict import judge


@pytest.fixture(scope="module")
def text(fashion) -> str:
    return render(fashion, judge(fashion))


def held(page: str, media: str) -> tuple[str, str]:
    """The name and the content of the file that a page holds."""
    found = re.search(rf'href="data:{media};base64,([^"]+)" download="([^"]+)"', page)
    assert found is not None
    return found[2], base64.b64decode(found[1]).decode()


def test_the_csv_has_what_each_replica_was_judged_by(text, fashion):
    name, content = held(text, "text/csv")
    assert name == "fashion-overfit.csv"
    rows = list(csv.DictReader(io.StringIO(content)))
    last = [row for row in fashion.rows if row.epoch == 50]
    assert len(rows) == len(last) == 32
    for row, measured in zip(rows, last, strict=True):
        assert (row["arm"], int(row["seed"]), int(row["epoch"])) == (
            measured.arm,
            measured.seed,
            50,
        )
        assert {key: float(row[key]) for key in fashion.metrics} == pytest.approx(
            dict(measured.values), rel=1e-8
        )


def test_the_json_has_the_verdict_and_the_same_rows(text, fashion):
    name, content = held(text, "application/json")
    assert name == "fashion-overfit.json"
    document = json.loads(content)
    verdict = judge(fashion)
    assert document["digest"] == fashion.recipe.digest
    assert document["verdict"]["headline"] == verdict.headline
    found = document["verdict"]["arms"][3]["differences"]["val_loss"]
    assert found["low"] == pytest.approx(verdict.arm("input").differences["val_loss"].low, rel=1e-8)
    _, content = held(text, "text/csv")
    columns, *rows = csv.reader(io.StringIO(content))
    assert document["columns"] == columns
    assert [list(map(str, row)) for row in document["rows"]] == rows


def test_what_is_no_number_is_left_empty(fashion):
    rows = tuple(
        replace(row, values={**row.values, "val_ece": math.nan}) if row.seed == 3 else row
        for row in fashion.rows
    )
    page = render(result := replace(fashion, rows=rows), judge(result))
    empty = {
        row["seed"]
        for row in csv.DictReader(io.StringIO(held(page, "text/csv")[1]))
        if not row["val_ece"]
    }
    assert empty == {"3"}
    assert "NaN" not in held(page, "application/json")[1]


def test_the_contents_lead_to_every_section(text):
    contents = re.search(r'<ul class="contents">(.*?)</ul>', text)
    assert contents is not None
    links = re.findall(r'<a href="#(h-[a-z]+)">([^<]+)</a>', contents[1])
    headings = re.findall(r'<h2 id="(h-[a-z]+)">([^<]+)</h2>', text)
    assert links == headings
    assert len(links) >= 9


def test_the_words_of_the_page_are_explained(text):
    words = re.search(r'<dl class="glossary">(.*?)</dl>', text, re.DOTALL)
    assert words is not None
    terms = re.findall(r"<dt>(.*?)</dt><dd>(.+?)</dd>", words[1])
    assert {"arm", "site", "gap", "over all arms at once", "seed"} <= {term for term, _ in terms}
    assert all(len(said) > 20 for _, said in terms)
