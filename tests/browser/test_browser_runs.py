"""Runs in a real browser: to the verdict, stopped and resumed, reloaded, compared."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from droplab.recipe import TASKS, Measure

GET = "async (path) => (await fetch(path)).json()"


def test_an_experiment_runs_to_its_verdict(open_page):
    page = open_page("/")
    page.get_by_label("Seeds", exact=True).fill("2")
    page.get_by_label("Epochs", exact=True).fill("3")
    page.get_by_role("button", name="Remove arm input").click()
    first = page.get_by_role("group", name="Arm 2")
    first.get_by_role("slider", name=re.compile("fc2")).fill("0.4")
    expect(first.get_by_label("Name of the arm")).to_have_value("0-0.4-0.3")
    expect(page.get_by_text("3 arms × 2 seeds × 3 epochs = 6 networks to train")).to_be_visible()

    page.get_by_role("button", name="Run", exact=True).click()

    expect(page).to_have_url(re.compile(r"/runs/digits-[0-9a-f]+$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("No verdict yet")
    table = page.get_by_role("region", name="Table of arms")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(table.get_by_text("After epoch 3 of 3")).to_be_visible()
    expect(page.get_by_role("region", name="Table of the verdict")).to_contain_text("0-0.4-0.3")
    expect(page.locator("pre")).to_contain_text("nn.Dropout(p=0.")
    assert page.locator(".plot canvas").count() == 2
    # What the page shows is what the run has measured.
    id = page.url.rsplit("/", 1)[1]
    snapshot = page.evaluate(GET, f"/api/runs/{id}")
    loss = snapshot["curves"]["none"]["val_loss"][-1]
    expect(table.get_by_role("row").nth(1)).to_contain_text(f"{loss:.2f}")
    # The report is made by the same server, and nothing in the page went wrong.
    page.get_by_role("link", name="Open the report").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("No verdict yet")
    # And its models predict by many passes.
    page.go_back()
    arm = page.get_by_label("Arm", exact=True)
    expect(arm.get_by_role("option")).to_have_text(["0-0.4-0.3", "0.5"])
    arm.select_option("0.5")
    page.get_by_role("button", name="Predict with many passes").click()
    expect(page).to_have_url(re.compile(rf"/runs/{id}/uncertainty\?arm=0\.5$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("50 passes with dropout")
    expect(page.get_by_text("Models of arm '0.5', 600 validation examples")).to_be_visible()
    assert page.locator("svg").count() >= 3
    assert page.watched.complaints == []


def test_a_sweep_draws_the_curve_of_its_rates(open_page):
    page = open_page("/sweep")
    page.get_by_label("To", exact=True).fill("0.6")
    page.get_by_label("Step").fill("0.3")
    page.get_by_label("Seeds", exact=True).fill("2")
    page.get_by_label("Epochs", exact=True).fill("2")
    page.get_by_role("button", name="Run", exact=True).click()
    curve = page.get_by_role("region", name="Rate curve")
    expect(curve).to_contain_text("After epoch 2, validation loss is lowest")
    page.get_by_label("Look at epoch").fill("1")
    expect(curve).to_contain_text("After epoch 1, validation loss is lowest")
    page.get_by_role("radio", name="Accuracy").check()
    expect(curve).to_contain_text("After epoch 1, validation accuracy is highest")
    assert page.watched.complaints == []


def test_a_run_is_found_again_after_a_reload_stopped_and_resumed(open_page, train):
    page = open_page("/runs")
    # One seed: with more, a mean changes as replicas that are trained one after another arrive.
    order = {"arms": [{"name": "0.5", "rates": {"fc2": 0.5}}], "seeds": 1, "epochs": 150}
    id = train(page, **order)
    page.goto(page.url + f"/{id}")
    expect(page.get_by_text(re.compile(r"After epoch \d+ of 150"))).to_be_visible()

    page.reload()

    expect(page.get_by_role("heading", level=1)).to_have_text("Training")
    expect(page.get_by_text(re.compile(r"After epoch \d+ of 150"))).to_be_visible()

    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Stopped")
    before = page.evaluate(GET, f"/api/runs/{id}")["curves"]
    assert any(before["none"]["val_loss"])
    assert None in [*before["0.5"]["val_loss"], None][:150]

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("No verdict yet")
    after = page.evaluate(GET, f"/api/runs/{id}")["curves"]
    for arm in ("none", "0.5"):
        losses = after[arm]["val_loss"]
        assert len(losses) == 150
        assert None not in losses
        measured = [loss for loss in before[arm]["val_loss"] if loss is not None]
        assert losses[: len(measured)] == measured
    expect(page.get_by_text("After epoch 150 of 150")).to_be_visible()


def test_runs_are_listed_and_compared(open_page, made_run):
    first, second = made_run("compared-one"), made_run("compared-two", epochs=5)
    page = open_page("/runs")
    page.get_by_label(f"Compare {first}").check()
    page.get_by_label(f"Compare {second}").check()
    table = page.get_by_role("region", name="Table of the compared arms")
    expect(table.get_by_role("row")).to_have_count(7)
    assert page.url.endswith(f"compare={first},{second}")
    page.reload()
    expect(table.get_by_role("row")).to_have_count(7)
    with page.expect_download() as download:
        page.locator(f"[data-id={first}]").get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".html")


def test_a_damaged_run_says_what_is_wrong(open_page, made_run, lab):
    id = made_run("damaged-one")
    page = open_page(f"/runs/{id}")
    expect(page.get_by_text("After epoch 8 of 8")).to_be_visible()
    (lab.runs / id / "run.sqlite").write_bytes(b"no database at all" * 500)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("This run cannot be shown")
    expect(page.get_by_role("alert")).to_contain_text("damaged or foreign file")
    expect(page.get_by_text("Trying again")).to_have_count(0)
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_text("1 folder could not be read")).to_be_visible()


def test_what_is_not_there_says_so(open_page):
    page = open_page("/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing here")
    page = open_page("/runs/nothing-here")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such run")


def test_a_run_is_shown_with_its_own_metrics(open_page, made_run):
    rmse = Measure("rmse", "RMSE", higher_is_better=False, unit="", train=True)
    wobble = Measure("wobble", "mean wobble", higher_is_better=True, unit="%")
    loss, *_ = TASKS["classification"]
    run = made_run("regression", seeds=8, measures=(loss, rmse, wobble))
    page = open_page(f"/runs/{run}")
    table = page.get_by_role("region", name="Table of the verdict")
    expect(table).to_contain_text("validation RMSE")
    expect(table).to_contain_text("mean wobble")
    choice = page.get_by_role("group", name="Metric")
    for name in ("Loss", "RMSE", "Mean wobble", "Gap"):
        choice.get_by_role("radio", name=name, exact=True).check()
    expect(page.get_by_role("main")).to_contain_text("validation less training RMSE")
    page.goto(page.url.partition("/runs/")[0] + f"/runs?compare={run},{made_run('classifier')}")
    expect(choice.get_by_role("radio")).to_have_count(2)  # what both have: loss and gap
    page.goto(page.url.partition("/runs")[0] + f"/runs?compare={run}")
    choice.get_by_role("radio", name="RMSE", exact=True).check()
    compared = page.get_by_role("region", name="Table of the compared arms")
    expect(compared).to_contain_text("validation RMSE")
    expect(compared).not_to_contain_text("accuracy")
