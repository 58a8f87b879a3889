"""Choosing a backend."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from droplab.errors import BackendError, nearest

BACKENDS = ("reference", "cpu", "cuda")
_MODULES = {"reference": "_reference", "cpu": "_cpu_rows", "cuda": "_cuda_rows"}


class Backend(Protocol):
    """What every backend offers; rows, keys and rates as in `_reference`."""

    def dropout_rows(self, x: Tensor, key: Tensor, rate: Tensor) -> Tensor: ...
    def keep_rows(
        self, rows: int, n: int, key: Tensor, rate: Tensor, device: torch.device
    ) -> Tensor: ...
    def word_rows(self, rows: int, n: int, key: Tensor, device: torch.device) -> Tensor: ...


@cache
def load(name: str) -> Backend | ImportError:
    """Return the backend of this name, or why it cannot be imported."""
    try:
        return cast(Backend, import_module(f"droplab.ops.{_MODULES[name]}"))
    except ImportError as error:
        return error


def backend_for(device: torch.device, name: str | None, where: str) -> Backend:
    """Return the backend for a device; one that was asked for by name, or an error.

    Raises:
        BackendError: If `name` is unknown, cannot be imported, or does not serve the device.
    """
    if name is None:
        kind = device.type if device.type in ("cpu", "cuda") else "reference"
        found = load(kind)
        if isinstance(found, ImportError):
            _warn_slow(kind, str(found))
            found = load("reference")
        return cast(Backend, found)
    if name not in BACKENDS:
        raise BackendError(
            f"{where}: backend: expected one of {', '.join(BACKENDS)}, got {name!r}"
            f"{nearest(name, BACKENDS)}"
        )
    if name in ("cpu", "cuda") and device.type != name:
        raise BackendError(
            f"{where}: backend {name!r} serves {name} tensors, got one on {device}; leave backend "
            "out to have it chosen"
        )
    found = load(name)
    if isinstance(found, ImportError):
        package = {"cpu": "numba", "cuda": "triton"}[name]
        raise BackendError(
            f"{where}: backend {name!r} needs {package}, which cannot be imported ({found}); "
            f"install {package}, or leave backend out"
        )
    return found


def backend_name(device: torch.device) -> str:
    """Return the name of the backend that serves a device unless another is asked for."""
    chosen = backend_for(device, None, "backend_name")
    return next(name for name in BACKENDS if load(name) is chosen)


@cache
def _warn_slow(kind: str, reason: str) -> None:
    warnings.warn(
        f"droplab.ops: the {kind} kernel cannot be loaded ({reason}); masks are made by the "
        "reference in plain torch, which gives the same bits slowly",
        RuntimeWarning,
        stacklevel=4,
    )
