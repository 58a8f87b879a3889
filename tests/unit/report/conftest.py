from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from droplab.recipe import METRICS, Arm, Recipe, load
from droplab.results import EpochRow, Member, RunResult, TestRow, environment

# arm -> (final validation loss, its minimum, validation accuracy, training loss in eval mode,
#         running training accuracy, calibration error), as measured on Fashion-MNIST
SHAPES = {
    "none": (0.82, 0.452, 0.836, 0.040, 0.986, 0.118),
    "0.3-0.3": (0.58, 0.445, 0.845, 0.105, 0.944, 0.076),
    "0.5-0.2": (0.55, 0.440, 0.847, 0.120, 0.935, 0.070),
    "input": (0.48, 0.432, 0.848, 0.170, 0.912, 0.052),
}


def member(arm: str, seed: int, epochs: int, shape: Sequence[float]) -> list[EpochRow]:
    last, lowest, right, train, running, ece = shape
    noise = np.random.default_rng([seed, 7])
    own = np.random.default_rng([seed, *arm.encode()])
    shift = noise.normal(0, 0.004)
    t = np.linspace(0, 1, epochs)
    rise = (last - lowest + own.normal(0, 0.012)) * np.maximum(t - 0.12, 0) ** 1.25 / 0.88**1.25
    val_loss = lowest + shift + 0.32 * np.exp(-t * 28) + rise + own.normal(0, 0.006, epochs)
    val_acc = right + shift / 2 - 0.13 * np.exp(-t * 16) + own.normal(0, 0.0016, epochs)
    train_loss = train + 0.62 * np.exp(-t * 5.2) + own.normal(0, 0.004, epochs)
    train_acc = 1 - (1 - running) * 0.55 - 0.22 * np.exp(-t * 5.5) + own.normal(0, 0.002, epochs)
    run_acc = running - 0.25 * np.exp(-t * 5.8) + own.normal(0, 0.0015, epochs)
    run_loss = train * (1.15 if arm == "none" else 2.0) + 0.75 * np.exp(-t * 5.5)
    val_ece = ece * (0.22 + 0.78 * t**0.8) + own.normal(0, 0.002, epochs)
    columns = (run_loss, run_acc, np.maximum(train_loss, 0.01), np.minimum(train_acc, 1.0))
    columns += (val_loss, val_acc, val_ece, columns[3] - val_acc)
    return [
        EpochRow(
            dict(zip(METRICS, (float(c[e]) for c in columns), strict=True)), arm, seed, e + 1, 0.19
        )
        for e in range(epochs)
    ]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunResult]:
    def make(recipe: Recipe, shapes: dict[str, Sequence[float]]) -> RunResult:
        pairs = [(arm, seed) for arm in shapes for seed in recipe.seeds]
        rows = [r for a, s in pairs for r in member(a, s, recipe.epochs, shapes[a])]
        return RunResult(
            path=Path("run"),
            recipe=recipe,
            environment={**environment(), "threads": 2},
            rows=tuple(rows),
            members=tuple(Member(arm, seed, "done", recipe.epochs) for arm, seed in pairs),
            notes={
                "data": json.dumps(
                    {"train": 6000, "validation": 10000, "test": 10000, "checksum": "sha256:12ab"}
                ),
                "model": json.dumps({"parameters": 235146, "text": "MLP(...)"}),
            },
            plan={"threads": 2, "matmul": "medium"},
            created="2026-01-31T12:00:00+00:00",
        )

    return make


@pytest.fixture(scope="session")
def fashion(make_run) -> RunResult:
    """Four arms, eight seeds, fifty epochs, with a test split and a patch."""
    result = make_run(load("fashion-overfit"), SHAPES)
    rng = np.random.default_rng(3)
    tests = tuple(
        TestRow(
            {
                "loss": SHAPES[arm][0] + 0.02 + rng.normal(0, 0.01),
                "accuracy": right,
                "ece": SHAPES[arm][5],
            },
            arm,
            seed,
        )
        for arm in ("none", "input")
        for seed in range(8)
        for right in (SHAPES[arm][2] - 0.006 + float(rng.normal(0, 0.002)),)
    )
    patch = (
        "--- a/net.py\n+++ b/net.py\n@@ -8,6 +8,7 @@\n         self.fc1 = nn.Linear(784, 256)\n"
        "-        x = F.relu(self.fc1(x))\n+        x = self.drop(F.relu(self.fc1(x)))\n"
    )
    return replace(
        result,
        tests=tests,
        notes={**result.notes, "command": "droplab run fashion-overfit", "patch": patch},
    )


@pytest.fixture(scope="session")
def sweep(make_run) -> RunResult:
    """Nine common rates, four seeds: the arms form a rate curve."""
    rates = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    arms = tuple(Arm(f"{p:g}", {"fc2": p, "fc3": p} if p else {}) for p in rates)
    shapes = {
        arm.name: (
            0.82 - 0.9 * p + 0.95 * p**2,
            0.45 + 0.1 * p**3,
            0.836 + 0.045 * p - 0.07 * p**2,
            0.04 + 0.5 * p**2,
            0.986 - 0.2 * p,
            0.118 * (1 - p),
        )
        for arm, p in zip(arms, rates, strict=True)
    }
    recipe = replace(
        load("fashion-overfit"), name="rates", arms=arms, seeds=tuple(range(8)), target=None
    )
    return make_run(recipe, shapes)


@pytest.fixture(scope="session")
def grid(make_run) -> RunResult:
    """A grid of three rates at each of two sites, three seeds."""
    arms, shapes = [], {}
    for a in (0.0, 0.2, 0.4):
        for b in (0.0, 0.25, 0.5):
            name = f"{a:g}-{b:g}"
            arms.append(Arm(name, {k: v for k, v in (("fc2", a), ("fc3", b)) if v}))
            loss = 0.82 - 0.5 * a - 0.4 * b + 0.9 * a * b
            shapes[name] = (loss, 0.44, 0.836 + 0.02 * (a + b), 0.05 + 0.1 * a, 0.97, 0.1)
    recipe = replace(
        load("fashion-overfit"), name="grid", arms=tuple(arms), seeds=(0, 1, 2), epochs=12
    )
    return make_run(recipe, shapes)
