"""MLflow receives the rows of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from droplab.errors import RunError, bounded
from droplab.importing import optional
from droplab.integrations._rows import RowReceiver
from droplab.results import EpochRow, State


class Rows(RowReceiver):
    """Logs rows as metrics, a run of MLflow's for each arm and seed, which are its parameters.

    Give it to `droplab.study` or `droplab.run` as `observer=`, or let it `send` a run that is
    there already. A replica that is begun again, or sent again, replaces the run of it. What
    MLflow has then is what `droplab.judge(mlflow.search_runs(...), arm="params.arm",
    seed="params.seed", ...)` judges.

    Args:
        experiment: Name of the experiment, one for each study; it is made if it is not there.
        tracking_uri: Where MLflow keeps it; None for where MLflow is set to.

    Raises:
        BackendError: If mlflow is not installed; mlflow-skinny is enough.
        RunError: If MLflow refuses, or cannot be reached; also of what is sent later.
    """

    def __init__(self, experiment: str, tracking_uri: str | None = None) -> None:
        self._mlflow = optional("mlflow", install="droplab[mlflow]")
        with self._asked():
            self._client = self._mlflow.MlflowClient(tracking_uri)
            found = self._client.get_experiment_by_name(experiment)
            self.experiment_id: str = (
                self._client.create_experiment(experiment) if found is None else found.experiment_id
            )
        self._runs: dict[tuple[str, int], tuple[str, int]] = {}

    def epoch_done(self, row: EpochRow) -> None:
        """Log a row."""
        with self._asked():
            self._log(row)

    def _log(self, row: EpochRow) -> None:
        run, last = self._runs.get((row.arm, row.seed), (None, 0))
        if run is None or row.epoch <= last:
            run = self._begin(row)
        self._runs[row.arm, row.seed] = run, row.epoch
        now, entities = int(1000 * time.time()), self._mlflow.entities
        self._client.log_batch(
            run,
            [entities.Metric(name, value, now, row.epoch) for name, value in row.values.items()],
        )

    def _begin(self, row: EpochRow) -> str:
        """Return the run of a replica that goes on, or a new one in place of it."""
        found = self._client.search_runs(
            [self.experiment_id], filter_string=f"params.seed = '{row.seed}'", max_results=50_000
        )
        mine = [run.info.run_id for run in found if run.data.params.get("arm") == row.arm]
        if mine and row.epoch > 1:
            return mine[0]
        for run in mine:
            self._client.delete_run(run)
        name = f"{row.arm}, seed {row.seed}"
        run = self._client.create_run(self.experiment_id, run_name=name).info.run_id
        self._client.log_param(run, "arm", row.arm)
        self._client.log_param(run, "seed", row.seed)
        return run

    def ended(self, arm: str, seed: int, state: State) -> None:
        """End the run of a replica."""
        run, _ = self._runs.pop((arm, seed), (None, 0))
        if run is not None:
            with self._asked():
                self._client.set_terminated(run, "FAILED" if state == "failed" else "FINISHED")

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            raise RunError(
                f"mlflow: {bounded(str(error))}; set MLFLOW_TRACKING_URI to where it is, for "
                "example sqlite:///mlflow.db"
            ) from error

    def close(self) -> None:
        """End all runs that are open."""
        for arm, seed in list(self._runs):
            self.ended(arm, seed, "done")
