"""How a run was made: what stayed the same, and on which machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

from droplab.recipe import Arm, Recipe, dumps
from droplab.results import ELSEWHERE, RunResult, plan_sentence, scored_note
from droplab.verdict import Verdict, control, validated_on


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
    if ELSEWHERE in result.notes:
        return [
            Fact("rows from", result.notes[ELSEWHERE]),
            Fact("seeds", ", ".join(map(str, recipe.seeds)), _digest(recipe.seeds)),
        ]
    if recipe.loop is not None:
        return _own_loop(result)
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
            _call(recipe.optimizer.name, recipe.optimizer.arguments) + _of_groups(recipe),
            _digest(recipe.optimizer),
        ),
        *_optional(recipe),
        Fact(
            "length",
            f"{recipe.epochs} epochs of mini-batches of {recipe.batch_size}{_gathered(recipe)}",
            _digest(recipe.epochs, recipe.batch_size, *filter(None, [recipe.accumulate])),
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


def _own_loop(result: RunResult) -> list[Fact]:
    """Return what is known of trials that somebody's own loop has trained."""
    recipe, model = result.recipe, _note(result, "model")
    loop = recipe.loop
    assert loop is not None
    parameters, optimizers = model.get("parameters"), model.get("optimizers")
    seen = control(recipe, result.members, result.notes, recipe.epochs)
    folds = loop.folds
    facts = [
        Fact("training loop", loop.train),
        Fact("seen to be the same in all arms of a seed", seen.same),
        Fact("model", f"{_count(parameters)} parameters" if parameters else ""),
        Fact("optimizer", ", ".join(map(str, optimizers)) if optimizers else ""),
        Fact("length", f"{recipe.epochs} epochs", _digest(recipe.epochs)),
        Fact("dropout that fired, with the first seed", _fired(result)),
        Fact("folds", f"{folds}, as the loop has made them: {_which(folds)}" if folds else ""),
        Fact("seeds", ", ".join(map(str, recipe.seeds)), _digest(recipe.seeds)),
        Fact("digest", "of arms, seeds and metrics", f"sha256:{recipe.digest}"),
    ]
    return [fact for fact in facts if fact.value]


def _fired(result: RunResult) -> str:
    """Say how often each dropout has fired in the first trial of each arm."""
    said: list[str] = []
    for arm in result.recipe.arms:
        seen = _note(result, f"trial/{arm.name}/{result.recipe.seeds[0]}")
        tables = (seen.get(key) for key in ("fired", "drawn"))
        counts = [cast("Mapping[str, Any]", each) for each in tables if isinstance(each, Mapping)]
        places = [
            f"{name} {count}{_kept(seen, name)}" for each in counts for name, count in each.items()
        ]
        if places:
            more = f" and {len(places) - 6} more" if len(places) > 6 else ""
            said.append(f"{arm.name}: {', '.join(places[:6])}{more}")
    return "; ".join(said)


def _bits(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the bits of a run depend on: not what its plan was chosen from."""
    return {name: value for name, value in plan.items() if name not in ("tried", "others")}


def _kept(seen: Mapping[str, Any], name: str) -> str:
    """Say what part of its input a dropout has kept, if it was measured."""
    table: Any = seen.get("kept")
    found: Any = cast("Mapping[str, Any]", table).get(name) if isinstance(table, Mapping) else None
    match found:
        case [int(kept), int(of)] if of:
            return f" (kept {100 * kept / of:.1f} %)"
        case _:
            return ""


def _folds(recipe: Recipe, data: Mapping[str, Any]) -> list[Fact]:
    folds, count = recipe.data.folds, data.get("folded")
    if folds is None:
        return []
    of = f" of {_count(count)} examples" if isinstance(count, int) else ""
    text = f"{folds}{of}, drawn anew for every repeat: {_which(folds)}"
    return [Fact("folds", text, _digest(folds))]


def _which(folds: int) -> str:
    return f"seed s is fold s mod {folds} of repeat s div {folds}"


def _optional(recipe: Recipe) -> list[Fact]:
    facts: list[Fact] = []
    if recipe.scheduler is not None:
        scheduler = recipe.scheduler
        said = f"{_call(scheduler.name, scheduler.arguments)}, after every {scheduler.unit}"
        facts.append(Fact("learning rate", said, _digest(scheduler)))
    if recipe.clip is not None:
        facts.append(Fact("gradients", f"clipped to a norm of {recipe.clip:g}"))
    if recipe.precision is not None:
        facts.append(Fact("precision", f"forward in {recipe.precision}, by autocast"))
    return facts


def _of_groups(recipe: Recipe) -> str:
    groups = recipe.optimizer.groups or ()
    return "".join(f"; {each}: {_listed(each.arguments)}" for each in groups)


def _gathered(recipe: Recipe) -> str:
    return f", {recipe.accumulate} of them a step" if recipe.accumulate else ""


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
    text, fresh = recipe.data.source, validated_on(recipe, data) == "fresh test"
    if "train" in data:
        sizes = ", ".join(
            f"{_count(data[name])} {word}"
            for name, word in (
                ("train", "training"),
                ("validation", "test" if fresh else "validation"),
                ("test", "test"),
            )
            if data.get(name)
        )
        first = ", with the first seed" if recipe.data.of_seed else ""
        text += f" ({sizes} examples{first})"
    return text


def _validation(recipe: Recipe, data: Mapping[str, Any]) -> str:
    count = data.get("validation", recipe.data.validation)
    if recipe.data.folds is not None:
        return "one fold of the training examples for each seed, which it is not trained on"
    if recipe.data.resample:
        return f"{_count(count)} training examples, drawn anew with each seed"
    where = validated_on(recipe, data)
    if where == "test":
        return "the test split" + (f", {_count(count)} examples" if isinstance(count, int) else "")
    if where == "fresh test":
        return f"the test split, {_count(count)} examples that the search never scored"
    if where == "fresh":
        return f"{_count(count)} examples that the search never scored"
    if where == "own":
        return f"{_count(count)} validation examples of their own" if count else "their own split"
    return f"{_count(count)} training examples that are never trained on"


def _count(number: object) -> str:
    """Write a whole number in groups of three."""
    return f"{number:,}".replace(",", "\u00a0") if isinstance(number, int) else str(number)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name}({_listed(arguments)})"


def _listed(arguments: Mapping[str, Any]) -> str:
    def write(value: Any) -> str:
        return str(list(value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    return ", ".join(f"{key}={write(value)}" for key, value in arguments.items())


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
