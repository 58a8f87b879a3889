"""`/api/see`: masks, and outputs under masks, for the page "See it".

GET /api/see: the masks of some mini-batches, as a run of this recipe and seed draws them.

    recipe    name of a built-in recipe
    rates     "fc2:0.3,fc3:0.5", the rate at each site; sites left out have 0      [none]
    seed      0 to 2**31 - 1                                                       [0]
    step      the first mini-batch, counted from 0 over the whole run              [0]
    steps     how many mini-batches, 1 to 32                                       [1]
    example   which example of the mini-batch, from 0 to batch_size - 1            [0]

    {"recipe", "seed", "step", "steps", "example", "batch_size", "steps_an_epoch": int | null,
     "layers": [{"site": str | null (the output), "width": int, "p": float, "scale": float,
                 "masks": [hex, one a step], "dropped": [int, one a step]}]}   (both only if p > 0)

    A mask has four units a hexadecimal digit, the first unit in the highest bit; a 1 is kept.

GET /api/see/outputs: how one output of a layer is distributed over masks.

    recipe, rates, seed   as above
    layer     a site's name, for the layer behind it                        [the first that drops]
    unit      which output of the layer                    [the strongest one in eval mode]
    masks     how many masks, 16 to 1000                                    [400]
    run, arm  take the weights that this run has trained for this arm and seed   [initial weights]

    {"layer", "unit", "units", "masks", "low", "high", "counts": [25 of int], "mean", "sd", "eval",
     "unscaled": float | null, "weights": str, "input": str, "said": str}

A parameter that is unknown, given twice or out of range is answered with 400 and {"error": str}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from droplab.errors import ArgumentError, DroplabError, nearest
from droplab.probability import check_p
from droplab.recipe import builtin_names, load
from droplab.results import load as load_run

if TYPE_CHECKING:
    from droplab.lab._masks_network import Trained

MOST_STEPS, FEWEST_MASKS, MOST_MASKS = 32, 16, 1000
LAST_STEP, LAST_SEED = 9_999_999, 2**31 - 1
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_RATE = re.compile(r"[0-9]{0,3}\.?[0-9]{1,6}")


def routes(runs: Path | None = None) -> list[Route]:
    """Return the routes under `/api/see`.

    Args:
        runs: The folder that has the runs; None: there are only initial weights to look at.
    """

    def answer(work: Callable[[Mapping[str, str]], dict[str, Any]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> JSONResponse:
            try:
                query = single(request.query_params.multi_items())
                return JSONResponse(await run_in_threadpool(work, query))
            except DroplabError as error:
                return JSONResponse({"error": str(error)}, status_code=400)

        return endpoint

    return [
        Route("/api/see", answer(see)),
        Route("/api/see/outputs", answer(lambda query: see_outputs(query, runs))),
    ]


def see(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of `/api/see`."""
    only(query, "recipe", "rates", "seed", "step", "steps", "example")
    recipe = _recipe(query)
    rates = _rates(query, recipe)
    seed = whole(query, "seed", 0, 0, LAST_SEED)
    steps = whole(query, "steps", 1, 1, MOST_STEPS)
    step = whole(query, "step", 0, 0, LAST_STEP)
    example = whole(query, "example", 0, 0, load(recipe).batch_size - 1)
    from droplab.lab import _masks_network

    return _masks_network.masks(recipe, seed, rates, step=step, steps=steps, example=example)


def see_outputs(query: Mapping[str, str], runs: Path | None) -> dict[str, Any]:
    """Return the answer of `/api/see/outputs`."""
    only(query, "recipe", "rates", "seed", "layer", "unit", "masks", "run", "arm")
    recipe = _recipe(query)
    rates = _rates(query, recipe)
    seed = whole(query, "seed", 0, 0, LAST_SEED)
    count = whole(query, "masks", 400, FEWEST_MASKS, MOST_MASKS)
    from droplab.lab import _masks_network

    found = _masks_network.network(recipe, 0)
    names = found.applied.names
    first = next((site for site in names if rates.get(site)), names[-1])
    layer = one_of(query, "layer", names, first)
    units = found.layer(layer).out_features
    unit = whole(query, "unit", 0, 0, units - 1) if "unit" in query else None
    trained = _trained(query, recipe, seed, runs)
    return _masks_network.outputs(
        recipe, seed, rates, layer=layer, unit=unit, count=count, trained=trained
    )


def single(items: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name.

    Raises:
        ArgumentError: If one is given twice.
    """
    found: dict[str, str] = {}
    for name, value in items:
        if name in found:
            raise ArgumentError(f"{name[:40]}: expected it once, got it twice; leave one out")
        found[name] = value
    return found


def only(query: Mapping[str, str], *names: str) -> None:
    """Refuse parameters that are not among `names`."""
    for name in query:
        if name not in names:
            raise ArgumentError(f"{name[:40]}: no such parameter{nearest(name[:40], names)}")


def whole(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number within limits."""
    text = query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise ArgumentError(
            f"{name}: expected a whole number from {low} to {high}, got {text[:40]!r}"
        )
    return int(text)


def one_of(query: Mapping[str, str], name: str, options: tuple[str, ...], default: str) -> str:
    """Return one of some names."""
    text = query.get(name, default)
    if text not in options:
        raise ArgumentError(f"{name}: expected one of {', '.join(options)}, got {text[:40]!r}")
    return text


def _recipe(query: Mapping[str, str]) -> str:
    names = tuple(name for name in builtin_names() if load(name).model.widths)
    if "recipe" not in query:
        raise ArgumentError(f"recipe: expected one of {', '.join(names)}, got none")
    return one_of(query, "recipe", names, "")


def _rates(query: Mapping[str, str], recipe: str) -> dict[str, float]:
    from droplab.lab import _masks_network

    names = _masks_network.site_names(recipe)
    rates: dict[str, float] = {}
    for part in filter(None, query.get("rates", "")[:1000].split(",")):
        site, _, text = part.partition(":")
        if site not in names or site in rates:
            raise ArgumentError(
                f"rates: expected each of {', '.join(names)} at most once, got {site[:40]!r}"
            )
        if not _RATE.fullmatch(text):
            raise ArgumentError(f"rates: expected a rate such as {site}:0.3, got {part[:60]!r}")
        rates[site] = check_p(float(text), where=f"rates: {site}")
    return rates


def _trained(query: Mapping[str, str], recipe: str, seed: int, runs: Path | None) -> Trained | None:
    """Return the weights that are asked for, from a finished run of this recipe's model."""
    if "run" not in query:
        if "arm" in query:
            raise ArgumentError("arm: expected it together with run, got it alone; name the run")
        return None
    run = query["run"]
    there = {entry.name for entry in runs.iterdir()} if runs and runs.is_dir() else set()
    if runs is None or not _RUN.fullmatch(run) or run not in there:
        raise ArgumentError(f"run: expected one of the runs of this page, got {run[:40]!r}")
    result = load_run(runs / run)
    if result.recipe.model != load(recipe).model:
        raise ArgumentError(f"run: expected a run with the network of {recipe}, got {run}")
    done = {(m.arm, m.seed): m for m in result.members if m.state == "done"}
    arms = tuple(dict.fromkeys(arm for arm, each in done if each == seed))
    if not arms:
        raise ArgumentError(f"run: expected one that has finished seed {seed}, got {run}")
    arm = one_of(query, "arm", arms, arms[-1])
    from droplab.lab._masks_network import Trained
    from droplab.study._folders import weights_path_in

    file = weights_path_in(runs / run, result.recipe, arm, seed, "last")
    return Trained(file, run, arm, result.recipe.epochs)
