"""What several tests of studies need: a run that is cut short, and a small table of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from droplab.recipe import Recipe, loads, override
from droplab.results import EpochRow
from droplab.studies import Observer

_RECIPE = """
name = "people"
epochs = 3
batch_size = 32

[data]
path = "people.csv"
target = "TARGET"
ignore = ["OTHER"]

[model]
path = "tabular"
hidden = [16, 8]

[optimizer]
name = "Adam"
lr = 0.01

[[arms]]
name = "none"

[[arms]]
name = "half"
rates = { fc2 = 0.5, fc3 = 0.5 }
"""


class Stop(Observer):
    """Interrupts a run after some rows, as Ctrl-C does."""

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows

    def epoch_done(self, row: EpochRow) -> None:
        self.rows -= 1
        if not self.rows:
            raise KeyboardInterrupt


def write_people(folder: Path, count: int = 250) -> None:
    """Write people.csv: numbers with gaps, names, one of which is rare, and what they make."""
    rng = np.random.default_rng(1)
    age, city = rng.normal(40, 10, count), rng.choice(["Lima", "Oslo", "Rome"], count)
    price = 100 * age + np.where(city == "Oslo", 2000, 0) + rng.normal(0, 300, count)
    grade = np.where(price > 4700, "dear", "cheap")
    city[5] = "Kyiv"
    age[::9] = np.nan
    frame = pd.DataFrame({"age": age, "city": city, "price": price, "grade": grade})
    frame.to_csv(folder / "people.csv", index=False)


def people_recipe(target: str = "price", **changes: Any) -> Recipe:
    """Return a recipe that learns the price, or the grade, of people.csv."""
    other = {"price": "grade", "grade": "price"}.get(target, "")
    text = _RECIPE.replace("TARGET", target).replace('"OTHER"', f'"{other}"' if other else "")
    return override(loads(text), {"seeds": [0, 1], **changes})
