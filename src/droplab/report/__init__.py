"""The report of a run: an HTML page, GitHub Markdown, and its main figure as a picture."""

from __future__ import annotations

from droplab.report._markdown import render_markdown
from droplab.report._picture import figure_png, figure_svg
from droplab.report._render import render
from droplab.report._solution import Patch, patch, solution

__all__ = [
    "Patch",
    "figure_png",
    "figure_svg",
    "patch",
    "render",
    "render_markdown",
    "solution",
]
