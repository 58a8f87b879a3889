"""TensorBoard and MLflow receive the rows that a run keeps."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

import droplab
from droplab.cli import main
from droplab.errors import RunError
from droplab.results import EpochRow
from droplab.studies import Study
from tests.unit.studies import loops
from tests.unit.studies.loops import begin

TOOLS = ("tensorboard", "mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the tools

Rows = dict[tuple[str, int, int], dict[str, float]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A file with MLflow's tables, which take seconds to make."""
    mlflow = pytest.importorskip("mlflow")
    made = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{made}").search_experiments()
    return made


@pytest.fixture(autouse=True)
def _tables(request, tmp_path: Path):
    if "mlflow" in request.node.name:
        shutil.copy(request.getfixturevalue("tables"), tmp_path / "mlflow.db")


def receiver(tool: str, folder: Path):
    if tool == "tensorboard":
        pytest.importorskip("tensorboard")
        from droplab.integrations import tensorboard

        return tensorboard.Rows(folder / "logs")
    pytest.importorskip("mlflow")
    from droplab.integrations import mlflow

    return mlflow.Rows("mine", tracking_uri=f"sqlite:///{folder}/mlflow.db")


def received(tool: str, folder: Path) -> Rows:
    """Return what a tool shows, by arm, seed and epoch."""
    found: Rows = {}
    if tool == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        for place in (folder / "logs").glob("*/seed-*"):
            scalars = EventAccumulator(str(place)).Reload()
            for name in scalars.Tags()["scalars"]:
                for each in scalars.Scalars(name):
                    where = place.parent.name, int(place.name[5:]), each.step
                    assert name not in found.setdefault(where, {})
                    found[where][name] = each.value
        return found
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.status != "RUNNING"
        for name in run.data.metrics:
            for each in client.get_metric_history(run.info.run_id, name):
                where = run.data.params["arm"], int(run.data.params["seed"]), each.step
                assert name not in found.setdefault(where, {})
                found[where][name] = each.value
    return found


def kept(study: Study) -> Rows:
    failed = {(m.arm, m.seed) for m in study.result().members if m.state == "failed"}
    return {
        (row.arm, row.seed, row.epoch): {name: pytest.approx(v) for name, v in row.values.items()}
        for row in study.result().rows
        if (row.arm, row.seed) not in failed
    }


@pytest.mark.parametrize("tool", TOOLS)
def test_a_study_sends_its_rows_and_a_trial_that_is_begun_again_replaces_its_own(
    tool: str, tmp_path: Path
):
    def late(trial):
        loops.plain(trial)
        if (trial.arm, trial.seed) == ("half", 1):
            raise ValueError("in the end")

    with receiver(tool, tmp_path) as rows:
        begin(tmp_path, observer=rows, seeds=[1]).run(late)
    with receiver(tool, tmp_path) as rows:
        study = begin(tmp_path, observer=rows, seeds=[1], resume=True)
        study.run(loops.plain)
    assert received(tool, tmp_path) == kept(study)
    assert len(kept(study)) == 2 * 2


@pytest.mark.parametrize("tool", TOOLS)
def test_a_run_that_is_there_is_sent_and_sent_again(tool: str, tmp_path: Path):
    study = begin(tmp_path, seeds=1)
    study.run(loops.plain)
    for run in (study.result(), study.folder):
        with receiver(tool, tmp_path) as rows:
            rows.send(run)
    assert received(tool, tmp_path) == kept(study)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_goes_on_is_added(tool: str, tmp_path: Path):
    for epochs in ((1, 2), (3,)):
        with receiver(tool, tmp_path) as rows:
            for epoch in epochs:
                rows.epoch_done(EpochRow({"loss": 0.5 / epoch}, "none", 0, epoch, 1.0))
                rows.epoch_done(EpochRow({"loss": math.nan}, "none, too", 0, epoch, 1.0))
    found = received(tool, tmp_path)
    assert [found["none", 0, epoch]["loss"] for epoch in (1, 2, 3)] == pytest.approx(
        [0.5, 0.25, 0.5 / 3]
    )
    assert math.isnan(found["none, too", 0, 3]["loss"])


@pytest.mark.parametrize("tool", TOOLS)
def test_a_recipe_sends_the_same(tool: str, tmp_path: Path):
    recipe = droplab.override(droplab.load("digits"), {"epochs": 1, "seeds": [0]})
    with receiver(tool, tmp_path) as rows:
        result = droplab.run(recipe, tmp_path / "run", observer=rows)
    found = received(tool, tmp_path)
    assert set(found) == {(row.arm, row.seed, row.epoch) for row in result.rows}
    for row in result.rows:
        assert found[row.arm, row.seed, row.epoch] == pytest.approx(dict(row.values), nan_ok=True)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_command_line_sends_the_same(tool: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(Study, "run_script", lambda self, *_, **options: self.run(loops.plain))
    receiver(tool, tmp_path)
    Path("train.py").touch()
    Path("arms.toml").write_text('none = {}\nhalf = { "2" = 0.5 }\n')
    asked = ["study", "train.py", "--arms", "arms.toml", "--seeds", "1", "--out", "study"]
    asked += ["--metric", "val_loss=lower", "--metric", "train_loss=lower"]
    with pytest.raises(SystemExit) as stop:
        main([*asked, f"--{tool}", "logs" if tool == "tensorboard" else "mine"])
    assert stop.value.code == 0, capsys.readouterr()
    assert received(tool, tmp_path) == kept(loops.begin(tmp_path, seeds=1))


def test_a_run_from_the_command_line_sends_its_rows(tmp_path: Path, capsys):
    pytest.importorskip("tensorboard")
    asked = ["run", "digits", "--epochs", "1", "--seeds", "1", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as stop:
        main([*asked, "--tensorboard", str(tmp_path / "logs")])
    assert stop.value.code == 0, capsys.readouterr()
    assert "4 arms x 1 seed x 1 epoch" in capsys.readouterr().out
    rows = droplab.load_run(tmp_path / "run").rows
    found = received("tensorboard", tmp_path)
    assert set(found) == {(row.arm, row.seed, row.epoch) for row in rows}


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"expected a folder for rows, .*; choose another place"):
        receiver("tensorboard", tmp_path / "file")


def test_what_mlflow_refuses_is_one_sentence(tmp_path: Path):
    rows = receiver("mlflow", tmp_path)
    with rows, pytest.raises(RunError, match=r"mlflow: Invalid .* set MLFLOW_TRACKING_URI") as said:
        rows.epoch_done(EpochRow({"loss!?": 0.5}, "none", 0, 1, 1.0))
    assert "\n" not in str(said.value)


def test_what_mlflow_has_is_judged_as_the_study_is(tmp_path: Path):
    study = begin(tmp_path, seeds=6)
    verdict = study.run(loops.plain)
    with receiver("mlflow", tmp_path) as rows:
        rows.send(study.folder)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    frame = mlflow.search_runs(experiment_names=["mine"])
    metrics = {"metrics.val_loss": "lower", "metrics.train_loss": "lower"}
    found = droplab.judge(frame, arm="params.arm", seed="params.seed", metrics=metrics)
    one, two = (each.arm("half").differences for each in (found, verdict))
    assert one["metrics.val_loss"].p == pytest.approx(two["val_loss"].p)
