"""A group of replicas in a process of its own.

On a few cores, groups beside each other can beat one process whose operations are divided among
threads: nobody waits for anybody within a step, and a smaller group stays in its core's cache.
"""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path

from droplab.data import Split
from droplab.studies._experiment import Experiment
from droplab.studies._work import Done, Failed, Said, Task, train_group
from droplab.studies._worker_pool import Teller
from droplab.train import ExecutionPlan
from droplab.train.memory import is_out_of_memory


def can_send(experiment: Experiment) -> bool:
    """Whether an experiment can be handed to another process.

    What is defined in the caller's main module or inside a function cannot; and data that is
    streamed stays with the driver.
    """
    splits = experiment.splits
    if not isinstance(splits.train, Split) or not isinstance(splits.validation, Split):
        return False
    try:
        sent = pickle.dumps((experiment.build, experiment.make_optimizer))
    except Exception:  # whatever somebody's objects do when they are pickled
        return False
    return b"__main__" not in sent


class _Sending(logging.Handler):
    """Sends what is logged to the driver, whose handlers the user knows."""

    def __init__(self, connection: Teller) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(Said(record.name, record.levelno, record.getMessage()))


def work(
    connection: Teller,
    folder: Path,
    experiment: Experiment,
    plan: ExecutionPlan,
    task: Task,
    level: int = logging.WARNING,
) -> None:
    """Train one group and send what happens.

    Args:
        connection: To the driver.
        folder: Folder of the run, or what stands for it where the task is done.
        experiment: What is trained.
        plan: How.
        task: Which group.
        level: From which level on what is logged is sent, too.
    """
    logger = logging.getLogger("droplab")
    logger.handlers[:] = [_Sending(connection)]
    logger.setLevel(level)
    try:
        train_group(experiment, plan, folder, task, connection.send)
        connection.send(Done())
    except BaseException as error:
        connection.send(Failed(traceback.format_exc(), is_out_of_memory(error)))
    finally:
        connection.close()
