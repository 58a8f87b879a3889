"""Gal and Ghahramani's experiments on UCI data, again: `python -m tools.uci FOLDER [NAME ...]`.

FOLDER holds the data sets as `uci-NAME.npz`, with the splits, grids and figures of the published
code. Prints the tables of docs/uci.md; `--write docs/uci.md` puts their rows into that page, and
leaves those of other data sets there. That page says what is the same as there and what is not.
`--keep FOLDER` stores the rows of every few splits, and goes on after them when it is given again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from droplab import judge
from droplab.ops import dropout, make_key
from droplab.rng import stream_key
from droplab.uncertainty import ROWS, sample
from tools.calibrate import row, written

Floats = NDArray[np.float64]

NAMES = ("bostonHousing", "concrete", "energy", "wine-quality-red", "yacht")
BATCH, LENGTH_SCALE = 128, 1e-2
TOGETHER, SPLITS = 128, 4
"""Networks that are trained side by side, and splits whose rows are stored at once."""
MARGIN = {"rmse": 0.05, "log_likelihood": 0.05}
"""What counts as the same: a share of the published RMSE, and a difference in nats."""
BEGIN = "<!-- uci: made by python -m tools.uci, do not edit -->"
END = "<!-- end of uci -->"


@dataclass(frozen=True)
class Data:
    """A data set with its splits, and what the published code got on each of them.

    Args:
        name: Its name.
        inputs: (N, D).
        target: (N,).
        order: (splits, N): the rows of each split, training rows first.
        train: (splits,): how many of them are for training.
        rates: The grid of rates.
        precisions: The grid of the noise's precision tau, in the target's own unit.
        epochs: How many epochs, before the factor.
        hidden: Units of the hidden layer.
        published: Metric -> what was published for each split.
    """

    name: str
    inputs: Floats
    target: Floats
    order: NDArray[np.int64]
    train: NDArray[np.int64]
    rates: Floats
    precisions: Floats
    epochs: int
    hidden: int
    published: dict[str, Floats]

    @staticmethod
    def read(path: Path) -> Data:
        """Return a data set of the folder."""
        held = np.load(path)
        return Data(
            path.stem.removeprefix("uci-"),
            held["inputs"].astype(np.float64),
            held["target"].astype(np.float64).ravel(),
            held["split_order"].astype(np.int64),
            held["train_count"].astype(np.int64).ravel(),
            np.ravel(held["dropout_rates"]).astype(np.float64),
            np.ravel(held["tau_values"]).astype(np.float64),
            int(np.ravel(held["n_epochs"])[0]),
            int(np.ravel(held["n_hidden"])[0]),
            {
                "rmse": held["published_test_MC_rmse"].ravel(),
                "log_likelihood": held["published_test_ll"].ravel(),
            },
        )


@dataclass(frozen=True)
class Job:
    """A network to train, and the rows that it is scored on.

    Args:
        split: Which split.
        p: Rate of all its dropout.
        tau: Precision of the noise.
        train: Its training rows.
        held: The rows that are scored.
        stream: Initial weights, batch order and masks follow from it.
    """

    split: int
    p: float
    tau: float
    train: NDArray[np.int64]
    held: NDArray[np.int64]
    stream: str


def _stacked(data: Data, jobs: Sequence[Job]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return weights (K, ...) by Glorot and Bengio, and standardised inputs and targets."""
    wide = data.inputs.shape[1]
    shapes = ((wide, data.hidden), (1, data.hidden), (data.hidden, 1), (1, 1))
    weights = [torch.zeros(len(jobs), *shape) for shape in shapes]
    inputs, targets = [], []
    for k, job in enumerate(jobs):
        generator = torch.Generator().manual_seed(stream_key(job.split, f"{job.stream}/init"))
        for weight in (weights[0], weights[2]):
            bound = math.sqrt(6 / sum(weight.shape[1:]))
            weight[k].uniform_(-bound, bound, generator=generator)
        x, y, _, _ = _standardised(data, job)
        inputs.append(x[job.train])
        targets.append(y[job.train])
    return weights, torch.stack(inputs), torch.stack(targets)


def _standardised(data: Data, job: Job) -> tuple[Tensor, Tensor, float, float]:
    """Return inputs and targets of all rows by mean and deviation of the training rows."""
    x, y = data.inputs, data.target
    scale = x[job.train].std(axis=0)
    x = (x - x[job.train].mean(axis=0)) / np.where(scale == 0, 1, scale)
    centre, size = float(y[job.train].mean()), float(y[job.train].std())
    standard = (y - centre) / size
    return torch.from_numpy(x).float(), torch.from_numpy(standard).float(), centre, size


def train(data: Data, jobs: Sequence[Job], epochs: int) -> list[nn.Sequential]:
    """Train networks side by side, each as it would be alone; return them.

    Args:
        data: The data set.
        jobs: Networks with equally many training rows.
        epochs: How many epochs each.
    """
    weights, inputs, targets = _stacked(data, jobs)
    first, bias, second, offset = (weight.requires_grad_() for weight in weights)
    p = torch.tensor([job.p for job in jobs])
    rows = inputs.shape[1]
    decay = torch.tensor([LENGTH_SCALE**2 * (1 - job.p) / (2 * rows * job.tau) for job in jobs])
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True)
    orders = [
        torch.Generator().manual_seed(stream_key(job.split, f"{job.stream}/order")) for job in jobs
    ]
    keys = [
        torch.stack([make_key(job.split, site=f"{job.stream}/{at}") for job in jobs])
        for at in range(2)
    ]
    places = torch.arange(len(jobs))[:, None]
    step = 0
    for _ in range(epochs):
        order = torch.stack([torch.randperm(rows, generator=each) for each in orders])
        for batch in order.split(BATCH, dim=1):
            call = torch.tensor([0, step])
            hidden = dropout(inputs[places, batch], p, key=keys[0] + call) @ first + bias
            out = dropout(hidden.relu(), p, key=keys[1] + call) @ second + offset
            loss = (out.squeeze(-1) - targets[places, batch]).square().mean(1)
            loss = loss + decay * (first.square().sum((1, 2)) + second.square().sum((1, 2)))
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            step += 1
    return [
        _network(job.p, [weight[k].detach() for weight in weights]) for k, job in enumerate(jobs)
    ]


def _network(p: float, weights: Sequence[Tensor]) -> nn.Sequential:
    first, bias, second, offset = weights
    layers = [nn.Linear(*first.shape), nn.Linear(*second.shape)]
    with torch.no_grad():
        for layer, weight, shift in zip(layers, (first, second), (bias, offset), strict=True):
            layer.weight.copy_(weight.T)
            layer.bias.copy_(shift[0])
    return nn.Sequential(nn.Dropout(p), layers[0], nn.ReLU(), nn.Dropout(p), layers[1]).eval()


def scores(data: Data, job: Job, model: nn.Module, passes: int) -> dict[str, dict[str, float]]:
    """Return RMSE and log likelihood of many passes, and of the plain pass, in the target's unit.

    The likelihood of many passes is that of their mixture, as published: the mean over passes of
    the normal density with variance 1 / tau.
    """
    x, _, centre, size = _standardised(data, job)
    truth, held = torch.from_numpy(data.target)[job.held], x[job.held]
    with torch.no_grad():
        plain = model(held).double().squeeze(-1) * size + centre
    drawn = sample(model, held, passes, seed=job.split, chunk=max(ROWS, 200_000 // data.hidden))
    drawn = drawn.double().squeeze(-1) * size + centre
    return {
        "plain": _scored(plain[None], truth, job.tau),
        "Monte Carlo": _scored(drawn, truth, job.tau),
    }


def _scored(drawn: Tensor, truth: Tensor, tau: float) -> dict[str, float]:
    density = -tau / 2 * (drawn - truth).square()
    likelihood = torch.logsumexp(density, 0) - math.log(len(drawn))
    return {
        "rmse": float((drawn.mean(0) - truth).square().mean().sqrt()),
        "log_likelihood": float(likelihood.mean() + math.log(tau / (2 * math.pi)) / 2),
    }


def experiment(
    data: Data, splits: Sequence[int], factor: int, grid: int, passes: int
) -> list[dict[str, Any]]:
    """Choose rate and precision for each split on its training rows, and score on its test rows.

    Returns:
        Rows with `source`, `split` and the two metrics.
    """
    tried = []
    for split in splits:
        rows = data.order[split, : data.train[split]]
        kept = int(0.8 * len(rows))
        tried += [
            Job(split, p, tau, rows[:kept], rows[kept:], "grid")
            for p in data.rates.tolist()
            for tau in data.precisions.tolist()
        ]
    found = _all(data, tried, factor * data.epochs, grid, "grid")
    final = []
    for split in splits:
        own = [(s["Monte Carlo"]["log_likelihood"], j) for j, s in found if j.split == split]
        best = max(own, key=lambda each: each[0])[1]
        rows = data.order[split]
        count = data.train[split]
        final.append(Job(split, best.p, best.tau, rows[:count], rows[count:], "final"))
    table = []
    for job, ways in _all(data, final, factor * data.epochs, passes, "test"):
        table += [{"source": way, "split": job.split, **each} for way, each in ways.items()]
        known = {name: float(values[job.split]) for name, values in data.published.items()}
        table.append({"source": "published", "split": job.split, **known})
    return table


def continued(
    data: Data, path: Path | None, factor: int, grid: int, passes: int
) -> list[dict[str, Any]]:
    """Return the rows of all splits: those that the file has, and the others, which it then has.

    Args:
        data: The data set.
        path: One JSON object a row. None: nothing is stored.
        factor: Times the base number of epochs.
        grid: Passes for the grid.
        passes: Passes for the test rows.
    """
    asked = {"factor": factor, "grid": grid, "passes": passes}
    lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
    stored = [each for each in map(json.loads, lines) if asked.items() <= each.items()]
    table = [{name: each[name] for name in each if name not in asked} for each in stored]
    done = {each["split"] for each in table}
    left = [split for split in range(len(data.order)) if split not in done]
    for at in range(0, len(left), SPLITS):
        found = experiment(data, left[at : at + SPLITS], factor, grid, passes)
        table += found
        if path:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({**each, **asked}) + "\n" for each in found)
    return table


def _all(
    data: Data, jobs: Sequence[Job], epochs: int, passes: int, what: str
) -> list[tuple[Job, dict[str, dict[str, float]]]]:
    """Train and score networks, those with equally many training rows together."""
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        groups.setdefault(len(job.train), []).append(job)
    parts = [
        group[at : at + TOGETHER]
        for group in groups.values()
        for at in range(0, len(group), TOGETHER)
    ]
    found = []
    for part in track(parts, f"{data.name}, {what}", console=Console(stderr=True)):
        models = train(data, part, epochs)
        found += [
            (job, scores(data, job, model, passes)) for job, model in zip(part, models, strict=True)
        ]
    return found


METRICS = {"rmse": "lower", "log_likelihood": "higher"}


def agreement(name: str, table: Sequence[dict[str, Any]], metric: str) -> str:
    """Return one row of the table: ours beside the published figures, paired by split."""
    rows = [each for each in table if each["source"] != "plain"]
    verdict = judge(
        rows, arm="source", seed="split", metrics=METRICS, primary=metric, baseline="published"
    )
    ours = next(arm for arm in verdict.arms if arm.name == "Monte Carlo")
    found = ours.differences[metric]
    margin = MARGIN[metric] * (abs(found.before) if metric == "rmse" else 1.0)
    if -margin < found.low and found.high < margin:
        word = "agrees"
    elif found.better is not None:
        word = "differs"
    else:
        word = "cannot be told"
    return row(
        name,
        metric.replace("_", " "),
        f"{found.before:.3f}",
        f"{found.after:.3f}",
        f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]",
        word,
    )


def averaging(name: str, table: Sequence[dict[str, Any]], metric: str) -> str:
    """Return one row of the table: many passes beside the plain pass, paired by split."""
    rows = [each for each in table if each["source"] != "published"]
    verdict = judge(
        rows, arm="source", seed="split", metrics=METRICS, primary=metric, baseline="plain"
    )
    found = next(arm for arm in verdict.arms if arm.name == "Monte Carlo").differences[metric]
    word = {True: "better", False: "worse", None: "cannot be told"}[found.better]
    return row(
        name,
        metric.replace("_", " "),
        f"{found.before:.3f}",
        f"{found.after:.3f}",
        f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        word,
    )


def tables(beside: Sequence[str], against: Sequence[str]) -> str:
    """Return both tables."""
    return "\n".join(
        [
            row("data", "metric", "published", "here", "difference, 95 % interval", ""),
            "|---|---|---:|---:|---:|---|",
            *beside,
            "",
            row("data", "metric", "plain pass", "many passes", "difference, 95 % interval", ""),
            "|---|---|---:|---:|---:|---|",
            *against,
        ]
    )


def others(page: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the rows of both tables of a page that are not of the data sets of some names."""
    held = page.partition(BEGIN)[2].partition(END)[0].strip()
    parts = [part.splitlines()[2:] for part in held.split("\n\n")] if held else [[], []]
    first, second = (
        [line for line in part if line.split("|")[1].strip() not in names] for part in parts
    )
    return first, second


def main() -> None:
    """Run the experiments and print or store their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the data sets are")
    parser.add_argument("names", nargs="*", default=NAMES, help="which of them")
    parser.add_argument("--factor", type=int, default=100, help="times the base number of epochs")
    parser.add_argument("--grid-passes", type=int, default=1000, help="passes for the grid")
    parser.add_argument("--passes", type=int, default=10_000, help="passes for the test rows")
    parser.add_argument("--keep", type=Path, help="a folder to store rows in, and to go on from")
    parser.add_argument("--write", type=Path, help="a page to put the tables into")
    given = parser.parse_args()
    beside, against = [], []
    for name in given.names:
        data = Data.read(given.folder / f"uci-{name}.npz")
        path = given.keep and given.keep / f"{name}.jsonl"
        table = continued(data, path, given.factor, given.grid_passes, given.passes)
        beside += [agreement(data.name, table, metric) for metric in METRICS]
        against += [averaging(data.name, table, metric) for metric in METRICS]
    if given.write is not None:
        page = given.write.read_text(encoding="utf-8")
        first, second = others(page, given.names)
        text = tables(first + beside, second + against)
        given.write.write_text(written(page, text, BEGIN, END), encoding="utf-8")
    print(tables(beside, against))


if __name__ == "__main__":
    main()
