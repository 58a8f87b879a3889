"""`droplab run`: an experiment from a recipe to a verdict."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from droplab.cli._executor import cluster_of, executor_options
from droplab.cli._question import BOTH, asked, question_option
from droplab.cli._receivers import receiver_options, receiving
from droplab.cli._verbose import verbose
from droplab.errors import ArgumentError, quote

if TYPE_CHECKING:
    from droplab.recipe import Recipe

TARGET_MISSED = 1
MEASURE = "measure"

_OPTIONS = (
    click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the recipe's."),
    click.option(
        "--out", type=click.Path(path_type=Path), help="Run folder [default: runs/NAME-DIGEST]."
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on with the run in the run folder, with the recipe, arms and code it began with.",
    ),
    click.option(
        "--changed-code",
        is_flag=True,
        help="Resume although the code, or the version of torch or droplab, has changed.",
    ),
    click.option(
        "--budget",
        metavar="TIME",
        help="Leave seeds away until the run fits, e.g. 90s, 5m or 2h.",
    ),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        help="Where to train [default: a CUDA device if there is one].",
    ),
    click.option(
        "--plan",
        metavar="PLAN",
        help="How steps are executed: as a run's folder or a plan in JSON says, or 'measure' to "
        "measure it anew [default: as it was measured here before for such a run].",
    ),
    executor_options,
    question_option,
    receiver_options,
    click.option("--require-target", is_flag=True, help="Exit with 1 if no arm meets the target."),
    click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."
    ),
    click.option("--quiet", is_flag=True, help="Print the result only."),
    verbose,
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that trains: all but `epochs` go to `run_and_show`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_CHANGES = (
    click.option("--arm", "arms", multiple=True, help="This arm only; may be repeated."),
    click.option(
        "--seeds", help="How many seeds ('4': the recipe's first four), or which ('0,1,7')."
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a value of the recipe, e.g. optimizer.lr=0.01; may be repeated.",
    ),
)


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that change a recipe: see `changed_recipe`."""
    for option in reversed(_CHANGES):
        command = option(command)
    return command


@click.command("run")
@click.argument("recipe")
@recipe_options
@click.option(
    "--log-every",
    type=click.IntRange(min=1),
    default=None,
    help="Print the mean loss of every N mini-batches.",
)
@training_options
def command(
    recipe: str,
    arms: tuple[str, ...],
    seeds: str | None,
    settings: tuple[str, ...],
    log_every: int | None,
    epochs: int | None,
    **how: Any,
) -> None:
    r"""Run RECIPE: a built-in name (see `droplab recipes list`) or a TOML file.

    Trains every arm with every seed, keeps each row on disk as it is measured, and ends with the
    before/after table, the diagnosis and the verdict. Exit codes: 0 done, 1 the target was missed
    (with --require-target), 2 bad input, 130 interrupted.

    \b
    Examples:
      droplab run digits --seeds 6
      droplab run mine.toml --set optimizer.lr=0.01 --out runs/mine
      droplab run mine.toml --out runs/mine --resume
    """
    spec = changed_recipe(recipe, settings, epochs, seeds)
    run_and_show(spec, arms=arms, log_every=log_every or 0, **how)


def changed_recipe(
    recipe: str, settings: tuple[str, ...], epochs: int | None, seeds: str | None
) -> Recipe:
    """Return a recipe with what the command line changes of it."""
    from droplab.recipe import load, override

    spec = load(recipe)
    changes: dict[str, Any] = dict(_setting(text) for text in settings)
    if epochs is not None:
        changes["epochs"] = epochs
    if seeds is not None:
        changes["seeds"] = parse_seeds(seeds, spec.seeds)
    return override(spec, changes) if changes else spec


def run_and_show(
    recipe: Recipe,
    *,
    arms: tuple[str, ...] = (),
    out: Path | None = None,
    resume: bool = False,
    changed_code: bool = False,
    budget: str | None = None,
    least_seeds: int = 1,
    device: str | None = None,
    plan: str | None = None,
    executor: str | None = None,
    address: str | None = None,
    gpus_per_trial: float | None = None,
    log_every: int = 0,
    question: str = BOTH,
    tensorboard: Path | None = None,
    mlflow: str | None = None,
    require_target: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Run a recipe and print what came out; exit if a target is required and was missed."""
    from rich.console import Console

    from droplab.cli._heading import earlier_run, print_heading
    from droplab.verdict import foresee

    seconds = parse_time(budget) if budget else None
    console = Console(stderr=as_json)
    names = [arm.name for arm in recipe.selected(arms)]
    silent = quiet or as_json
    if not silent:
        # before torch is imported, let alone data loaded or steps measured
        print_heading(console, recipe, names, foresee(recipe, names, earlier_run(recipe)))
    with (
        console.status("getting ready")
        if console.is_terminal and not silent
        else nullcontext(None) as status
    ):
        from droplab.cli._outcome import outcome, show
        from droplab.cli._watch import Watch
        from droplab.cli._words import command_line
        from droplab.studies import default_folder, read_plan, run

        cluster = cluster_of(executor, address, gpus_per_trial)
        if plan is not None:
            _check_plan_options(plan, resume=resume, device=device)
        if out is None:
            # chosen here so that an interrupted run can be named
            out = default_folder(recipe, existing=resume)
        measure, given = plan == MEASURE, None
        if plan is not None and not measure:
            given = read_plan(plan, replicas=len(names) * len(recipe.seeds))
        try:
            with (
                Watch(console, recipe, names, quiet=silent, status=status) as watch,
                receiving(watch, tensorboard, mlflow) as observer,
            ):
                result = run(
                    recipe,
                    out,
                    arms=arms,
                    resume=resume,
                    changed_code=changed_code,
                    plan=given,
                    measure=measure,
                    budget=seconds,
                    least_seeds=least_seeds,
                    cluster=cluster,
                    device=device,
                    log_every=log_every,
                    observer=observer,
                    command=command_line(),
                )
        except KeyboardInterrupt:
            click.echo(
                f"interrupted; every finished epoch is kept in {out}. To go on, run the same "
                f"command with --out {out} --resume",
                err=True,
            )
            sys.exit(130)
    found = outcome(result, asked(question))
    if as_json:
        json.dump(found.to_dict(), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        show(found, console)
    if require_target and found.target_met is False:
        sys.exit(TARGET_MISSED)


def _check_plan_options(plan: str, *, resume: bool, device: str | None) -> None:
    if resume:
        raise ArgumentError("--plan: a run that is resumed keeps its own plan; leave --plan out")
    if device is not None and plan != MEASURE:
        raise ArgumentError("--plan: a plan names its device; leave --device out")


def parse_seeds(text: str, own: tuple[int, ...]) -> list[int]:
    """Return the seeds that `--seeds` means.

    Args:
        text: A count, or seeds separated by commas.
        own: The recipe's seeds. A larger count goes on with the smallest integers not in them.

    Example:
        >>> parse_seeds("3", (42,)), parse_seeds("5,7", (0, 1))
        ([42, 0, 1], [5, 7])
    """
    try:
        numbers = [int(part) for part in text.strip().strip(",").split(",")]
    except ValueError:
        raise ArgumentError(
            f"--seeds: expected a count such as 8, or seeds such as 0,1,2, got {quote(text)}"
        ) from None
    if "," in text:
        return numbers
    count = numbers[0]
    if not 1 <= count <= 10_000:
        raise ArgumentError(
            f"--seeds: expected a count between 1 and 10000, got {count}; write '{count},' to "
            "name a single seed"
        )
    more = (seed for seed in range(count + len(own)) if seed not in own)
    return [*own, *more][:count]


def parse_time(text: str) -> float:
    """Return the seconds that a time such as 90s, 5m or 2h means; a bare number is seconds.

    Example:
        >>> parse_time("1.5m")
        90.0
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise ArgumentError(f"--budget: expected a time such as 90s, 5m or 2h, got {quote(text)}")
    factor: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "h": 3600}
    return float(match[1]) * factor[match[2]]


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ArgumentError(f"--set: expected KEY=VALUE, got {quote(text)}; e.g. optimizer.lr=0.01")
    return key.strip(), value.strip()
