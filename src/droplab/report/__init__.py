"""The report of a run: one HTML page, and its main figure as a picture."""

from __future__ import annotations

from droplab.report._picture import figure_png, figure_svg
from droplab.report._render import render

__all__ = ["figure_png", "figure_svg", "render"]
