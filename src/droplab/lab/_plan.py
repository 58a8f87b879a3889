"""How a run is trained, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from droplab.recipe import Recipe
from droplab.results import scored_note


def plan_sentence(recipe: Recipe, plan: Mapping[str, Any]) -> str:
    """Return what is trained, and, once the plan is measured, how.

    Example:
        >>> from droplab.recipe import load
        >>> plan_sentence(load("digits"), {})
        '4 arms x 8 seeds x 60 epochs.'
        >>> plan_sentence(load("digits"), {"group": 32, "threads": 2})
        '4 arms x 8 seeds x 60 epochs, up to 32 replicas together, on 2 threads.'
    """
    text = f"{len(recipe.arms)} arms x {len(recipe.seeds)} seeds x {recipe.epochs} epochs"
    if not plan:
        return f"{text}."
    if plan.get("group", 1) > 1:
        text += f", up to {plan['group']} replicas together"
    elif plan.get("workers", 0):
        text += f", replicas alone, {plan['workers']} at a time"
    else:
        text += ", replicas one by one"
    if not plan.get("workers", 0):
        threads = plan.get("threads", 1)
        text += ", on 1 thread" if threads == 1 else f", on {threads} threads"
    reason = plan.get("reason", "")
    sentences = [f"{text}.", f"Why: {reason}." if reason else "", scored_note(plan)]
    return " ".join(filter(None, sentences))
