"""The model of a run's arm and seed, as it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from droplab import results
from droplab.data import Split, to_float
from droplab.errors import RunError
from droplab.studies._experiment import Experiment
from droplab.studies._folders import weights_path_in
from droplab.studies._resolve import resolve
from droplab.train.checkpoint import load_weights
from droplab.verdict import judge

_ROWS = 8


def trained_model(
    folder: str | Path, *, arm: str | None = None, seed: int | None = None
) -> tuple[nn.Module, Any]:
    """Return a model of a run with the weights of its last epoch, and a few inputs of its own.

    Args:
        folder: The run.
        arm: Whose model; None: that of the chosen arm, of the baseline where none is chosen.
        seed: Which seed's; None: the first.

    Raises:
        RunError: If the run has no such model, or is one of a loop of somebody's own.
    """
    result = results.load(folder)
    recipe = result.recipe
    if recipe.loop is not None:
        raise RunError(
            f"{result.path}: expected a run that droplab trained, got one of a loop of somebody's "
            "own; give the file of the model, and --weights"
        )
    name = arm or judge(result).chosen or recipe.baseline.name
    seeds = sorted(m.seed for m in result.members if m.arm == name and m.state == "done")
    which = seeds[0] if seed is None and seeds else seed
    if which is None or which not in seeds:
        known = ", ".join(f"{m.arm} {m.seed}" for m in result.members if m.state == "done")
        wanted = f"arm '{name}'" + ("" if seed is None else f" and seed {seed}")
        raise RunError(f"{result.path}: no trained model of {wanted}; it has {known or 'none'}")
    model, split = trained_replica(resolve(recipe), result.path, name, which)
    inputs, _ = next(iter(split.batches(torch.arange(min(_ROWS, len(split))), _ROWS)))
    return model, to_float(inputs)


def trained_replica(
    experiment: Experiment, folder: Path, arm: str, seed: int
) -> tuple[nn.Module, Split]:
    """Return the model of an arm and a seed after its last epoch, and its validation examples.

    Raises:
        RunError: If the examples are streamed, or the weights cannot be read.
    """
    own = experiment.of_seeds([seed])
    split = own.splits.validation
    if not isinstance(split, Split):
        raise RunError(f"{folder}: expected validation examples in memory, got streamed")
    model = own.replica(own.recipe.arm(arm), seed).model
    load_weights(model, weights_path_in(folder, own.recipe, arm, seed, "last"))
    return model, split
