"""What the page "See it" shows, from the engine's own keys and a real model.

A mask is a pure function of (seed, site, step), so the masks that a run will draw, or has drawn,
are made again here: the model is built and its sites are keyed as `droplab.sweep` does it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from droplab import data, models, ops, placement, recipe
from droplab.ops import mask_key
from droplab.placement import Applied
from droplab.probability import scale
from droplab.recipe import Recipe
from droplab.train import batch_order, initial_model
from droplab.train.checkpoint import load_weights

BINS = 25
_LOCK = threading.RLock()
"""Building a model seeds torch's global generators, and a kept model has one set of rates."""


@dataclass(frozen=True)
class Trained:
    """The weights of a replica that a run has trained.

    Args:
        file: Where they are.
        run: The run's name.
        arm: The arm's name.
        epochs: How long it was trained.
    """

    file: Path
    run: str
    arm: str
    epochs: int


@dataclass(frozen=True)
class Network:
    """The model of a recipe and a seed, with dropout at all of its sites."""

    model: nn.Module
    applied: Applied

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer, from the input to the output."""
        layers = [self.layer(name) for name in self.applied.names]
        return (*(layer.in_features for layer in layers), layers[-1].out_features)

    def layer(self, name: str) -> nn.Linear:
        """Return the layer whose input is the site `name`."""
        layer = self.model.get_submodule(name)
        assert isinstance(layer, nn.Linear)  # only recipes with droplab's own network are shown
        return layer

    def keys(self, site: int, first: int, count: int) -> Tensor:
        """Return the engine's keys of one site at `count` steps from `first`, (count, 2)."""
        rows: list[Tensor] = []
        for step in range(first, first + count):
            self.applied.set_step(step)
            rows.append(self.applied.keys[site].clone())
        return torch.stack(rows)


@lru_cache(maxsize=16)
def network(name: str, seed: int, trained: Trained | None = None) -> Network:
    """Return the model of a built-in recipe as it is before its first step, or as it was trained.

    Args:
        name: A built-in recipe.
        seed: The seed of the initial weights and of the masks.
        trained: Weights to take instead of the initial ones.
    """
    with _LOCK:
        spec = recipe.load(name).model
        model = initial_model(lambda: models.build(spec), seed)
        if trained is not None:
            load_weights(model, trained.file)
        every = {site.name: 0.0 for site in placement.sites(model)}
        applied = placement.plan(model, every).apply()
        applied.seed({site: mask_key(seed, site) for site in applied.names})
        return Network(model, applied)


def site_names(name: str) -> tuple[str, ...]:
    """Return the sites of a built-in recipe's model, in order."""
    return network(name, 0).applied.names


def masks(
    name: str, seed: int, rates: Mapping[str, float], *, step: int, steps: int, example: int
) -> dict[str, Any]:
    """Return the masks that one example of each mini-batch gets at every site of the network.

    Args:
        name: A built-in recipe.
        seed: The seed of the run.
        rates: The rate at each site; none means 0.
        step: The first mini-batch, counted from 0 over the whole run.
        steps: How many mini-batches.
        example: Which example of the mini-batch.
    """
    found, chosen = network(name, seed), recipe.load(name)
    layers: list[dict[str, Any]] = []
    with _LOCK:
        for index, site in enumerate(found.applied.names):
            width, p = found.widths[index], rates.get(site, 0.0)
            layer: dict[str, Any] = {"site": site, "width": width, "p": p, "scale": scale(p)}
            if p:
                keys = found.keys(index, step, steps)
                keep = ops.keep_mask((example + 1, width), p, key=keys)[:, example]
                layer["masks"] = [as_hex(row) for row in keep]
                layer["dropped"] = (~keep).sum(1).tolist()
            layers.append(layer)
    layers.append({"site": None, "width": found.widths[-1], "p": 0.0, "scale": 1.0})
    return {
        "recipe": name,
        "seed": seed,
        "step": step,
        "steps": steps,
        "example": example,
        "batch_size": chosen.batch_size,
        "steps_an_epoch": steps_an_epoch(chosen),
        "layers": layers,
    }


def as_hex(keep: Tensor) -> str:
    """Write a mask with four units a digit, the first unit in the highest bit: kept is 1."""
    bits = "".join("1" if kept else "0" for kept in keep.tolist())
    bits += "0" * (-len(bits) % 4)
    return f"{int(bits, 2):0{len(bits) // 4}x}"


def steps_an_epoch(chosen: Recipe) -> int | None:
    """Return the optimizer steps of an epoch, None if that is not known without the data."""
    return None if chosen.data.train is None else -(-chosen.data.train // chosen.step_size)


def outputs(
    name: str,
    seed: int,
    rates: Mapping[str, float],
    *,
    layer: str,
    unit: int | None,
    count: int,
    trained: Trained | None = None,
) -> dict[str, Any]:
    """Return how one output of a layer is distributed over masks, and what it is in eval mode.

    The masks are those that the first example of the run's first `count` mini-batches gets.

    Args:
        name: A built-in recipe.
        seed: The seed of the run.
        rates: The rate at each site.
        layer: The layer whose output is looked at, before any activation function.
        unit: Which of its outputs; None: the strongest one in eval mode.
        count: How many masks.
        trained: Weights to take instead of the initial ones.
    """
    found = network(name, seed, trained)
    image, about = example_image(name, seed)
    with _LOCK:
        taken = _run(found, rates, image, layer, count)
        bias = found.layer(layer).bias.detach().numpy()
    if unit is None:
        unit = int(np.abs(taken[-1] - bias).argmax())
    values, plain, offset = taken[:-1, unit], float(taken[-1, unit]), float(bias[unit])
    before = found.applied.names[: found.applied.names.index(layer)]
    p, earlier = rates.get(layer, 0.0), any(rates.get(site) for site in before)
    mean = float(values.mean())
    # The layer is linear: without the scale, all but its bias would shrink by 1 - p.
    unscaled = offset + (mean - offset) / scale(p) if 0 < p < 1 else None
    low, high = _range([*values.tolist(), plain, *([unscaled] if unscaled is not None else [])])
    return {
        "layer": layer,
        "unit": unit,
        "units": found.layer(layer).out_features,
        "masks": count,
        "low": low,
        "high": high,
        "counts": np.histogram(values, BINS, (low, high))[0].tolist(),
        "mean": mean,
        "sd": float(values.std(ddof=1)),
        "eval": plain,
        "unscaled": unscaled,
        "weights": _weights(seed, trained),
        "input": about,
        "said": _said(p, earlier),
    }


def _run(
    found: Network, rates: Mapping[str, float], image: Tensor, layer: str, count: int
) -> np.ndarray:
    """Return the layer's outputs, a row for each mask, and a last one in eval mode."""
    taken: list[Tensor] = []
    applied, model = found.applied, found.model
    handle = found.layer(layer).register_forward_hook(
        lambda module, inputs, output: taken.append(output[0])
    )
    try:
        applied.p.copy_(torch.tensor([rates.get(site, 0.0) for site in applied.names]).double())
        with torch.no_grad():
            model.train()
            for step in range(count):
                applied.set_step(step)
                model(image)
            model.eval()
            model(image)
    finally:
        handle.remove()
        model.train()
    return torch.stack(taken).double().numpy()


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    air = 0.02 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air, high + air


def _weights(seed: int, trained: Trained | None) -> str:
    if trained is None:
        return f"initial weights of seed {seed}, untrained"
    return f"weights of '{trained.arm}', seed {seed}, after {trained.epochs} epochs ({trained.run})"


def _said(p: float, earlier: bool) -> str:
    if not p and not earlier:
        return "Nothing is dropped up to this layer, so every mask gives the eval output."
    if p == 1:
        return "p = 1 drops the layer's whole input: only its bias is left."
    if not earlier:
        return (
            f"The units that stay are multiplied by 1 / (1 − p) = {scale(p):.3g}, so the mean over "
            "all masks is the eval output: eval mode needs no mask and no scale."
        )
    return (
        "Dropout before an earlier ReLU bends the mean: it comes close to the eval output, and "
        "need not meet it."
    )


@lru_cache(maxsize=16)
def example_image(name: str, seed: int) -> tuple[Tensor, str]:
    """Return the first example of a run's first mini-batch, and what it is.

    Data that is not on this machine is not fetched for it: then it is noise.
    """
    chosen = recipe.load(name)
    if chosen.data.name is not None and not data.known(chosen.data.name).missing:
        with _LOCK:
            found = data.load(chosen.data)
            train = data.carve(found, chosen.data).train
        order = batch_order(seed, 1, len(train))[:1]
        inputs, targets = next(train.batches(order, 1))
        assert isinstance(inputs, Tensor)  # as all of the built-in data are
        label = found.classes[int(targets[0])]
        return inputs, f"training image {int(order[0])} of {name} ('{label}')"
    noise = ops.uniform((1, network(name, seed).widths[0]), key=ops.make_key(seed, site="see"))
    return noise, f"an image of noise, since {chosen.data.source} is not on this machine"
