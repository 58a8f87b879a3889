"""Trials that train nothing, for `bench_cluster`; worker processes import them from here."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import torch

from droplab.studies._worker_pool import Teller

ROWS = 1000
"""Rows of a trial that tells many."""


def empty(teller: Teller, folder: Path, number: int) -> None:
    """Tell one row."""
    teller.send({"trial": number, "val_loss": 0.5})


def tells(teller: Teller, folder: Path, number: int) -> None:
    """Tell a thousand rows."""
    for each in range(ROWS):
        teller.send({"trial": number, "epoch": each, "val_loss": 0.5})


def multiply(teller: Teller, folder: Path, number: int) -> None:
    """Work for about a second, and tell one row."""
    torch.set_num_threads(1)
    a = torch.randn(256, 256)
    began = perf_counter()
    while perf_counter() - began < 1:
        a = torch.tanh(a @ a)
    teller.send({"trial": number, "val_loss": float(a.mean())})
