"""The report in a real browser: accessible, light and dark, narrow, and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from droplab import studies
from droplab.recipe import load, override
from droplab.report import render
from droplab.verdict import judge

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, ViewportSize


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of a sweep of ten arms, with every section that a report can have."""
    place = tmp_path_factory.mktemp("report")
    recipe = override(
        load("digits"), {"epochs": 2, "seeds": [0, 1], "target.val_accuracy": ">= 0.9"}
    )
    rates = [p / 10 for p in range(1, 10)]
    result = studies.run(studies.sweep_recipe(recipe, rates), place / "run")
    page = place / "report.html"
    page.write_text(render(result, judge(result)), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def readers(browser) -> Iterator[dict[bool, BrowserContext]]:
    """Readers by whether the report's own policy is not kept, which would not let in axe."""
    contexts = {bypassed: browser.new_context(bypass_csp=bypassed) for bypassed in (False, True)}
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.fixture
def opened(readers, report) -> Iterator[Callable[..., Page]]:
    """Open the report in a page of its own."""
    pages = []

    def open_one(*, bypass_csp: bool = True, viewport: ViewportSize | None = None) -> Page:
        page = readers[bypass_csp].new_page()
        pages.append(page)
        if viewport:
            page.set_viewport_size(viewport)
        page.goto(report.as_uri())
        return page

    yield open_one
    for page in pages:
        page.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing(opened, width):
    size = {"width": width, "height": 800}
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(viewport=size)
    colours = ["color-contrast", "link-in-text-block"]  # all that is other in dark
    for scheme, options in (("light", {}), ("dark", {"runOnly": colours})):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page, options=options).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], scheme
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("link", "suffix"), [("numbers as CSV", "csv"), ("as JSON", "json")])
def test_its_numbers_can_be_saved(opened, tmp_path, link, suffix):
    """Also under the page's own policy."""
    page = opened(bypass_csp=False)
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    assert download.value.suggested_filename == f"digits-sweep.{suffix}"
    download.value.save_as(tmp_path / "file")
    assert "val_loss" in (tmp_path / "file").read_text(encoding="utf-8")


def test_the_first_screen_has_the_verdict_and_the_differences(opened):
    page = opened(viewport={"width": 1280, "height": 800})
    for part in ("h1", "table", "table tbody tr:first-child"):
        box = page.locator(part).first.bounding_box()
        assert box is not None
        assert box["y"] + min(box["height"], 60) < 800
    assert "paired by seed" in page.locator("table caption").first.inner_text()


def test_it_makes_no_request_and_its_text_can_be_selected(opened, report):
    page = opened(bypass_csp=False)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    assert asked == [report.as_uri()]
    page.locator("svg text").first.select_text()
    assert page.evaluate("getSelection().toString()").strip()


def test_on_paper_only_small_tables_stay_whole(opened):
    """A table of ten arms that may not break leaves half of a page empty before it."""
    page = opened()
    page.emulate_media(media="print")
    found = page.locator(".scroll").evaluate_all(
        "all => all.map(each => [each.querySelectorAll('tbody tr').length, "
        "getComputedStyle(each).breakInside])"
    )
    assert max(rows for rows, _ in found) >= 9
    assert min(rows for rows, _ in found) < 6
    assert all(how == ("avoid" if rows < 6 else "auto") for rows, how in found)


def test_it_prints_on_a4(opened):
    paper = opened().pdf(prefer_css_page_size=True)
    sizes = set(re.findall(rb"/MediaBox \[([^\]]*)\]", paper))
    assert len(sizes) == 1
    width, height = (float(number) for number in sizes.pop().split()[2:])
    assert abs(width - 595.3) < 1
    assert abs(height - 841.9) < 1
    assert len(re.findall(rb"/Type /Page\b", paper)) <= 12


def test_nothing_is_cut_off_on_paper(opened):
    page = opened(viewport={"width": 688, "height": 1000})
    page.emulate_media(media="print")
    wide = page.evaluate(
        "[...document.querySelectorAll('table, svg, pre, dl, p')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
    )
    assert [html[:80] for html in wide] == []
