"""A LightningModule under a study, and a Trainer of one's own that reports to it."""

from __future__ import annotations

import importlib
import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from droplab.errors import ArgumentError, BackendError, RecipeError
from droplab.models import check_module
from droplab.studies import FreeTrial
from droplab.studies import study as own_study
from tests.unit.studies import loops

pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning, about loaders without workers

from lightning.pytorch import LightningDataModule, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping  # noqa: E402

from droplab.integrations import lightning  # noqa: E402
from droplab.integrations.lightning import _package  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Module(LightningModule):
    """Its training step calls a module inside; it is never called itself."""

    def __init__(self):
        super().__init__()
        self.net = loops.network()

    def training_step(self, batch, number):
        x, y = batch
        loss = (self.net(x + 0.1 * torch.randn_like(x)) - y).square().mean()
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, number):
        x, y = batch
        self.log("val_loss", (self.net(x) - y).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Data(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(loops.data()[0], 5, shuffle=True)

    def val_dataloader(self):
        return DataLoader(torch.utils.data.TensorDataset(*loops.data()[1]), 20)


def begin(folder: Path, make=Module, data=Data, epochs=2, **changes):
    how = {"arms": {"none": {}, "half": {"net.2": 0.5}}, "seeds": 2, "quiet": True}
    how |= {"metrics": loops.METRICS, "trainer_arguments": {"max_epochs": epochs}}
    return lightning.study(make, data, folder / "study", **{**how, **changes})


def test_arms_differ_in_dropout_alone(tmp_path: Path):
    study = begin(tmp_path, seeds=6)
    verdict = study.run()
    said = " ".join([verdict.headline, *verdict.caveats])
    for word in ("Not paired", "Not dropout alone", "could not be seen", "without gradients"):
        assert word not in said
    result = study.result()
    assert {member.state for member in result.members} == {"done"}
    assert len(result.rows) == 6 * 2 * 2
    last = {(row.arm, row.seed): row.values for row in result.rows if row.epoch == 2}
    assert all(last["none", seed] != last["half", seed] for seed in range(6))
    assert result.recipe.loop is not None
    assert result.recipe.loop.train.endswith(":Module")


def test_what_is_reported_is_what_the_trainer_measured(tmp_path: Path):
    measured: list[tuple[float, float]] = []

    class Told(Module):
        def on_train_epoch_end(self):
            found = self.trainer.callback_metrics
            measured.append((found["val_loss"].item(), found["train_loss"].item()))

    study = begin(tmp_path, Told, seeds=1)
    study.run()
    assert [(r.val_loss, r.train_loss) for r in study.result().rows] == measured


def test_a_trainer_of_ones_own_gives_the_same_rows(tmp_path: Path):
    def train(trial):
        module = trial.place(Module())
        trainer = Trainer(
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[lightning.report(trial)],
        )
        trainer.fit(module, Data())

    arms = {"none": {}, "half": {"net.2": 0.5}}
    own = own_study(tmp_path / "own", arms=arms, seeds=1, metrics=loops.METRICS, quiet=True)
    own.run(train)
    ready = begin(tmp_path, seeds=1)
    ready.run()
    assert [r.values for r in own.result().rows] == [r.values for r in ready.result().rows]


def test_callbacks_are_each_trials_own(tmp_path: Path):
    stop = EarlyStopping("val_loss", patience=1, min_delta=1e9)  # nothing is an improvement
    arguments = {"max_epochs": 4, "callbacks": stop}
    study = begin(tmp_path, trainer_arguments=arguments)
    study.run()
    epochs = [max(r.epoch for r in study.result().rows if r.seed == seed) for seed in (0, 1)]
    assert epochs == [2, 2]
    assert stop.wait_count == 0


def test_epochs_without_validation_are_not_reported(tmp_path: Path):
    arguments = {"max_epochs": 4, "check_val_every_n_epoch": 2}
    study = begin(tmp_path, seeds=1, trainer_arguments=lambda trial: arguments)
    study.run()
    assert len(study.result().rows) == 2 * 2


def test_loaders_will_do_and_training_alone(tmp_path: Path):
    pair = begin(tmp_path / "a", data=lambda: (Data().train_dataloader(), Data().val_dataloader()))
    one = begin(
        tmp_path / "b", data=Data().train_dataloader, metrics={"train_loss": "lower"}, seeds=2
    )
    for study in (pair, one):
        study.run()
        assert {member.state for member in study.result().members} == {"done"}


@pytest.mark.parametrize(
    ("make", "data", "changes", "message"),
    [
        (Module, Data, {"metrics": {"val_los": "lower"}}, "val_los: expected .*did you mean 'val_"),
        (loops.network, Data, {}, "make_module: expected a LightningModule, got Sequential"),
        (Module, lambda: (1, 2, 3), {}, "make_datamodule: expected a LightningDataModule.* got 3"),
        (Module, Data, {"arms": {"none": {}, "x": {"net.9": 0.5}}}, "net.9"),
    ],
)
def test_mistakes_are_said_in_a_sentence(tmp_path: Path, make, data, changes, message: str):
    study = begin(tmp_path, make, data, **changes)
    with pytest.raises(Exception, match=r"every trial failed|no trial can be run") as error:
        study.run()
    assert re.search(message, str(error.value))


def test_a_script_that_runs_by_itself_still_does(capsys):
    trainer = Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[lightning.report(FreeTrial())],
    )
    trainer.fit(Module(), Data())
    assert "val_loss" in capsys.readouterr().out


def test_a_recipe_refuses_the_module_and_says_where_it_goes():
    with pytest.raises(ArgumentError, match=r"LightningModule.*integrations.lightning.*\.net"):
        check_module(Module(), where="model")


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_a_module_is_trained_by_the_package_that_it_is_of(name: str):
    package = importlib.import_module(name)
    module = type("Theirs", (package.LightningModule,), {})()
    assert _package(module) is package


def test_bad_arms_are_refused_before_anything_is_made(tmp_path: Path):
    with pytest.raises(RecipeError):
        begin(tmp_path, arms={"half": {"net.2": 1.5}})


def test_without_the_package_one_is_told_what_to_install(tmp_path: Path, monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=r"pip install 'droplab\[lightning\]'"):
        begin(tmp_path)
