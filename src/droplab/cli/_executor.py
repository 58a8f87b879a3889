"""Where a command trains: on this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from droplab.errors import ArgumentError

if TYPE_CHECKING:
    from droplab.studies import RayCluster

_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        help="Train on this machine, or on a Ray cluster [default: ray with --address, else "
        "local].",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="The cluster's head, or auto for the one this machine is part of [default: begin one "
        "here].",
    ),
    click.option(
        "--gpus-per-trial",
        type=click.FloatRange(min=0),
        help="Share of a GPU, or GPUs, that Ray sets aside for each process.",
    ),
)


def executor_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `cluster_of` reads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def cluster_of(executor: str | None, address: str | None, gpus: float | None) -> RayCluster | None:
    """Return the cluster that the options mean; None for this machine.

    Raises:
        ArgumentError: If an option of a cluster is given without one.
    """
    from droplab.studies import RayCluster

    executor = executor or ("local" if address is None else "ray")
    if executor == "ray":
        return RayCluster(address, gpus=gpus or 0.0)
    for name, given in (("--address", address), ("--gpus-per-trial", gpus)):
        if given is not None:
            raise ArgumentError(f"{name}: goes with --executor ray; add it, or leave {name} out")
    return None
