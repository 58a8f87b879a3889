"""What a search finds beside a sweep of the same budget: `python -m tools.search_worth`.

Prints the rows of the table in docs/search.md. Every case is a sweep of 9 rates on 4 seeds and a
search of about as many replicas, on the built-in digits; both winners are then trained again on 12
fresh seeds and measured on the test split, which neither has seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from torch import nn

from droplab.recipe import Arm, Recipe, load, override
from droplab.searches import Asked, search
from droplab.studies import resolve, run, sweep_recipe
from droplab.verdict import compare, judge

RATES = tuple(each / 10 for each in range(9))
SEEDS, FRESH = range(4), range(100, 112)
SEARCHES = {
    "halving": Asked(trials=14, batch=7, seeds=4, halving=True, confirm_seeds=1),
    "halving over epochs": Asked(trials=22, batch=8, seeds=4, confirm_seeds=1, first_epochs=5),
    "2 seeds, no halving": Asked(trials=17, batch=6, seeds=2, halving=False, confirm_seeds=1),
}


class Convolutions(nn.Sequential):
    """Three convolutions and two linear layers, for images of 1 x 8 x 8."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


def networks() -> dict[str, Recipe]:
    """Return the recipe of each network, without dropout."""
    digits = dataclasses.replace(load("digits"), target=None, arms=(Arm("none"),))
    layers = override(digits, {"model.hidden": [64] * 5, "data.train": 300, "epochs": 20})
    small = override(digits, {"data.train": 200, "epochs": 15})
    place = f"{Convolutions.__module__}:{Convolutions.__name__}"
    own = dataclasses.replace(small.model, path=place, arguments={})
    return {"six layers": layers, "convolutions": dataclasses.replace(small, model=own)}


def measure(recipe: Recipe, asked: Asked, folder: Path) -> str:
    """Return the cells of a row.

    They are the replicas that the search trained, losses without dropout and of both winners, and
    the difference of these.
    """
    sweep = dataclasses.replace(sweep_recipe(recipe, RATES), seeds=tuple(SEEDS))
    arms = judge(run(sweep, folder / "sweep")).arms
    best = min((a for a in arms if a.name != "none"), key=lambda a: a.metrics["val_loss"].mean)
    found = search(resolve(recipe), "site", asked=asked, out=folder / "search")
    swept = dataclasses.replace(sweep.arm(best.name), name="sweep")
    last = run(
        dataclasses.replace(
            recipe,
            arms=(Arm("none"), swept, Arm("search", dict(found.plan))),
            seeds=tuple(FRESH),
            data=dataclasses.replace(recipe.data, validation="test"),
        ),
        folder / "fresh",
    )
    loss = {(r.arm, r.seed): r.val_loss for r in last.rows if r.epoch == recipe.epochs}
    means = [
        sum(loss[arm, seed] for seed in FRESH) / len(FRESH) for arm in ("none", "sweep", "search")
    ]
    (each,) = compare([[loss["search", seed] - loss["sweep", seed] for seed in FRESH]])
    plan = ", ".join(f"{site} {p:g}" for site, p in found.plan.items())
    return (
        f"{found.record.epochs_trained / recipe.epochs:.0f} | "
        f"{means[0]:.3f} | {means[1]:.3f} ({best.name}) | {means[2]:.3f} ({plan}) | "
        f"{each.mean:+.3f} ({each.low:+.3f} to {each.high:+.3f})"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.search_worth", description=__doc__)
    parser.add_argument("--network", action="append", choices=networks(), help="only this one")
    parser.add_argument("--search", action="append", choices=SEARCHES, help="only this one")
    options = parser.parse_args()
    for network, recipe in networks().items():
        for name, asked in SEARCHES.items():
            if network in (options.network or [network]) and name in (options.search or [name]):
                with tempfile.TemporaryDirectory() as folder:
                    print(f"| {network} | {name} | {measure(recipe, asked, Path(folder))} |")


if __name__ == "__main__":
    main()
