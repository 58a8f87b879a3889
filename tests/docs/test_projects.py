"""The page of projects: each recipe is short, and runs on data of its kind."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from droplab import data, results
from droplab.cli import group
from droplab.errors import DataError

load = data.load
PAGE = (Path(__file__).parents[2] / "docs" / "projects.md").read_text(encoding="utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"## (.+?)\n(.*?)(?=\n## |\Z)", PAGE, re.S))
RNG = np.random.default_rng(0)
RECIPE_LINES, PYTHON_LINES = 15, 10


def churn(folder: Path) -> None:
    rows = [
        f"{i},{'abc'[i % 3]},{RNG.normal() + (i % 7 == 0):.3f},{'yes' if i % 7 == 0 else 'no'}"
        for i in range(200)
    ]
    (folder / "churn.csv").write_text("\n".join(["customer,plan,use,left", *rows]))


def houses(folder: Path) -> None:
    rows = [
        f"{RNG.integers(30, 200)},{['Hill', 'Sea', 'Park'][i % 3]},2025-{1 + i % 12:02d}-15,"
        f"{RNG.normal(300, 40):.1f}"
        for i in range(200)
    ]
    (folder / "houses.csv").write_text("\n".join(["size,street,sold,price", *rows]))


def patients(folder: Path) -> None:
    rows = [f"{x:.3f},{'ill' if x + RNG.normal() > 0 else 'well'}" for x in RNG.normal(size=300)]
    (folder / "patients.csv").write_text("\n".join(["marker,outcome", *rows]))


def usable_torchvision() -> None:
    """Import torchvision, whose wheel may be made for another build of torch than this one.

    Then its own operations in C++ are missing, which none of this needs; declared, they are not
    missed.
    """
    for _ in range(10):
        try:
            import torchvision  # noqa: F401 # for what follows it
        except ImportError:
            pytest.skip("torchvision is not installed")
        except RuntimeError as error:
            missing = re.fullmatch(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{missing[1]}(Tensor boxes, Tensor scores, float least) -> Tensor")
            LIBRARIES.append(library)
        else:
            return


LIBRARIES: list[torch.library.Library] = []
"""What was declared holds as long as these live."""


def pets(folder: Path) -> None:
    usable_torchvision()
    from PIL import Image

    for part, count in (("train", 48), ("validation", 16)):
        for i in range(count):
            name = folder / "pets" / part / ("cats" if i % 2 else "dogs") / f"{i}.png"
            name.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(name)


def texts(folder: Path) -> None:
    lengths = RNG.integers(3, 12, 180)
    found = {
        "tokens": [RNG.integers(1, 50, n).tolist() for n in lengths],
        "tags": torch.from_numpy(RNG.integers(0, 2, (180, 3)).astype(np.float32)),
    }
    torch.save(found, folder / "texts.pt")


def letters(folder: Path) -> None:
    usable_torchvision()  # which transformers imports where it is there
    pytest.importorskip("transformers")


def characters(folder: Path) -> None:
    from pydoc_data import topics  # English that comes with Python

    (folder / "input.txt").write_text("\n".join(topics.topics.values())[:20_000])


def clothes(folder: Path) -> None:
    try:
        data.load("fashion-mnist")
    except DataError as error:
        pytest.skip(f"the data cannot be had here: {error}")


def with_a_small_test_split(*given: Any, **options: Any) -> data.DataSet:
    """Load data of which 300 images are tested on; a recipe does not say how many."""
    whole = load(*given, **options)
    assert isinstance(whole.test, data.Split)
    few = data.Split(whole.test.inputs[:300], whole.test.targets[:300])
    return dataclasses.replace(whole, test=few)


DATA: dict[str, Callable[[Path], None]] = {
    "A table with categories and classes of unequal size": churn,
    "A regression": houses,
    "Folders of images, with augmentation and smoothed labels": pets,
    "A convolutional network of one's own": clothes,
    "Sequences of unequal length, several labels": texts,
    "Models that drop already": letters,
    "A character GPT": characters,
    "Ten folds on three hundred rows": patients,
}


def test_every_project_has_data() -> None:
    assert list(SECTIONS) == list(DATA)


@pytest.mark.parametrize("title", DATA)
def test_a_project_is_short_and_runs(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", SECTIONS[title], re.S)
    assert len(recipe.splitlines()) <= RECIPE_LINES
    DATA[title](tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(recipe)
    for code in re.findall(r"```py\n(.*?)```", SECTIONS[title], re.S):
        name, *lines = code.splitlines()
        module = name.removeprefix("# ")
        if module != "nets.py":  # the network is there in any case
            assert len([line for line in lines if line.strip()]) <= PYTHON_LINES
        (tmp_path / module).write_text(code)
        monkeypatch.delitem(sys.modules, module.removesuffix(".py"), raising=False)
    folds = "folds" in recipe
    options = ["--epochs", "1", "--out", "run"] + ([] if folds else ["--seeds", "2"])
    if "fashion-mnist" in recipe:
        options += ["--set", "data.train=600", "--set", "data.validation=300"]
        monkeypatch.setattr(data, "load", with_a_small_test_split)
    found = CliRunner().invoke(group, ["run", "r.toml", *options], catch_exceptions=False)
    assert found.exit_code in (0, 1), found.output
    run = results.load(tmp_path / "run")
    assert len(run.rows) == len(run.recipe.arms) * (10 if folds else 2)
