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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from droplab.errors import ArgumentError, DroplabError, quote
from droplab.lab._body import B, Body, check_whole, checked, whole
from droplab.lab._limits import Refusal
from droplab.lab._recipes import built_in
from droplab.probability import check_p
from droplab.results import load as load_run

if TYPE_CHECKING:
    from droplab.lab._masks_network import Trained

MOST_STEPS, FEWEST_MASKS, MOST_MASKS = 32, 16, 1000
LAST_STEP, LAST_SEED = 9_999_999, 2**31 - 1
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_RATE = re.compile(r"[0-9]{0,3}\.?[0-9]{1,6}")


def _one_of(given: str, options: Iterable[str], *, where: str = "") -> str:
    names = tuple(options)
    if given not in names:
        raise ArgumentError(f"{where}expected one of {', '.join(names)}, got {quote(given)}")
    return given


def _shown(name: str) -> str:
    """Return the name of a recipe with droplab's own network, whose layers can be looked at."""
    return _one_of(name, (each for each, recipe in built_in().items() if recipe.model.widths))


def _number(text: str) -> Any:
    """Return the number that a text writes; int() alone takes more than digits."""
    return int(text) if _NUMBER.fullmatch(text) else text


Written = BeforeValidator(_number)


class _Query(Body):
    """What both addresses may be asked with."""

    recipe: Annotated[str, AfterValidator(_shown), Field(validate_default=True)] = ""
    rates: Annotated[str, Field(max_length=1000)] = ""
    seed: Annotated[int, whole(0, LAST_SEED), Written] = 0


class See(_Query):
    """What `/api/see` may be asked with."""

    step: Annotated[int, whole(0, LAST_STEP), Written] = 0
    steps: Annotated[int, whole(1, MOST_STEPS), Written] = 1
    example: Annotated[Any, Written] = 0

    @model_validator(mode="after")
    def _check(self) -> See:
        check_whole(self.example, 0, built_in()[self.recipe].batch_size - 1, where="example: ")
        return self


class SeeOutputs(_Query):
    """What `/api/see/outputs` may be asked with."""

    layer: str | None = None
    unit: Annotated[Any, Written] = None
    masks: Annotated[int, whole(FEWEST_MASKS, MOST_MASKS), Written] = 400
    run: str | None = None
    arm: str | None = None

    @model_validator(mode="after")
    def _check(self) -> SeeOutputs:
        if self.arm is not None and self.run is None:
            raise ValueError("arm: expected it together with run, got it alone; name the run")
        return self


def routes(runs: Path | None = None) -> list[Route]:
    """Return the routes under `/api/see`.

    Args:
        runs: The folder that has the runs; None: there are only initial weights to look at.
    """

    def answer(model: type[B], work: Callable[[B], dict[str, Any]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> JSONResponse:
            def found() -> dict[str, Any]:
                query = single(request.query_params.multi_items())
                return work(checked(model, query, where="request"))

            try:
                return JSONResponse(await run_in_threadpool(found))
            except (DroplabError, Refusal) as error:
                return JSONResponse({"error": str(error)}, status_code=400)

        return endpoint

    return [
        Route("/api/see", answer(See, see)),
        Route("/api/see/outputs", answer(SeeOutputs, lambda asked: see_outputs(asked, runs))),
    ]


def see(asked: See) -> dict[str, Any]:
    """Return the answer of `/api/see`."""
    rates = _rates(asked)
    from droplab.lab import _masks_network

    return _masks_network.masks(
        asked.recipe, asked.seed, rates, step=asked.step, steps=asked.steps, example=asked.example
    )


def see_outputs(asked: SeeOutputs, runs: Path | None) -> dict[str, Any]:
    """Return the answer of `/api/see/outputs`."""
    rates = _rates(asked)
    from droplab.lab import _masks_network

    found = _masks_network.network(asked.recipe, 0)
    names = found.applied.names
    first = next((site for site in names if rates.get(site)), names[-1])
    layer = _one_of(asked.layer, names, where="layer: ") if asked.layer is not None else first
    if asked.unit is not None:
        check_whole(asked.unit, 0, found.layer(layer).out_features - 1, where="unit: ")
    return _masks_network.outputs(
        asked.recipe,
        asked.seed,
        rates,
        layer=layer,
        unit=asked.unit,
        count=asked.masks,
        trained=_trained(asked, runs),
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


def _rates(asked: _Query) -> dict[str, float]:
    from droplab.lab import _masks_network

    names = _masks_network.site_names(asked.recipe)
    rates: dict[str, float] = {}
    for part in filter(None, asked.rates.split(",")):
        site, _, text = part.partition(":")
        if site not in names or site in rates:
            raise ArgumentError(
                f"rates: expected each of {', '.join(names)} at most once, got {quote(site)}"
            )
        if not _RATE.fullmatch(text):
            raise ArgumentError(f"rates: expected a rate such as {site}:0.3, got {quote(part)}")
        rates[site] = check_p(float(text), where=f"rates: {site}")
    return rates


def _trained(asked: SeeOutputs, runs: Path | None) -> Trained | None:
    """Return the weights that are asked for, from a finished run of this recipe's model."""
    if asked.run is None:
        return None
    run = asked.run
    there = {entry.name for entry in runs.iterdir()} if runs and runs.is_dir() else set()
    if runs is None or not _RUN.fullmatch(run) or run not in there:
        raise ArgumentError(f"run: expected one of the runs of this page, got {quote(run)}")
    result = load_run(runs / run)
    if result.recipe.model != built_in()[asked.recipe].model:
        raise ArgumentError(f"run: expected a run with the network of {asked.recipe}, got {run}")
    arms = dict.fromkeys(
        m.arm for m in result.members if m.state == "done" and m.seed == asked.seed
    )
    if not arms:
        raise ArgumentError(f"run: expected one that has finished seed {asked.seed}, got {run}")
    arm = _one_of(asked.arm or [*arms][-1], arms, where="arm: ")
    from droplab.lab._masks_network import Trained
    from droplab.studies import weights_path_in

    file = weights_path_in(runs / run, result.recipe, arm, asked.seed, "last")
    return Trained(file, run, arm, result.recipe.epochs)
