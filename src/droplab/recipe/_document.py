"""A recipe as the nested table that TOML writes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from droplab.errors import RecipeError, quote
from droplab.recipe._problems import Problem, describe, message
from droplab.recipe._tasks import metric_names
from droplab.recipe.data import TABLE_KEYS, UNIT_KEYS, DataSpec
from droplab.recipe.recipe import Recipe
from droplab.recipe.specs import Arm, ModelSpec, ScheduleSpec
from droplab.recipe.target import Condition, Target, nearest_metric, parse_condition
from droplab.recipe.training import (
    GroupSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    SchedulerSpec,
    StoppingSpec,
)

Document = dict[str, Any]
_RECIPE = TypeAdapter(Recipe)
_OWN_KEYS = {
    "model": ("path",),
    "optimizer": ("name", "groups"),
    "groups": ("match",),
    "scheduler": ("name", "every"),
    "loss": ("name",),
    "schedule": ("name",),
}
"""Tables in which every other key is an argument; "schedule" is one of an arm, "groups" some of the
optimizer."""

_STAND_INS: Document = {
    "data": {"function": "own:loop"},
    "model": {"path": "own:loop"},
    "optimizer": {"name": "own:loop"},
    "batch_size": 1,
}
"""What a recipe has to have, of a loop that has it itself; nobody shows it."""
_ENGINES = ("task", "clip", "score_train", "also_measure", "scheduler", "loss", "target")
"""What only droplab's own engine does."""


def own_loop(
    name: str,
    train: str,
    metrics: Mapping[str, str],
    primary: str,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    epochs: int = 1,
    baseline: str | None = None,
    folds: int | None = None,
    margin_size: float | None = None,
) -> Recipe:
    """Return the recipe of a study whose trials are trained by a loop of somebody's own.

    Args:
        name: Name of the study.
        train: Where the loop stands, for people.
        metrics: Name of what it reports after every epoch -> "lower" or "higher", what is better.
        primary: The metric that decides.
        arms: What drops, one baseline among them.
        seeds: One trial an arm for each of them.
        epochs: How long the longest trial trains; the digest does not depend on it.
        baseline: The arm to compare with; None: the one that drops nothing.
        folds: That a seed is one of so many folds of a cross-validation; None: that it is not.
        margin_size: The smallest improvement of interest, in the unit of `primary`; None: none is
            named.

    Raises:
        RecipeError: If a value is impossible, naming every problem at once.

    Example:
        >>> arms = [Arm("none"), Arm("half", {"fc2": 0.5})]
        >>> own_loop("mine", "mine.py", {"val_rmse": "lower"}, "val_rmse", arms, [0, 1]).primary
        'val_rmse'
    """
    document: Document = {"name": name, "epochs": epochs, "primary": primary, "seeds": seeds}
    loop: Document = {"train": train, "metrics": metrics, "baseline": baseline, "folds": folds}
    document["loop"] = {key: value for key, value in loop.items() if value is not None}
    if margin_size is not None:
        document["margin_size"] = margin_size
    document["arms"] = [_arm(arm) for arm in arms]
    return from_document(document, where=name)


def to_document(recipe: Recipe) -> Document:
    """Return the table of `recipe`: what `from_document` reads, defaults left out."""
    document: Document = {"name": recipe.name}
    document |= {key: getattr(recipe, key) for key in ("title", "story") if getattr(recipe, key)}
    if recipe.hints:
        document["hints"] = list(recipe.hints)
    for key in ("epochs",) if recipe.loop else ("epochs", "batch_size"):
        document[key] = getattr(recipe, key)
    for key in ("accumulate", "precision"):
        if getattr(recipe, key) is not None:
            document[key] = getattr(recipe, key)
    document["seeds"] = list(recipe.seeds)
    document["primary"] = recipe.primary
    if recipe.task is not None:
        document["task"] = recipe.task
    if recipe.looks != 1:
        document["looks"] = recipe.looks
    for key in ("margin", "margin_size", "clip", "score_train"):
        if getattr(recipe, key) is not None:
            document[key] = getattr(recipe, key)
    if recipe.also_measure:
        document["also_measure"] = [_further(each) for each in recipe.also_measure]
    if recipe.loop is not None:
        document["loop"] = {"train": recipe.loop.train, "metrics": dict(recipe.loop.metrics)}
        for key in ("baseline", "folds"):
            if getattr(recipe.loop, key) is not None:
                document["loop"][key] = getattr(recipe.loop, key)
    else:
        document["data"] = _data(recipe.data)
        document["model"] = _flat("model", recipe.model)
        document["optimizer"] = _flat("optimizer", recipe.optimizer)
    if recipe.optimizer.groups:
        document["optimizer"]["groups"] = [_group(each) for each in recipe.optimizer.groups]
    if recipe.scheduler is not None:
        document["scheduler"] = _flat("scheduler", recipe.scheduler)
    if recipe.loss is not None:
        document["loss"] = _flat("loss", recipe.loss)
    if recipe.stopping != StoppingSpec():
        table = {key: getattr(recipe.stopping, key) for key in ("patience", "min_gain")}
        document["stopping"] = {key: value for key, value in table.items() if value}
    if recipe.target:
        document["target"] = _target(recipe.target)
    document["arms"] = [_arm(arm) for arm in recipe.arms]
    return document


def _arm(arm: Arm) -> Document:
    table: Document = {"name": arm.name}
    table |= {key: dict(getattr(arm, key)) for key in ("rates", "existing") if getattr(arm, key)}
    if arm.kind:
        table["kind"] = arm.kind
    if arm.schedule is not None:
        table["schedule"] = _flat("schedule", arm.schedule)
    return table


def _group(group: GroupSpec) -> Document:
    several = len(group.match) > 1
    return _flat("groups", group) | {"match": list(group.match) if several else group.match[0]}


def from_document(document: Mapping[str, Any], *, where: str) -> Recipe:
    """Return the recipe that `document` describes.

    Args:
        document: A table as TOML gives it.
        where: What error messages begin with, e.g. the name of the file.

    Raises:
        RecipeError: With every problem that was found.
    """
    fields = dict(document)
    problems: list[Problem] = []
    if "loop" in fields:
        problems += [
            (key, "expected nothing beside loop, whose own this is; leave it out")
            for key in (*_STAND_INS, *_ENGINES)
            if key in fields
        ]
        fields |= _STAND_INS
        if isinstance(fields["loop"], Mapping) and "folds" in fields["loop"]:
            # whatever asks a run for its folds asks its data
            fields["data"] = {**_STAND_INS["data"], "folds": fields["loop"]["folds"]}
    for table in ("data", *_OWN_KEYS):
        given = fields.get(table)
        if table not in ("schedule", "groups") and isinstance(given, Mapping):
            keys = cast("Mapping[str, Any]", given)
            own = _OWN_KEYS.get(table) or tuple(key for key in keys if key not in TABLE_KEYS)
            fields[table], found = _unflat(table, own, keys)
            problems += found
    problems += _unflat_groups(fields.get("optimizer"))
    if isinstance(fields.get("arms"), (list, tuple)):
        fields["arms"], found = _unflat_schedules(cast("list[Any]", fields["arms"]))
        problems += found
    if isinstance(fields.get("target"), Mapping):
        conditions, found = _conditions(fields.pop("target"), _further_names(fields))
        problems += found
        if not found:
            fields["target"] = {"conditions": conditions}
    try:
        recipe = _RECIPE.validate_python(fields)
    except ValidationError as error:
        problems += describe(error, root="Recipe", document=fields)
        raise RecipeError(message(where, problems)) from None
    if problems:
        raise RecipeError(message(where, problems))
    return recipe


def _data(data: DataSpec) -> Document:
    keys = ("name", "path", "function", "format", "train", "validation", "folds", "stratify")
    table = {key: getattr(data, key) for key in keys if getattr(data, key) is not None}
    if data.resample:
        table["resample"] = True
    if data.folds is not None and data.stop_on_fold is not None:
        table["stop_on_fold"] = data.stop_on_fold
    if data.in_memory != "auto":
        table["in_memory"] = data.in_memory
    own = TABLE_KEYS if data.path else UNIT_KEYS
    beside = {key: data.arguments[key] for key in own if key in data.arguments}
    arguments = {key: item for key, item in data.arguments.items() if key not in beside}
    return table | beside | ({"arguments": arguments} if arguments else {})


def _further(metric: MetricSpec) -> Any:
    if metric.path is None:
        return metric.name
    keys = ("name", "path", "better", "label", "unit")
    return {key: getattr(metric, key) for key in keys if getattr(metric, key)}


def _target(target: Target) -> Document:
    table: dict[str, list[str]] = {}
    for condition in target.conditions:
        table.setdefault(condition.metric, []).append(f"{condition.op} {quote(condition.value)}")
    return {key: items[0] if len(items) == 1 else items for key, items in table.items()}


def _unflat_schedules(arms: Sequence[Any]) -> tuple[list[Any], list[Problem]]:
    """Return the arms, the arguments of their schedules in a table of their own."""
    read: list[Any] = []
    problems: list[Problem] = []
    for number, given in enumerate(arms):
        arm = dict(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else {}
        if isinstance(arm.get("schedule"), Mapping):
            where = f"arms.{arm.get('name', number)}.schedule"
            arm["schedule"], found = _unflat("schedule", ("name",), arm["schedule"])
            problems += [(place.replace("schedule", where, 1), text) for place, text in found]
            read.append(arm)
        else:
            read.append(given)
    return read, problems


def _unflat_groups(optimizer: Any) -> list[Problem]:
    """Put the arguments of an optimizer's groups in tables of their own, in place."""
    problems: list[Problem] = []
    table = cast("dict[str, Any]", optimizer) if isinstance(optimizer, dict) else {}
    groups = table.get("groups")
    if isinstance(groups, (list, tuple)):
        read: list[Any] = []
        for number, given in enumerate(cast("list[Any]", groups)):
            group = given
            if isinstance(given, Mapping):
                own = cast("Mapping[str, Any]", given)
                group, found = _unflat("groups", _OWN_KEYS["groups"], own)
                where = f"optimizer.groups[{number}]"
                problems += [(place.replace("groups", where, 1), text) for place, text in found]
            read.append(group)
        table["groups"] = read
    return problems


def _flat(
    table: str,
    part: ModelSpec | OptimizerSpec | GroupSpec | SchedulerSpec | LossSpec | ScheduleSpec,
) -> Document:
    own, arguments = _OWN_KEYS[table], part.arguments
    reserved = {key: item for key, item in arguments.items() if key in (*own, "arguments")}
    free = {key: item for key, item in arguments.items() if key not in reserved}
    spec = {key: getattr(part, key) for key in own if getattr(part, key) is not None}
    return spec | free | ({"arguments": reserved} if reserved else {})


def _unflat(
    table: str, own: tuple[str, ...], given: Mapping[str, Any]
) -> tuple[Document, list[Problem]]:
    inner = given.get("arguments", {})
    if not isinstance(inner, Mapping):
        return dict(given), [(f"{table}.arguments", f"expected a table, got {quote(inner)}")]
    arguments = dict(cast("Mapping[str, Any]", inner))
    free = {key: item for key, item in given.items() if key not in (*own, "arguments")}
    problems = [
        (f"{table}.{key}", f"given twice, here and in {table}.arguments; keep one")
        for key in free
        if key in arguments
    ]
    spec = {key: given[key] for key in own if key in given}
    return spec | {"arguments": free | arguments}, problems


def _further_names(fields: Mapping[str, Any]) -> list[str]:
    """Return the names in rows of the metrics that a recipe adds, as far as they can be read."""
    given = fields.get("also_measure")
    items = cast("list[Any]", given) if isinstance(given, (list, tuple)) else []
    tables = [cast("Mapping[str, Any]", each) for each in items if isinstance(each, Mapping)]
    names = [*(each.get("name") for each in tables), *items]
    return [f"val_{name}" for name in names]


def _conditions(
    table: Mapping[str, Any], own: Sequence[str]
) -> tuple[list[Condition], list[Problem]]:
    conditions: list[Condition] = []
    problems: list[Problem] = []
    for metric, given in table.items():
        place = f"target.{metric}"
        if metric not in metric_names() and metric not in own:
            problems.append((place, f"unknown key{nearest_metric(metric)}"))
            continue
        for text in cast("list[Any]", given) if isinstance(given, (list, tuple)) else [given]:
            try:
                conditions.append(parse_condition(metric, text))
            except ValueError as error:
                problems.append((place, str(error).removeprefix("Condition: ")))
    return conditions, problems
