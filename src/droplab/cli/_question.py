"""`--question`: what is asked of an experiment, both by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from droplab.verdict import Question

BOTH = "both"

question_option = click.option(
    "--question",
    type=click.Choice([BOTH, "budget", "stopped"]),
    default=BOTH,
    show_default=True,
    help="Judge arms after all epochs (budget), where each replica is stopped early (stopped), or "
    "by both at once. One question alone sees smaller effects; choose it before you look.",
)
"""The option of every command that ends with a verdict."""


def asked(question: str) -> Question | None:
    """Return what `droplab.verdict.judge` is asked."""
    if question == "budget":
        return "budget"
    return "stopped" if question == "stopped" else None
