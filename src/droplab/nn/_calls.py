"""Saving and restoring where the streams of seeded layers are."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from droplab.errors import RunError, nearest
from droplab.nn._seeded import SeededLayer


def call_indices(model: nn.Module) -> dict[str, int]:
    """Return the index of the next call of every seeded layer, by path.

    The indices are not in the `state_dict`, whose keys stay those of the model without dropout.
    Save them beside it to resume a run with the masks that it would have had.

    Args:
        model: Any module.

    Returns:
        Path of the layer to index; layers without a seed are left out.

    Example:
        >>> from droplab.nn import Dropout
        >>> model = nn.Sequential(nn.Linear(2, 2), Dropout(0.5, seed=1))
        >>> _ = model(model[0].weight)
        >>> call_indices(model)
        {'1': 1}
    """
    return {path: layer.calls for path, layer in _seeded(model).items()}


def restore_call_indices(model: nn.Module, indices: Mapping[str, int]) -> None:
    """Set the index of the next call of every seeded layer to what `call_indices` returned.

    Args:
        model: The model, with the same seeded layers.
        indices: Path of the layer to index.

    Raises:
        RunError: If the paths are not exactly those of the model's seeded layers.

    Example:
        >>> from droplab.nn import Dropout
        >>> layer = Dropout(0.5, seed=1)
        >>> restore_call_indices(layer, {"": 7})
        >>> layer.calls
        7
    """
    layers = _seeded(model)
    for path in indices.keys() ^ layers.keys():
        if path in layers:
            raise RunError(
                f"restore_call_indices: expected an index for the seeded layer {path!r}, got none; "
                "save them by call_indices from the same model"
            )
        raise RunError(
            f"restore_call_indices: the model has no seeded layer {path!r}{nearest(path, layers)}"
        )
    for path, layer in layers.items():
        layer.stream[1] = indices[path]


def _seeded(model: nn.Module) -> dict[str, SeededLayer]:
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, SeededLayer) and module.seed is not None
    }
