"""Weights from a file that somebody saved, for a model of somebody's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from droplab.errors import ArgumentError, nearest
from droplab.files import check_ordinary

STATE_KEYS = ("state_dict", "model_state_dict", "model", "weights", "net")
"""Under which of these a checkpoint has the weights, the first that is there."""

_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What wrappers of data-parallel, compiled and Lightning models put before every name."""


def load_state(model: nn.Module, path: Path) -> None:
    """Load the weights in a file into a model, all of them.

    The file is safetensors, if it is called so, or what `torch.save` wrote: a `state_dict`, or a
    checkpoint that has one under a usual key. It is read with `weights_only=True`, which runs no
    code of the file.

    Args:
        model: The model; it is changed in place.
        path: The file.

    Raises:
        ArgumentError: If the file cannot be read so, holds no weights, or those of another model.

    Example:
        >>> import tempfile
        >>> model = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": model.state_dict()}, f"{folder}/w.pt")
        ...     load_state(nn.Linear(2, 1), Path(folder, "w.pt"))
    """
    own = model.state_dict()
    state = _bare(_weights_in(_read(path), path), own)
    kind = type(model).__name__
    missing = [name for name in own if name not in state]
    if missing:
        others = [name for name in state if name not in own]
        has = f"; it has '{others[0]}', which the model has not" if others else ""
        raise ArgumentError(
            f"{path}: expected the weights of the {kind}, got none for {_some(missing)}{has}"
        )
    unknown = [name for name in state if name not in own]
    if unknown:
        raise ArgumentError(
            f"{path}: expected the weights of the {kind}, got {_some(unknown)}, which it has not"
            f"{nearest(unknown[0], own)}"
        )
    for name, value in own.items():
        if isinstance(value, Tensor) and value.shape != state[name].shape:
            raise ArgumentError(
                f"{path}: expected '{name}' of shape {tuple(value.shape)}, as the {kind} has it, "
                f"got {tuple(state[name].shape)}; make the model as it was trained, with --arg "
                "name=value"
            )
    model.load_state_dict(state)


def _read(path: Path) -> Any:
    check_ordinary(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ArgumentError(f"{path}: expected a file of weights, found none there") from None
    except SafetensorError as error:
        raise ArgumentError(f"{path}: expected safetensors, got {error}") from None
    except Exception as error:  # whatever unpickling makes of bytes from anywhere
        raise ArgumentError(
            f"{path}: expected weights that torch.load reads with weights_only=True, got "
            f"{type(error).__name__}; save model.state_dict() with torch.save"
        ) from None


def _weights_in(found: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights in what a file holds."""
    if isinstance(found, Mapping):
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return dict(found)
        for key in STATE_KEYS:
            inside = found.get(key)
            if isinstance(inside, Mapping) and all(
                isinstance(value, Tensor) for value in inside.values()
            ):
                return dict(inside)
    what = (
        f"keys {', '.join(map(str, list(found)[:5])) or 'none'}"
        if isinstance(found, Mapping)
        else f"a {type(found).__name__}"
    )
    raise ArgumentError(
        f"{path}: expected a state_dict, or a checkpoint with one under {', '.join(STATE_KEYS)}, "
        f"got {what}"
    )


def _bare(state: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return weights by the names that the model has, without those of a wrapper before them."""
    while wrapper := next((w for w in _WRAPPERS if _all_begin(state, w)), None):
        if _all_begin(own, wrapper):
            break
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def _all_begin(names: Collection[str], start: str) -> bool:
    return bool(names) and all(name.startswith(start) for name in names)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"'{names[0]}'{rest}"
