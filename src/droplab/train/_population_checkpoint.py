"""A population on disk: all its members in one file, from which any of them can go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from droplab.errors import RunError
from droplab.train._checkpoint import read_tensors, write_tensors
from droplab.train._population import Population

Name = tuple[str, int]
"""Arm and seed of a member."""


def save_population(
    population: Population, names: Sequence[Name], path: Path, *, epoch: int
) -> None:
    """Write all that the members need to go on after `epoch` to the same bits."""
    tensors = {f"model/{name}": t.detach() for name, t in population.parameters.items()}
    tensors |= {f"model/{name}": tensor for name, tensor in population.buffers.items()}
    plain: dict[str, Any] = {}
    for index, entries in population.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    about = {
        "epoch": str(epoch),
        "members": json.dumps(names),
        "alive": json.dumps(population.alive),
        "optimizer": json.dumps(plain),
    }
    write_tensors(tensors, about, path)


def load_population(population: Population, names: Sequence[Name], path: Path) -> int:
    """Restore the members called `names` from a file of `save_population`; return its epoch.

    The file may be that of a larger group: each member is found by its arm and seed.

    Raises:
        RunError: If the file is missing, damaged, or of another experiment.
    """
    tensors = read_tensors(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
        there = [tuple(name) for name in json.loads(about["members"])]
        rows = torch.tensor([there.index(tuple(name)) for name in names])
        alive = json.loads(about["alive"])
        own = {**population.parameters, **population.buffers}
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[f"model/{name}"][rows])
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/", 2)
                whole = value.dim() > 0 and len(value) == len(there)
                state.setdefault(int(index), {})[key] = value[rows] if whole else value
        for name, value in json.loads(about["optimizer"]).items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        groups = population.optimizer.state_dict()["param_groups"]
        population.optimizer.load_state_dict({"state": state, "param_groups": groups})
        population.alive = [alive[row] for row in rows.tolist()]
        return int(about["epoch"])
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise RunError(f"{path}: this checkpoint is not of this experiment: {error}") from error
