"""`--tensorboard` and `--mlflow`: what receives the rows of a run beside its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from droplab.studies import Observer

_OPTIONS = (
    click.option(
        "--tensorboard",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Send every row to TensorBoard, too: a folder in FOLDER for each arm and seed.",
    ),
    click.option(
        "--mlflow",
        metavar="EXPERIMENT",
        help="Send every row to MLflow, too, to where it is set to (MLFLOW_TRACKING_URI): a run of "
        "EXPERIMENT for each arm and seed.",
    ),
)


def receiver_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; what they are given goes to `receiving`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def receiving(
    watch: Observer | None, tensorboard: Path | None, mlflow: str | None
) -> Iterator[Observer]:
    """Give an observer that tells all who want to know, and close them in the end.

    Args:
        watch: Whoever else wants to know.
        tensorboard: The folder of `--tensorboard`.
        mlflow: The experiment of `--mlflow`.

    Raises:
        BackendError: If what is asked for is not installed.
        RunError: If it cannot be reached.
    """
    from droplab.studies import Observers

    with ExitStack() as stack:
        found = [] if watch is None else [watch]
        if tensorboard is not None:
            from droplab.integrations.tensorboard import Rows

            found.append(stack.enter_context(Rows(tensorboard)))
        if mlflow is not None:
            from droplab.integrations.mlflow import Rows as Runs

            found.append(stack.enter_context(Runs(mlflow)))
        yield Observers(*found)
