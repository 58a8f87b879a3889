"""Where else than on this machine replicas and trials are trained."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from droplab.errors import ArgumentError, BackendError, RunError, quote
from droplab.importing import optional
from droplab.train import ExecutionPlan

_OLDEST = (2, 40)
"""The oldest version of Ray whose calls are those that are used here."""

_ANSWERS = 10.0
"""Seconds in which a cluster has to answer."""

_ASKED: set[str] = set()
"""By which addresses this process has connected; Ray may have another name for the same head."""


@dataclass(frozen=True)
class RayCluster:
    """A Ray cluster whose processes train, while this process alone writes what they tell.

    Every node needs droplab, torch and your code, of the versions that are here.

    Args:
        address: Of the cluster's head, "host:port", or "auto" for the one that this machine is part
            of. None: the one that this process is connected to, or else one of this machine alone,
            begun for the run; that listens to this machine alone, unless your own code imported ray
            before.
        cpus: Processors that Ray sets aside for each process, and threads of each.
        gpus: Share of a GPU that Ray sets aside for each process, such as 0.25.

    Raises:
        ArgumentError: If a value is impossible.

    Example:
        >>> RayCluster("10.0.0.1:6379", gpus=0.25).address
        '10.0.0.1:6379'
        >>> RayCluster("ray://10.0.0.1:10001")
        Traceback (most recent call last):
        droplab.errors.ArgumentError: address: expected the cluster's head as host:port, ...
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.address is not None and self.address != "auto":
            host, _, port = self.address.rpartition(":")
            if not host or "/" in host or not port.isdigit():
                raise ArgumentError(
                    "address: expected the cluster's head as host:port, or auto, got "
                    f"{quote(self.address)}; run the driver on a node of the cluster"
                )
        if self.cpus < 1:
            raise ArgumentError(f"cpus: expected at least 1 for each process, got {self.cpus}")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise ArgumentError(
                "gpus: expected a share of a GPU such as 0.25, or a whole number of them, got "
                f"{self.gpus:g}"
            )

    def answers(self, ray: Any) -> bool:
        """Whether the head takes connections."""
        host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWERS).close()
        except OSError:
            return False
        return True

    def room(self, ray: Any) -> int:
        """How many processes the cluster has room for now.

        Raises:
            RunError: If it has none for a single one.
        """
        there = ray.cluster_resources()
        room = int(there.get("CPU", 0)) // self.cpus
        asked = f"{self.cpus} CPUs"
        if self.gpus:
            room = min(room, int(there.get("GPU", 0) / self.gpus))
            asked += f" and {self.gpus:g} GPUs"
        if room < 1:
            raise RunError(
                f"expected a cluster with {asked} for each process, got {there.get('CPU', 0):g} "
                f"CPUs and {there.get('GPU', 0):g} GPUs in all; ask for less, or add a node"
            )
        return room

    def plan(self, plan: ExecutionPlan, replicas: int) -> ExecutionPlan:
        """Return a plan that was measured here as one for all processes of the cluster."""
        with self.connected() as ray:
            room = self.room(ray)
        group = min(plan.group, -(-replicas // room))
        return dataclasses.replace(plan, threads=self.cpus, workers=room, group=group)

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """Give the package, connected to the cluster.

        What was connected before stays so; what was not is left again.

        Raises:
            BackendError: If Ray is not installed, or too old.
            RunError: If no cluster answers.
        """
        alone = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ and self.address is None
        if alone:
            # the setting by which Ray stays on the loopback address, as it does on other systems
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        try:
            with self._connected() as ray:
                yield ray
        finally:
            if alone:
                os.environ.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        ray = self._package()
        if ray.is_initialized():
            there = ray.get_runtime_context().gcs_address
            if self.address not in (None, "auto", there, *_ASKED):
                raise RunError(
                    f"expected a Ray cluster at {self.address}, got a process that is connected to "
                    f"{there} already; call ray.shutdown() before, or leave the address out"
                )
            yield ray
            return
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self.address is None:
            how |= {"address": "local", "include_dashboard": False}
        else:
            self._knock()
            how |= {"address": self.address}
        try:
            ray.init(**how)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(
                f"expected a Ray cluster at {self.address or 'this machine'}, got: {reason}; begin "
                "one with ray start --head, or leave the address out"
            ) from error
        mine = {self.address} if self.address is not None else set[str]()
        _ASKED.update(mine)
        try:
            yield ray
        finally:
            _ASKED.difference_update(mine)
            ray.shutdown()

    def _package(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = optional("ray", install="droplab[ray]")
        found = tuple(int(part) for part in str(ray.__version__).split(".")[:2])
        if found < _OLDEST:
            least = ".".join(map(str, _OLDEST))
            raise BackendError(
                f"expected Ray {least} or newer, got {ray.__version__}; run: pip install "
                "--upgrade 'droplab[ray]'"
            )
        return ray

    def _knock(self) -> None:
        """Find out whether anybody answers, for which Ray waits long."""
        if self.address in (None, "auto"):
            return
        host, _, port = str(self.address).rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWERS).close()
        except (OSError, OverflowError) as error:
            raise RunError(
                f"expected a Ray cluster at {self.address}, got no answer ({error}); look whether "
                "its head runs there (ray status), and for a firewall between"
            ) from error
