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


def test_the_first_paint_waits_for_no_numbers(open_page):
    """They may take a while: they are read from the disk, and torch from packages."""
    page = open_page("/")
    asked = []
    page.route("**/api/**", lambda route: asked.append(route))  # and gets no answer
    with page.expect_request("**/api/**"):
        page.reload()
    page.evaluate(
        """() => new Promise((resolve) => new PerformanceObserver((list) => {
            for (const entry of list.getEntries())
                if (entry.name === "first-contentful-paint") resolve(entry.startTime);
        }).observe({type: "paint", buffered: true}))"""
    )
    expect(page.get_by_role("navigation").get_by_role("link", name="Doctor")).to_be_visible()
    for route in asked:
        route.continue_()
    page.unroute("**/api/**")


ARMS = EPOCHS = 100


def test_many_arms_over_many_epochs_cost_a_frame_no_more_than_their_lines(open_page, made_run):
    """The server sends new points five times a second; how long a frame takes is the machine's."""
    id = made_run("hundred", arms=ARMS, epochs=EPOCHS, seeds=2)
    page = open_page(f"/runs/{id}")
    table = page.get_by_role("region", name="Table of arms")
    expect(table.get_by_role("row")).to_have_count(ARMS + 1)
    frames = page.evaluate(
        """async (id) => {
            const snapshot = await (await fetch(`/api/runs/${id}`)).json();
            const {curvesPanel} = await import("/static/curves.js");
            const panel = curvesPanel("experiment");
            document.querySelector("main").prepend(panel.element);
            let counts = {};
            const count = (owner, name, to) => {
                const own = owner.prototype[name];
                owner.prototype[name] = function (...all) {
                    counts[to] += 1;
                    return own.apply(this, all);
                };
            };
            count(CanvasRenderingContext2D, "clearRect", "charts");
            count(CanvasRenderingContext2D, "stroke", "strokes");
            count(CanvasRenderingContext2D, "fill", "fills");
            for (const owner of [CanvasRenderingContext2D, Path2D])
                for (const name of ["lineTo", "rect", "arc", "bezierCurveTo"])
                    count(owner, name, "points");
            const built = new MutationObserver((changes) => changes.forEach((change) => {
                for (const node of change.addedNodes)
                    counts.elements += node.nodeType === Node.ELEMENT_NODE ? 1 : 0;
            }));
            built.observe(panel.element, {childList: true, subtree: true});
            const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
            const frames = [];
            for (let epoch = 90; epoch < 100; epoch += 1) {
                for (const arm of snapshot.arms) {
                    const now = {};
                    for (const [name, curve] of Object.entries(snapshot.curves[arm]))
                        now[name] = curve.slice(0, epoch);
                    snapshot.live ??= {};
                    snapshot.live[arm] = now;
                }
                counts = {charts: 0, strokes: 0, fills: 0, points: 0, elements: 0};
                // More often than frames: it must be drawn once for all of them.
                for (let i = 0; i < 5; i += 1)
                    panel.show({...snapshot, curves: snapshot.live});
                for (let i = 0; i < 4; i += 1)
                    await frame();
                frames.push(counts);
            }
            panel.destroy();
            return frames;
        }""",
        id,
    )
    for counts in frames[1:]:  # the first builds charts and table
        assert counts["charts"] == 2  # both once, however much has come
        assert 2 * ARMS <= counts["strokes"] <= 2 * (ARMS + 10)  # and axes
        assert counts["fills"] <= 10
        assert counts["points"] <= 2 * (ARMS * EPOCHS + 250)
        assert counts["elements"] == 0  # what is there is kept
