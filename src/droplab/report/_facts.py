"""How a run was made: what stayed the same, and on which machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

from droplab.recipe import Arm, Recipe, dumps
from droplab.results import RunResult, plan_sentence, scored_note
from droplab.verdict import Verdict, validated_on


@dataclass(frozen=True)
class Fact:
    """One thing that all arms have in common.

    Args:
        name: What it is.
        value: What it was.
        digest: A checksum of it, to compare two runs by; empty if there is none.
    """

    name: str
    value: str
    digest: str = ""


def unchanged(result: RunResult) -> list[Fact]:
    """Return what all arms have in common, each with a digest of what it was."""
    recipe = result.recipe
    data, model = _note(result, "data"), _note(result, "model")
    parameters = model.get("parameters")
    size = f", {_count(parameters)} parameters" if parameters else ""
    facts = [
        Fact("data", _data(recipe, data), str(data.get("checksum", ""))),
        Fact("validated on", _validation(recipe, data), _digest(recipe.data)),
        Fact(
            "model",
            _call(recipe.model.path, recipe.model.arguments) + size,
            _digest(recipe.model, model.get("text")),
        ),
        Fact(
            "optimizer",
            _call(recipe.optimizer.name, recipe.optimizer.arguments),
            _digest(recipe.optimizer),
        ),
        *_optional(recipe),
        Fact(
            "length",
            f"{recipe.epochs} epochs of mini-batches of {recipe.batch_size}",
            _digest(recipe.epochs, recipe.batch_size),
        ),
        Fact("training figures", scored_note(result.plan).rstrip(".")),
        *_folds(recipe, data),
        Fact("seeds", ", ".join(map(str, recipe.seeds)), _digest(recipe.seeds)),
        Fact(
            "random numbers",
            "initial weights, batch order and masks from separate streams of a seed",
        ),
        Fact(
            "execution plan",
            plan_sentence(result.plan).rstrip("."),
            _digest(_bits(result.plan)) if result.plan else "",
        ),
        Fact(
            "all of the recipe but its arms",
            "",
            f"sha256:{replace(recipe, arms=(Arm('none'),)).digest}",
        ),
        Fact("recipe digest", "with the arms", f"sha256:{recipe.digest}"),
    ]
    return [fact for fact in facts if fact.value or fact.digest]


def _bits(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the bits of a run depend on: not what its plan was chosen from."""
    return {name: value for name, value in plan.items() if name not in ("tried", "others")}


def _folds(recipe: Recipe, data: Mapping[str, Any]) -> list[Fact]:
    folds, count = recipe.data.folds, data.get("folded")
    if folds is None:
        return []
    of = f" of {_count(count)} examples" if isinstance(count, int) else ""
    text = (
        f"{folds}{of}, drawn anew for every repeat: seed s is fold s mod {folds} of repeat "
        f"s div {folds}"
    )
    return [Fact("folds", text, _digest(folds))]


def _optional(recipe: Recipe) -> list[Fact]:
    facts: list[Fact] = []
    if recipe.scheduler is not None:
        scheduler = recipe.scheduler
        said = f"{_call(scheduler.name, scheduler.arguments)}, after every {scheduler.unit}"
        facts.append(Fact("learning rate", said, _digest(scheduler)))
    if recipe.clip is not None:
        facts.append(Fact("gradients", f"clipped to a norm of {recipe.clip:g}"))
    return facts


def _digest(*parts: Any) -> str:
    """Return the beginning of a SHA-256 over the parts, equal numbers spelled alike."""
    text = json.dumps([_canonical(part) for part in parts], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _canonical(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        table = cast("Mapping[Any, Any]", value)
        return {str(key): _canonical(item) for key, item in table.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in cast("Iterable[Any]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (str, int, float, bool)) else str(value)


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
        first = ", with the first seed" if recipe.data.folds is not None else ""
        text += f" ({sizes} examples{first})"
    return text


def _validation(recipe: Recipe, data: Mapping[str, Any]) -> str:
    count = data.get("validation", recipe.data.validation)
    if recipe.data.folds is not None:
        return "one fold of the training examples for each seed, which it is not trained on"
    where = validated_on(recipe, data)
    if where == "test":
        return "the test split" + (f", {_count(count)} examples" if isinstance(count, int) else "")
    if where == "own":
        return f"{_count(count)} validation examples of their own" if count else "their own split"
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
    facts.append(("cost", verdict.cost.sentence.rstrip(".")))
    if result.created:
        facts.append(("begun", result.created))
    return facts


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def recipe_text(recipe: Recipe) -> str:
    """Return the recipe as TOML."""
    return dumps(recipe)


def _note(result: RunResult, name: str) -> dict[str, Any]:
    try:
        found = json.loads(result.notes.get(name, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
