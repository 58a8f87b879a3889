"""`droplab search`: where dropout goes and how much, proposed by Optuna, judged on fresh ground."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from droplab.cli._executor import cluster_of, executor_options
from droplab.cli._verbose import verbose
from droplab.cli.run import MEASURE, changed_recipe

NOTHING_FOUND = 1


@click.command("search")
@click.argument("recipe")
@click.option(
    "--space",
    default="site",
    show_default=True,
    metavar="SPACE",
    help="'site': every hidden site has its own rate; 'block': one rate for each block; 'depth': "
    "rates grow with depth; 'all': one rate; or a TOML file (see docs/search.md).",
)
@click.option("--trials", type=int, default=32, show_default=True, help="How many plans.")
@click.option(
    "--batch", type=int, default=8, show_default=True, help="Plans that are trained together."
)
@click.option("--seeds", type=int, default=4, show_default=True, help="Seeds of each plan.")
@click.option(
    "--confirm-seeds", type=int, help="Fresh seeds of the verdict [default: as the recipe has]."
)
@click.option(
    "--objective",
    multiple=True,
    metavar="METRIC",
    help="What decides, instead of the recipe's; twice for a Pareto front of two.",
)
@click.option(
    "--sampler",
    default="tpe",
    show_default=True,
    metavar="SAMPLER",
    help="Optuna's: tpe, gp (Gaussian process), or random.",
)
@click.option("--sampler-seed", type=int, default=0, show_default=True, help="Its seed.")
@click.option(
    "--finalists",
    type=int,
    default=1,
    show_default=True,
    help="Plans that are judged on fresh seeds; of two objectives it is the Pareto front.",
)
@click.option(
    "--fresh",
    metavar="WHERE",
    help="What they are judged on: 'test', the test split, or 'validation', half of the "
    "validation examples, set aside before the first plan [default: test where there is one].",
)
@click.option(
    "--halving/--no-halving",
    default=None,
    help="Give up half of a generation after its first seed, and half of the rest after each "
    "doubling of the seeds [default: with one objective].",
)
@click.option(
    "--first-epochs",
    type=int,
    metavar="N",
    help="Give plans up already after so many epochs of the first seed; epochs are then doubled "
    "with the seeds, and what is kept goes on where it stopped [default: whole trainings].",
)
@click.option(
    "--warm",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="An earlier run of the recipe, a sweep for example, that Optuna is told of; may be "
    "repeated.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, e.g. optimizer.lr=0.01; may be repeated.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs, instead of the recipe's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Search folder [default: runs/NAME-search-DIGEST].",
)
@click.option("--resume", is_flag=True, help="Go on with the search in the search folder.")
@click.option(
    "--changed-code",
    is_flag=True,
    help="Go on although the code, or the version of torch, Optuna or droplab, has changed.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train [default: a CUDA device if there is one].",
)
@executor_options
@click.option("--plan", metavar="PLAN", help="How steps are executed, as `droplab run` has it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.option("--quiet", is_flag=True, help="Print the result only.")
@verbose
def command(
    recipe: str,
    space: str,
    trials: int,
    batch: int,
    seeds: int,
    confirm_seeds: int | None,
    objective: tuple[str, ...],
    sampler: str,
    sampler_seed: int,
    finalists: int,
    fresh: str | None,
    halving: bool | None,
    first_epochs: int | None,
    warm: tuple[Path, ...],
    settings: tuple[str, ...],
    epochs: int | None,
    out: Path | None,
    resume: bool,
    changed_code: bool,
    device: str | None,
    plan: str | None,
    executor: str | None,
    address: str | None,
    gpus_per_trial: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    r"""Search where dropout goes in the model of RECIPE, and how much of it.

    Optuna proposes plans, a generation of which is trained together. The best one and the
    baseline are then trained again on fresh seeds, and judged on examples that the search never
    scored. RECIPE is a built-in name or a TOML file; its arms do not count. Exit codes: 0 done,
    1 no plan was found that can be judged, 2 bad input, 130 interrupted.

    \b
    Examples:
      droplab search digits
      droplab search mine.toml --space depth --trials 48 --seeds 3
      droplab search mine.toml --epochs 40 --first-epochs 10
      droplab search mine.toml --space space.toml --objective val_loss --objective val_ece
      droplab search mine.toml --warm runs/mine-sweep --out runs/found --resume
    """
    from rich.console import Console

    from droplab.searches import Asked, read_space

    asked = Asked(
        trials=trials,
        batch=batch,
        seeds=seeds,
        confirm_seeds=confirm_seeds,
        sampler=sampler,
        sampler_seed=sampler_seed,
        finalists=finalists,
        fresh=fresh,
        halving=halving,
        first_epochs=first_epochs,
    )
    spec, spaces = changed_recipe(recipe, settings, epochs, None), read_space(space)
    asked = asked.decided(len(objective or spaces.objective) or 1, spec.epochs)
    console = Console(stderr=as_json)
    silent = quiet or as_json
    if not silent:
        console.print(
            f"{spec.title or spec.name}: a search\n{asked.trials} plans x "
            f"{'at most ' if asked.halving else ''}{asked.seeds} seeds x {spec.epochs} epochs "
            f"({asked.search_epochs(spec.epochs)} epochs of a replica), then the best and the "
            "baseline on "
            f"{asked.confirm_seeds or len(spec.seeds)} fresh seeds",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    with console.status("getting ready") if console.is_terminal and not silent else nullcontext():
        from droplab.cli._outcome import outcome, show
        from droplab.cli._search_watch import SearchWatch
        from droplab.searches import default_folder, search
        from droplab.studies import read_plan, resolve

        cluster = cluster_of(executor, address, gpus_per_trial)
        experiment = resolve(spec)
        given = None if plan in (None, MEASURE) else read_plan(plan, replicas=batch * seeds)
    where = out or default_folder(experiment.recipe, existing=resume)
    try:
        with SearchWatch(console, spec, asked, quiet=silent) as watch:
            found = search(
                experiment,
                spaces,
                asked=asked,
                objective=objective or None,
                warm=warm,
                out=where,
                resume=resume,
                changed_code=changed_code,
                plan=given,
                device=device,
                cluster=cluster,
                observer=watch,
            )
    except KeyboardInterrupt:
        click.echo(
            f"interrupted; every finished epoch is kept in {where}. To go on, run the same "
            f"command with --out {where} --resume",
            err=True,
        )
        sys.exit(130)
    if as_json:
        document = {
            "search": found.record.to_dict(),
            "folder": str(found.path),
            "plan": dict(found.plan),
            "existing": dict(found.existing),
            "verdict": found.verdict.to_dict() if found.verdict is not None else None,
        }
        json.dump(document, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        if found.run is not None and not quiet:
            show(outcome(found.run), console)
        else:
            console.print(f"\n{found.record.headline}", highlight=False, markup=False)
        for sentence in found.record.outcome:
            console.print(f"\n{sentence}", highlight=False, markup=False)
        if found.arm is not None:
            listed = ", ".join(
                f"{site} {p:g}" for site, p in {**found.plan, **found.existing}.items()
            )
            console.print(f"\n{found.arm}: {listed}", highlight=False, markup=False)
        console.print(f"\nSearch: {found.path}", highlight=False, soft_wrap=True)
        console.print(f"Page: droplab report {found.path}", highlight=False, soft_wrap=True)
    if found.verdict is None:
        sys.exit(NOTHING_FOUND)
