"""`droplab recipes`: which recipes are built in, and what a recipe says."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from droplab.recipe import Recipe, builtin_names, dumps, load


@click.group("recipes")
def command() -> None:
    """List and show recipes."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(as_json: bool) -> None:
    """List the built-in recipes."""
    recipes = [load(name) for name in builtin_names()]
    if as_json:
        document = [
            {"name": item.name, "title": item.title, "digest": item.digest} for item in recipes
        ]
        click.echo(json.dumps(document, indent=2))
        return
    table = Table("name", "title", box=None, pad_edge=False)
    for item in recipes:
        table.add_row(item.name, Text(item.title))
    Console().print(table)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--toml", "as_toml", is_flag=True, help="Print it as TOML, to start your own from.")
def show(name: str, as_json: bool, as_toml: bool) -> None:
    """Show the recipe NAME: a built-in one, or a TOML file."""
    recipe = load(name)
    if as_toml:
        click.echo(dumps(recipe), nl=False)
    elif as_json:
        click.echo(json.dumps(_document(recipe), indent=2))
    else:
        _print(recipe, Console())


def _document(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "story": recipe.story,
        "hints": list(recipe.hints),
        "digest": recipe.digest,
        "settings": dict(_settings(recipe)),
        "arms": [
            {
                "name": arm.name,
                "rates": arm.rates,
                "kind": arm.kind,
                "existing": arm.existing,
                "schedule": str(arm.schedule) if arm.schedule else None,
                "baseline": arm.name == recipe.baseline.name,
            }
            for arm in recipe.arms
        ],
    }


def _settings(recipe: Recipe) -> list[tuple[str, str]]:
    model, optimizer = recipe.model, recipe.optimizer
    settings = [
        ("data", recipe.data.sentence),
        ("model", f"{model.path} {_arguments(model.arguments)}"),
        ("optimizer", f"{optimizer.name} {_arguments(optimizer.arguments)}"),
        *((f"  {each}", _arguments(each.arguments)) for each in optimizer.groups or ()),
        *_optional(recipe),
        ("length", f"{recipe.epochs} epochs, {_batches(recipe)}"),
        ("seeds", ", ".join(map(str, recipe.seeds))),
        ("decided by", recipe.primary),
        ("target", str(recipe.target or "none")),
        ("digest", recipe.digest[:16]),
    ]
    return [(key, value.strip()) for key, value in settings]


def _batches(recipe: Recipe) -> str:
    said = f"batch size {recipe.batch_size}"
    return said if recipe.accumulate is None else f"{said}, {recipe.accumulate} batches a step"


def _optional(recipe: Recipe) -> list[tuple[str, str]]:
    settings: list[tuple[str, str]] = []
    if recipe.scheduler is not None:
        scheduler = recipe.scheduler
        said = f"{scheduler.name} {_arguments(scheduler.arguments)}".strip()
        settings.append(("learning rate", f"{said}, after every {scheduler.unit}"))
    if recipe.clip is not None:
        settings.append(("clipped", f"to a gradient norm of {recipe.clip:g}"))
    if recipe.precision is not None:
        settings.append(("precision", f"{recipe.precision}, by autocast"))
    return settings


def _arguments(arguments: dict[str, object]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in arguments.items())


def _value(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _print(recipe: Recipe, console: Console) -> None:
    console.print(Text(f"{recipe.name}: {recipe.title}" if recipe.title else recipe.name, "bold"))
    for paragraph in recipe.story.strip().split("\n\n"):
        if paragraph:
            console.print()
            console.print(Text(" ".join(paragraph.split())))
    if recipe.hints:
        console.print(Text("\nHints", "bold"))
        grid = Table.grid(padding=(0, 1))
        for hint in recipe.hints:
            grid.add_row(" -", Text(hint))
        console.print(grid)
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in _settings(recipe):
        table.add_row(Text(key), Text(value))
    console.print(table)
    console.print(Text("\nArms (they may differ in nothing but dropout)", "bold"))
    sites = sorted(recipe.sites)
    own = list(dict.fromkeys(name for arm in recipe.arms for name in arm.existing))
    schedules = ["schedule"] if any(arm.schedule for arm in recipe.arms) else []
    arms = Table(box=None, pad_edge=False)
    for header in ("arm", *sites, *(f"own {name}" for name in own), "kind", *schedules):
        arms.add_column(Text(header))
    for arm in recipe.arms:
        rates = [f"{arm.rates.get(site, 0):g}" for site in sites]
        rates += [f"{arm.existing[name]:g}" if name in arm.existing else "as built" for name in own]
        last = [Text(str(arm.schedule or "none")) for _ in schedules]
        arms.add_row(Text(arm.name), *rates, Text(arm.kind or "dropout"), *last)
    console.print(arms)
