"""The other views in a real browser, by keyboard, and shut to the outside."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect


def test_an_exercise_is_answered(open_page):
    page = open_page("/practice")
    page.get_by_role("link", name="What comes out in eval mode").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What comes out in eval mode")
    page.get_by_role("button", name="Show a hint").click()
    expect(page.locator(".hints li")).to_have_count(1)
    page.get_by_label("About 30 % zeros").check()
    page.get_by_role("button", name="Run all options").click()
    expect(page.get_by_role("heading", name="Not B: the run says C")).to_be_visible()
    page.get_by_label("Exactly the numbers of x").check()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("heading", name="Right: C")).to_be_visible()
    page.get_by_role("link", name="All exercises").click()
    expect(page.get_by_text("1 of 24 solved")).to_be_visible()


def test_the_masks_are_seen(open_page):
    page = open_page("/see")
    with page.expect_response(re.compile(r"/api/see\?")) as answer:
        page.get_by_role("button", name="Step", exact=True).click()
    assert answer.value.ok
    expect(page.get_by_role("row").filter(has_text="fc2")).to_be_visible()
    assert page.watched.complaints == []


def test_pasted_source_is_examined(open_page):
    page = open_page("/doctor")
    page.get_by_role("button", name="Examine").click()
    expect(page.get_by_text("Paste some source first")).to_be_visible()
    page.get_by_role("button", name="Try an example").click()
    expect(page.get_by_text("DRP", exact=False).first).to_be_visible()
    page.get_by_role("button", name=re.compile(r"line \d+")).first.click()
    area = page.get_by_label("Python source")
    expect(area).to_be_focused()
    assert area.evaluate("area => area.selectionEnd > area.selectionStart")
    area.fill("x = 1\n")
    area.press("Control+Enter")
    expect(page.get_by_text("Nothing found.", exact=True)).to_be_visible()


def test_a_run_is_started_by_keyboard_alone(open_page):
    page = open_page("/")
    expect(page.get_by_role("heading", name="Arms")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name=re.compile("^digits"))).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name=re.compile("^fashion-overfit"))).to_be_focused()
    expect(page).to_have_url(re.compile("recipe=fashion-overfit$"))
    page.keyboard.press("ArrowLeft")
    for key, value in (("Seeds", "2"), ("Epochs", "1")):
        _tab_to(page, key)
        page.keyboard.type(value)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/runs/digits-"))
    title = page.get_by_role("heading", level=1)
    expect(title).to_be_focused()
    expect(title).to_have_text("No verdict yet")
    expect(page.get_by_text("After epoch 1 of 1, mean over the seeds")).to_be_visible()
    expect(page.get_by_label("Look at epoch")).to_be_hidden()  # there is no other


def _tab_to(page, label):
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.labels?.[0]?.textContent ?? ''")
        if focused == label:
            return
    raise AssertionError(f"{label} is not reached by Tab")


def test_back_and_forward_lead_through_the_views(open_page):
    page = open_page("/")
    page.get_by_role("link", name="Doctor").click()
    page.get_by_role("link", name="Sweep").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page).to_have_title("Sweep · droplab")
    page.go_back()
    expect(page).to_have_title("Doctor · droplab")
    expect(page.locator("nav [aria-current]")).to_have_text("Doctor")
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Which rate?")


def test_an_injected_foreign_script_is_blocked(open_page):
    page = open_page("/")
    asked = []
    page.route("https://elsewhere.example/**", lambda route: (asked.append(1), route.abort()))
    blocked = page.evaluate(
        """() => new Promise((resolve) => {
            const seen = [];
            document.addEventListener("securitypolicyviolation",
                (event) => seen.push(event.effectiveDirective));
            const inline = document.createElement("script");
            inline.textContent = "window.injected = true";
            const foreign = document.createElement("script");
            foreign.src = "https://elsewhere.example/x.js";
            // It fails, blocked or not; what was blocked has been told by then.
            foreign.addEventListener("error", () => setTimeout(() => resolve(seen)));
            document.head.append(inline, foreign);
        })"""
    )
    assert blocked == ["script-src-elem", "script-src-elem"]
    assert page.evaluate("window.injected") is None
    assert not asked
    page.watched.requests.remove("https://elsewhere.example/x.js")  # it was tried, and blocked


def test_a_lab_that_is_gone_is_told(open_page):
    page = open_page("/doctor")
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_role("button", name="Try an example").click()
    expect(page.get_by_role("alert")).to_contain_text("The lab does not answer.")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name=re.compile("finding"))).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/sweep", "/see", "/practice?exercise=3", "/runs", None])
def test_nothing_fails_that_is_used_before_the_data_are_there(path, open_page, made_run):
    """Answers come one by one, and between them everything in sight is used."""
    held = []
    page = open_page("/none")

    def hold(route):
        # Nothing is started by it.
        held.append(route) if route.request.method == "GET" else route.abort()

    page.route("**/api/**", hold)
    path = path or f"/runs/{made_run('used-early')}"
    page.goto(page.url.replace("/none", path))
    page.watched.complaints.clear()
    answered = 0
    for _ in range(6):
        page.wait_for_timeout(100)
        for used in page.locator("main").locator("button, select, input, textarea").all():
            box = used.bounding_box()
            if box is not None:
                page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                page.keyboard.press("ArrowRight")
        if answered < len(held):
            held[answered].continue_()
            answered += 1
    assert answered
    assert not [each for each in page.watched.complaints if "net::ERR_FAILED" not in each]
