"""Every view to a screen reader, in light and dark, on a phone, and with very many arms."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

VIEWS = {
    "/experiment": "Arms",
    "/sweep": "Where",
    "/see": "What a layer puts out, over many masks",
    "/doctor": "Is dropout used right?",
    "/practice": "First steps",
    "/practice?exercise=10": "Dropping hidden units",
    "/runs": "Runs",
}
PHONE = {"width": 360, "height": 740}
COLOURS = ["color-contrast", "link-in-text-block"]
"""Rules of axe that look at colours."""
MOST_FIRST_PAINT = 500
MOST_FRAME = 200
"""Milliseconds between two frames in the median, without a graphics card and on a busy machine.

The server sends new points five times a second. On two quiet cores it is about 33.
"""


def opened(open_page, path, title, **kwargs):
    page = open_page(path, **kwargs)
    expect(page.get_by_role("heading", name=title, exact=True).first).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)
    return page


def problems(page):
    """What axe finds in light, and of colours in dark, where nothing else is another."""
    found = []
    for scheme, options in (("light", {}), ("dark", {"runOnly": COLOURS})):
        page.emulate_media(color_scheme=scheme)
        found += [
            (scheme, item["id"], [node["html"][:120] for node in item["nodes"][:3]])
            for item in Axe().run(page, options=options).response["violations"]
        ]
    return found


@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_nothing_and_a_phone_needs_no_horizontal_scroll(open_page, path):
    page = opened(open_page, path, VIEWS[path])
    assert problems(page) == []
    page.set_viewport_size(PHONE)
    page.reload()
    expect(page.get_by_role("heading", name=VIEWS[path], exact=True).first).to_be_visible()
    expect(page.locator(".loading")).to_have_count(0)
    assert wider(page) == []
    assert page.watched.complaints == []


def test_axe_finds_nothing_in_what_has_come_out(open_page, made_run_once):
    page = opened(open_page, f"/runs/{made_run_once}", "Verdict")
    assert problems(page) == []
    page = opened(open_page, f"/runs?compare={made_run_once}", "Side by side")
    expect(page.get_by_role("region", name="Table of the compared arms")).to_be_visible()
    assert problems(page) == []
    page = open_page("/doctor")
    page.get_by_role("button", name="Try an example").click()
    expect(page.locator(".finding").first).to_be_visible()
    assert problems(page) == []
    page = opened(open_page, "/practice?exercise=3", "What comes out in eval mode")
    page.get_by_label("Exactly the numbers of x").check()
    page.get_by_role("button", name="Run all options").click()
    expect(page.get_by_role("heading", name="Right: C")).to_be_visible()
    assert problems(page) == []


@pytest.fixture(scope="module")
def made_run_once(made_run):
    return made_run("looked-at")


def test_a_phone_shows_a_run(open_page, made_run_once):
    page = opened(open_page, f"/runs/{made_run_once}", "Verdict", **PHONE)
    expect(page.locator(".plot canvas")).to_have_count(2)
    assert wider(page) == []


def wider(page):
    """Return how far the page can be scrolled sideways, if it can."""
    over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [over] if over > 0 else []


def test_the_first_paint_comes_at_once(open_page):
    open_page("/").close()
    times = []
    for _ in range(3):
        page = open_page("/")
        times.append(
            page.evaluate(
                """() => new Promise((resolve) => new PerformanceObserver((list) => {
                    for (const entry of list.getEntries())
                        if (entry.name === "first-contentful-paint") resolve(entry.startTime);
                }).observe({type: "paint", buffered: true}))"""
            )
        )
        page.close()
    assert min(times) < MOST_FIRST_PAINT


def test_a_hundred_arms_over_a_hundred_epochs_stay_smooth(open_page, made_run):
    id = made_run("hundred", arms=100, epochs=100, seeds=2)
    page = open_page(f"/runs/{id}")
    table = page.get_by_role("region", name="Table of arms")
    expect(table.get_by_role("row")).to_have_count(101)
    frames, drawings = page.evaluate(
        """async (id) => {
            const snapshot = await (await fetch(`/api/runs/${id}`)).json();
            const {curvesPanel} = await import("/static/curves.js");
            const panel = curvesPanel("experiment");
            document.querySelector("main").prepend(panel.element);
            const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
            const times = [];
            let drawn = 0;
            const clear = CanvasRenderingContext2D.prototype.clearRect;
            CanvasRenderingContext2D.prototype.clearRect = function (...all) {
                drawn += 1;
                return clear.apply(this, all);
            };
            const drawings = [];
            for (let epoch = 70; epoch < 100; epoch += 1) {
                for (const arm of snapshot.arms) {
                    const now = {};
                    for (const [name, curve] of Object.entries(snapshot.curves[arm]))
                        now[name] = curve.slice(0, epoch);
                    snapshot.live ??= {};
                    snapshot.live[arm] = now;
                }
                // More often than frames: it must be drawn once for all of them.
                for (let i = 0; i < 5; i += 1)
                    panel.show({...snapshot, curves: snapshot.live});
                drawn = 0;
                times.push(await frame());
                await Promise.resolve();
                drawings.push(drawn);
            }
            panel.destroy();
            return [times.slice(1).map((time, index) => time - times[index]), drawings];
        }""",
        id,
    )
    frames.sort()
    assert frames[len(frames) // 2] < MOST_FRAME, frames
    assert sum(drawings) > 0
    assert max(drawings) <= 2, drawings  # both charts once, however much has come
