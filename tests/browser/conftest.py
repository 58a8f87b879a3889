"""The lab in a real browser: a server of its own, and Chromium with every request noted."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from droplab.recipe import METRICS, TASKS, Arm, _metrics, dumps, load
from droplab.results import EpochRow, RunStore

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
WAIT = 120_000
"""Milliseconds that a page may take on a slow and busy machine."""


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window; a machine without one skips, unless it is required."""
    if CHROMIUM is None:
        if os.environ.get("DROPLAB_BROWSER") == "required":
            pytest.fail("DROPLAB_BROWSER=required, and there is no 'chromium' on the path")
        pytest.skip("there is no 'chromium' on the path")
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=WAIT)
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield found
        found.close()


class Lab:
    """A running `droplab lab`."""

    def __init__(self, process: subprocess.Popen[str], address: str, runs: Path) -> None:
        self.process = process
        self.address = address
        self.runs = runs

    def url(self, path: str) -> str:
        return self.address + path


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A lab on a free port, over a folder of runs of its own."""
    folder = tmp_path_factory.mktemp("lab")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "droplab", "lab", "--port", "0", "--no-open"),
            *("--runs", str(folder / "runs")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**ENVIRONMENT, "DROPLAB_PROGRESS": str(folder / "practice.json")},
    )
    assert process.stdout is not None
    lines = []
    address = None
    for line in process.stdout:
        lines.append(line)
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            address = found[0]
            break
    assert address, "".join(lines)
    yield Lab(process, address, folder / "runs")
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


class Watched:
    """What a page asked for, and what it complained about."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []


@pytest.fixture(scope="session")
def visitor(browser):
    """Whoever opens the lab's pages, which keep nothing: a new one takes as long as a page."""
    context = browser.new_context(
        color_scheme="light", reduced_motion="reduce", service_workers="block"
    )
    context.set_default_timeout(WAIT)
    yield context
    assert context.storage_state() == {"cookies": [], "origins": []}
    context.close()


@pytest.fixture
def open_page(visitor, lab):
    """Open an address of the lab in a page of its own; return the page, watched.

    Whatever a test does, no request of its pages leaves the machine.
    """
    pages, watched = [], []

    def open_one(path="/", *, width=1280, height=860):
        page = visitor.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.watched = Watched()
        watched.append(page.watched)
        page.on("request", lambda request: page.watched.requests.append(request.url))
        page.on("pageerror", lambda error: page.watched.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                page.watched.complaints.append(message.text) if message.type == "error" else None
            ),
        )
        page.goto(lab.url(path))
        return page

    yield open_one
    for page in pages:
        page.close()
    home = (lab.address + "/", "data:", "blob:")
    for each in watched:
        assert each.requests
        assert not [url for url in each.requests if not url.startswith(home)]


@pytest.fixture
def train(lab):
    """Start a run as the page does, and return its id; the page then follows it."""

    def start(page, **order):
        return page.evaluate(
            """async (order) => {
                const answer = await fetch("/api/runs", {method: "POST",
                    headers: {"Content-Type": "application/json"}, body: JSON.stringify(order)});
                const found = await answer.json();
                if (!answer.ok) throw new Error(found.error);
                return found.id;
            }""",
            {"kind": "experiment", "recipe": "digits", **order},
        )

    return start


@pytest.fixture(scope="session")
def made_run(lab):
    """Write a finished run with made-up rows into the lab's folder, and return its id."""

    def make(name, *, arms=3, epochs=8, seeds=2, measures=TASKS["classification"]):
        rates = [round(0.9 * place / arms, 3) for place in range(arms)]
        recipe = dataclasses.replace(
            load("digits"),
            seeds=tuple(range(seeds)),
            epochs=epochs,
            arms=tuple(Arm(f"{p:g}" if p else "none", {"fc2": p} if p else {}) for p in rates),
        )
        draw = np.random.default_rng(0)
        members = [(arm.name, seed) for arm in recipe.arms for seed in recipe.seeds]
        folder = lab.runs / name
        metrics = _metrics.metrics_of(measures)
        with RunStore.create(
            folder,
            dumps(recipe),
            recipe.digest,
            {},
            members,
            metrics=metrics.values(),
            test_metrics=_metrics.test_metrics_of(measures).values(),
        ) as store:
            for epoch in range(1, epochs + 1):
                store.commit_epochs(
                    [
                        EpochRow(
                            _made_up(metrics, place // seeds / arms, epoch, draw),
                            arm,
                            seed,
                            epoch,
                            0.01,
                        )
                        for place, (arm, seed) in enumerate(members)
                    ]
                )
            for arm, seed in members:
                store.set_member_state(arm, seed, "done")
        return name

    return make


def _made_up(metrics, p, epoch, draw):
    loss = 2 * np.exp(-epoch / 6) + 0.3 * (p - 0.3) ** 2 + 0.01 * draw.standard_normal() + 0.1
    accuracy = float(np.exp(-loss))
    train = min(1.0, 1.1 * accuracy)
    values = (loss, accuracy, 0.8 * loss, train, loss, accuracy, 0.1, train - accuracy)
    known = dict(zip(METRICS, values, strict=True))
    return {name: known.get(name, loss) for name in metrics}
