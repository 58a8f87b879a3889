"""What a run notes of its data and model, so that its verdict can be read without either."""

from __future__ import annotations

import torch
from torch import nn

from droplab import placement
from droplab.data import Split, Splits
from droplab.errors import PlacementError
from droplab.study._experiment import Experiment
from droplab.train import initial_model


def class_counts(splits: Splits, classes: int) -> dict[str, list[int]]:
    """Return how many validation examples each class has; nothing where none or data is streamed.

    Streamed examples would all have to be read for it. With folds all examples are validated on.
    """
    if not isinstance(splits.validation, Split) or not splits.validation.has_classes:
        return {}
    targets = splits.validation.targets
    if splits.of_seed is not None and isinstance(splits.train, Split):
        targets = torch.cat([targets, splits.train.targets])
    return {"validation_counts": torch.bincount(targets, minlength=classes).tolist()}


def own_dropout(experiment: Experiment) -> dict[str, float]:
    """Return what the model drops before anything is placed in it: place to p.

    Dropout that two training examples do not pass through is left out, and so is that of a
    recurrent network of one layer, which torch ignores.

    Randomness: none that stays; the generators of torch are put back.
    """
    model = initial_model(experiment.build, experiment.recipe.seeds[0])
    train = experiment.splits.train
    with torch.random.fork_rng(devices=[]):
        inputs, _ = next(train.batches(torch.arange(min(2, len(train))), 2))
        try:
            found = placement.rates(model, inputs).entries
        except PlacementError:  # what the model itself says of its rates is better than nothing
            found = placement.rates(model).entries
    return {
        entry.name: entry.p
        for entry in found
        if entry.p > 0 and entry.calls != 0 and not _ignored(entry.module)
    }


def _ignored(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase) and module.num_layers == 1
