"""The report of a run: an HTML page, GitHub Markdown, and its main figure as a picture."""

from __future__ import annotations

from droplab.report._compare import MOST_COMPARED, SideBySide, compare_runs
from droplab.report._markdown import render_markdown
from droplab.report._picture import figure_png, figure_svg
from droplab.report._render import render, render_comparison
from droplab.report._searched import render_search
from droplab.report._solution import Patch, patch, solution
from droplab.report._uncertainty import SCORE_LABELS, Averaging, Example, render_averaging

__all__ = [
    "MOST_COMPARED",
    "SCORE_LABELS",
    "Averaging",
    "Example",
    "Patch",
    "SideBySide",
    "compare_runs",
    "figure_png",
    "figure_svg",
    "patch",
    "render",
    "render_averaging",
    "render_comparison",
    "render_markdown",
    "render_search",
    "solution",
]
