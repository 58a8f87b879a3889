"""The digest of a recipe: SHA-256 over canonical JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, cast

WORDS = frozenset({"name", "title", "story", "hints"})
"""Fields of the recipe itself that people read and no number depends on."""


def digest(recipe: Any) -> str:
    """Return the hexadecimal digest of a recipe dataclass."""
    fields = {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(recipe)
        if field.name not in WORDS
    }
    canonical = _canonical(fields)
    if recipe.loop is not None:  # where it stands, and how long it trains, are up to the loop
        del canonical["loop"]["train"]
        for stand_in in ("data", "model", "optimizer", "batch_size", "epochs"):
            del canonical[stand_in]
        canonical["data"] = {}
    # left out, it has counted as "test" ever since it could be nothing else
    canonical["data"].setdefault("validation", "test")
    for arm in canonical["arms"]:
        if not arm["existing"]:  # as all arms were before there was such a thing
            del arm["existing"]
    if recipe.task == "classification":  # all there was, and what runs of that time mean
        del canonical["task"]
    if recipe.stopping == type(recipe.stopping)():  # the best epoch of all, as ever
        del canonical["stopping"]
    if recipe.looks == 1:  # all there was
        del canonical["looks"]
    for key in ("resample", "stop_on_fold"):  # as all was before there was such a thing
        if not getattr(recipe.data, key):
            canonical["data"].pop(key, None)
    if recipe.scheduler is not None:
        # by the step or not; every epoch was all there was
        canonical["scheduler"].pop("every", None)
        canonical["scheduler"] |= {"every": "step"} if recipe.scheduler.unit == "step" else {}
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """Return `value` with equal numbers spelled alike, and without what is not set.

    Leaving out None lets a later version add an optional field without changing old digests.
    """
    if dataclasses.is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {key: _canonical(item) for key, item in pairs if item is not None}
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {key: _canonical(item) for key, item in table.items() if item is not None}
    if isinstance(value, tuple):
        return [_canonical(item) for item in cast("tuple[Any, ...]", value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
