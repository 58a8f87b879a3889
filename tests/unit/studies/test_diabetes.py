"""The regression of the page on recipes, on real data, and the same in plain torch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[3] / "docs"


def test_the_example_of_the_page_runs_and_learns(capsys):
    pytest.importorskip("sklearn.datasets")
    (block,) = re.findall(r"```py\n(.*?)```", (DOCS / "recipes.md").read_text("utf-8"), re.DOTALL)
    names: dict = {}
    exec(block, names)
    found, inputs, targets = names["found"], names["inputs"][300:], names["targets"][300:]
    assert found.run.recipe.task == "regression"
    assert "read as regression" in " ".join(found.run.notes.values())
    assert capsys.readouterr().out.strip() == found.verdict.headline
    last = [row for row in found.run.rows if row.epoch == 30]
    assert len(last) == 3 * 4
    spread = targets.std()  # the error of who says the mean, in the units of the targets
    assert all(0.5 * spread < row.val_rmse < spread for row in last)
    row = next(row for row in last if (row.arm, row.seed) == (found.arm, 0))
    with torch.no_grad():
        predicted = found.model(torch.tensor(inputs, dtype=torch.float32)).squeeze(1).numpy()
    assert row.val_rmse == pytest.approx(((predicted - targets) ** 2).mean() ** 0.5, rel=1e-5)
    assert row.val_mae == pytest.approx(abs(predicted - targets).mean(), rel=1e-5)
    r2 = 1 - ((predicted - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum()
    assert row.val_r2 == pytest.approx(r2, rel=1e-4)


def test_the_folds_of_the_page_on_data_run(capsys, tmp_path, monkeypatch):
    """Over ten folds every patient is validated on once, and the network learns in each."""
    pytest.importorskip("sklearn.datasets")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```py\n(.*?)```", (DOCS / "data.md").read_text("utf-8"), re.DOTALL)
    names: dict = {}
    exec(block, names)
    found, targets = names["found"], names["targets"] / 100
    assert "over 10 folds of these examples." in found.verdict.headline
    assert capsys.readouterr().out.strip() == found.verdict.headline
    last = [row for row in found.run.rows if row.epoch == 20]
    assert sorted({row.seed for row in last}) == list(range(10))
    assert sum(row.val_rmse for row in last) / len(last) < 0.9 * targets.std()
    assert any("442 examples in 10 folds of 44 or 45" in note for note in found.verdict.caveats)
