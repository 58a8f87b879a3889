"""How a run is trained, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droplab import results
from droplab.recipe import Recipe
from droplab.results import scored_note
from droplab.verdict import units_text


def plan_sentence(recipe: Recipe, plan: Mapping[str, Any]) -> str:
    """Return what is trained, and, once the plan is measured, how.

    Example:
        >>> from droplab.recipe import load
        >>> plan_sentence(load("digits"), {})
        '4 arms x 8 seeds x 60 epochs.'
        >>> plan_sentence(load("digits"), {"group": 32, "threads": 2})
        '4 arms x 8 seeds x 60 epochs. Steps eager, 2 threads; up to 32 replicas together.'
    """
    units = units_text(len(recipe.seeds), recipe.data.folds)
    text = f"{len(recipe.arms)} arms x {units} x {recipe.epochs} epochs."
    return " ".join(filter(None, [text, results.plan_sentence(plan), scored_note(plan)]))
