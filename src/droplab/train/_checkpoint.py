"""Weights and optimizer state on disk, as safetensors, never as pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from droplab.errors import RunError


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


def save_checkpoint(
    model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, *, epoch: int
) -> None:
    """Write all that a run needs to go on after `epoch` to the same bits."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    plain: dict[str, Any] = {}
    state = optimizer.state_dict()["state"]
    for index, entries in state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    write_tensors(tensors, {"epoch": str(epoch), "optimizer": json.dumps(plain)}, path)


def load_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Restore model and optimizer from `save_checkpoint`'s file; return the epoch it was made at.

    Raises:
        RunError: If the file is missing, damaged, or of another model.
    """
    from safetensors import safe_open

    tensors = read_tensors(path)
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
    weights = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/", 2)
            state.setdefault(int(index), {})[key] = value
    try:
        for name, value in json.loads(metadata["optimizer"]).items():
            index, key = name.split("/", 1)
            state.setdefault(int(index), {})[key] = value
        model.load_state_dict(weights)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out(optimizer)
        return int(metadata["epoch"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise RunError(f"{path}: this checkpoint is not of this experiment: {error}") from error


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay moments out as their parameters are: files keep no strides, fused updates need them."""
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            alike = isinstance(value, Tensor) and value.shape == parameter.shape
            if alike and value.stride() != parameter.stride():
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def write_tensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write tensors to `path`, under a temporary name that is then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
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
    save_file(own, part, metadata)
    part.replace(path)


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
