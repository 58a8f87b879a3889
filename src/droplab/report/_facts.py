"""How a run was made: what stayed the same, on which machine, and how to make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from droplab.recipe import Recipe, builtin_names, dumps, load
from droplab.results import RunResult
from droplab.verdict import Verdict


def unchanged(result: RunResult) -> list[tuple[str, str]]:
    """Return what all arms have in common."""
    recipe = result.recipe
    data, model = _note(result, "data"), _note(result, "model")
    facts = [
        ("data", _data(recipe, data)),
        ("validated on", _validation(recipe, data)),
        ("model", _call(recipe.model.path, recipe.model.arguments)),
        (
            "parameters",
            _count(model.get("parameters", "")),
        ),
        ("optimizer", _call(recipe.optimizer.name, recipe.optimizer.arguments)),
        ("length", f"{recipe.epochs} epochs of mini-batches of {recipe.batch_size}"),
        ("seeds", ", ".join(map(str, recipe.seeds))),
        (
            "random numbers",
            "initial weights, batch order and masks from separate streams of a seed",
        ),
        ("data checksum", str(data.get("checksum", ""))),
        ("recipe digest", recipe.digest),
    ]
    return [(name, value) for name, value in facts if value]


def _data(recipe: Recipe, data: Mapping[str, Any]) -> str:
    text = recipe.data.source
    if "train" in data:
        sizes = ", ".join(
            f"{_count(data[name])} {word}"
            for name, word in (
                ("train", "training"),
                ("validation", "validation"),
                ("test", "test"),
            )
            if data.get(name)
        )
        text += f" ({sizes} examples)"
    return text


def _validation(recipe: Recipe, data: Mapping[str, Any]) -> str:
    if recipe.data.validation == "test":
        return "the official test split, as the tutorial does"
    count = data.get("validation", recipe.data.validation)
    return f"{_count(count)} training examples that are never trained on"


def _count(number: object) -> str:
    """Write a whole number in groups of three."""
    return f"{number:,}".replace(",", "\u00a0") if isinstance(number, int) else str(number)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    def write(value: Any) -> str:
        return str(list(value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    return f"{name}({', '.join(f'{key}={write(value)}' for key, value in arguments.items())})"


def machine(result: RunResult, verdict: Verdict) -> list[tuple[str, str]]:
    """Return where the run was made and what it took."""
    known = dict(result.environment)
    packages = known.pop("packages", {})
    memory = known.pop("memory_bytes", None)
    cores, physical = known.pop("cores", None), known.pop("physical_cores", None)
    first = (("cpu", "processor"), ("platform", "platform"), ("python", "python"))
    facts = [(label, str(known.pop(name))) for name, label in first if name in known]
    if cores:
        facts.append(
            ("cores", f"{cores} usable" + (f" of {physical} physical" if physical else ""))
        )
    if memory:
        facts.append(("memory", f"{memory / 2**30:.0f} GiB"))
    facts += [(str(name), _plain(value)) for name, value in known.items()]
    if packages:
        facts.append(("packages", ", ".join(f"{n} {v}" for n, v in packages.items())))
    if result.plan:
        facts.append(("execution plan", _plain(result.plan)))
    facts.append(("cost", verdict.cost.sentence.rstrip(".")))
    if result.created:
        facts.append(("begun", result.created))
    return facts


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def command(recipe: Recipe) -> tuple[str, str]:
    """Return the command that makes the run again, and what has to be said with it."""
    if recipe.name in builtin_names():
        builtin = load(recipe.name)
        if builtin.digest == recipe.digest:
            return f"droplab run {recipe.name}", ""
        if replace(builtin, seeds=recipe.seeds).digest == recipe.digest:
            seeds = ",".join(map(str, recipe.seeds)) + ("," if len(recipe.seeds) == 1 else "")
            return f"droplab run {recipe.name} --seeds {seeds}", ""
    return "droplab run recipe.toml", "with the recipe below saved as recipe.toml"


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as TOML."""
    return dumps(recipe)


def _note(result: RunResult, name: str) -> dict[str, Any]:
    try:
        found = json.loads(result.notes.get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
