"""Weights and optimizer state on disk, as safetensors, never as pickle."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from droplab.errors import RunError
from droplab.results import whole_file
from droplab.train._executor import Executor

Name = tuple[str, int]
"""Arm and seed of a replica."""


def save_weights(model: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Write a model or its `state_dict` to `path`, under a temporary name that is then renamed.

    Tied weights are written under each of their names, so that `load_weights` and
    `safetensors.torch.load_file` both give a complete `state_dict`.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    write_tensors(dict(state), {}, path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Load what `save_weights` wrote into `model`, strictly.

    Raises:
        RunError: If the file is missing, damaged, or of another model.
    """
    try:
        model.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise RunError(f"{path}: these weights are not of this model: {error}") from error


def save_checkpoint(executor: Executor, names: Sequence[Name], path: Path, *, epoch: int) -> None:
    """Write all that the members of an executor need to go on after `epoch` to the same bits.

    Args:
        executor: The members.
        names: Arm and seed of each.
        path: The file.
        epoch: How many epochs were done.
    """
    tensors = {f"model/{name}": tensor for name, tensor in executor.tensors().items()}
    plain: dict[str, Any] = {}
    for index, entries in executor.optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    about = {
        "epoch": str(epoch),
        "members": json.dumps(names),
        "alive": json.dumps(executor.alive),
        "optimizer": json.dumps(plain),
    }
    write_tensors(tensors, about, path)


def load_checkpoint(executor: Executor, names: Sequence[Name], path: Path) -> int:
    """Restore the members called `names` from a file of `save_checkpoint`; return its epoch.

    The file may be that of a larger group: each member is found by its arm and seed.

    Raises:
        RunError: If the file is missing, damaged, or of another experiment.
    """
    tensors = read_tensors(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
        if "members" not in about:  # of one replica, as earlier versions wrote it
            one = {k: v[None] if k.startswith("model/") else v for k, v in tensors.items()}
            tensors, about = one, {**about, "members": json.dumps(names), "alive": "[true]"}
        there = [tuple(name) for name in json.loads(about["members"])]
        rows = torch.tensor([there.index(tuple(name)) for name in names])
        executor.restore({name: tensors[f"model/{name}"][rows] for name in executor.tensors()})
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/", 2)
                whole = value.dim() > 0 and len(value) == len(there) > 1
                state.setdefault(int(index), {})[key] = value[rows] if whole else value
        for name, value in json.loads(about["optimizer"]).items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        groups = executor.optimizer.state_dict()["param_groups"]
        executor.optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out(executor.optimizer)
        alive = json.loads(about["alive"])
        executor.alive[:] = [alive[row] for row in rows.tolist()]
        return int(about["epoch"])
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise RunError(f"{path}: this checkpoint is not of this experiment: {error}") from error


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay moments out as their parameters are: files keep no strides, fused updates need them."""
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            alike = isinstance(value, Tensor) and value.shape == parameter.shape
            if alike and value.stride() != parameter.stride():
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def write_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write tensors to `path`, under a temporary name that is then renamed.

    Raises:
        RunError: If the disk is full, or the folder is gone or refuses it.
    """
    kept: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = tensor.detach().contiguous()
        storage = whole.untyped_storage()
        # safetensors refuses tensors that share memory, as tied weights do
        if storage.data_ptr() in kept or storage.nbytes() > whole.nbytes:
            whole = whole.clone()
        kept.add(whole.untyped_storage().data_ptr())
        own[name] = whole
    with whole_file(path) as part:
        try:
            save_file(own, part, metadata)
        except SafetensorError as error:
            # it tells what the system said in words alone: "... (os error 28)"
            code = re.search(r"os error (\d+)", str(error))
            raise OSError(int(code[1]) if code else errno.EIO, str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a safetensors file.

    Raises:
        RunError: If it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{path}: cannot be read ({error}); the run folder is damaged, start it anew with "
            "another --out"
        ) from error
