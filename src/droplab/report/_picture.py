"""The main figure as pixels, for places that show no HTML."""

from __future__ import annotations

import importlib
import os
import tempfile
import textwrap
from pathlib import Path

from markupsafe import Markup

from droplab.errors import BackendError, RunError
from droplab.report import _theme as theme
from droplab.report._context import split_headline
from droplab.report._figures import Source, all_arms, forest
from droplab.report._forest import ROW
from droplab.report._frame import HEIGHT, WIDTH, Ids
from droplab.report._svg import element
from droplab.results import RunResult
from droplab.verdict import Verdict, units_text

PICTURE_WIDTH = 1000
ZOOM = 2.0
LINE = 110
LARGEST = 32.0
# The font at hand everywhere has Latin letters only; these have plain spellings.
_PLAIN = str.maketrans(
    {"−": "-", "–": "-", "≥": "&gt;=", "≤": "&lt;=", "→": "to", "∞": "inf", "×": "x", "\u00a0": " "}
)


def figure_svg(result: RunResult, verdict: Verdict) -> str:
    """Return the main figure as one SVG file: the headline, the curves and the differences."""
    source, ids = Source.of(result, verdict), Ids("main")
    primary = verdict.metrics.named(verdict.primary)
    short, long = split_headline(verdict.headline)
    lines = _balanced(long)
    size = min(LARGEST, 1.9 * (PICTURE_WIDTH - 80) / max(len(short), 1))
    charts = [all_arms(source, ids, primary)]
    compared = sum(bool(arm.differences) for arm in verdict.arms)
    if compared:
        row_height = max(ROW, (HEIGHT - 80) / compared)
        charts.append(forest(source, ids, primary, row_height=row_height))
    units = units_text(len(result.recipe.seeds), result.recipe.data.folds)
    top = 84.0 + 24 * len(lines)
    tallest = max(_height(chart) for chart in charts)
    parts = [
        element("rect", x=0, y=0, width=PICTURE_WIDTH, height=top + tallest + 52, class_="ground"),
        element("text", short, x=40, y=54, class_="headline"),
        *(
            element("text", line, x=40, y=84 + 24 * i, class_="sentence")
            for i, line in enumerate(lines)
        ),
        *(_placed(chart, 40 + 480.0 * i, top) for i, chart in enumerate(charts)),
        element(
            "text",
            f"{result.recipe.name} · {units} · droplab",
            x=40,
            y=top + tallest + 32,
            class_="note",
        ),
    ]
    rules = (
        theme.chart_rules(literal=True)
        + f".headline{{font-size:{size:.0f}px;font-weight:700;fill:{theme.GROUND_LIGHT['ink']}}}"
        + f".sentence{{font-size:16px;fill:{theme.GROUND_LIGHT['ink']}}}"
    )
    return element(
        "svg",
        element("style", Markup(rules)),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {PICTURE_WIDTH} {top + tallest + 52:g}",
        width=PICTURE_WIDTH,
        height=f"{top + tallest + 52:g}",
        font_family="sans-serif",
    )


def _balanced(text: str) -> list[str]:
    """Return the text in lines of about the same length, as few as fit the picture."""
    lines = -(-len(text) // LINE)
    return textwrap.wrap(text, len(text) // max(lines, 1) + 10)


def _height(chart: Markup) -> float:
    box = chart.partition('viewBox="')[2].partition('"')[0].split()
    return float(box[3]) if len(box) == 4 else float(HEIGHT)


def _placed(chart: Markup, x: float, y: float) -> Markup:
    """Return a chart as a part of a larger picture."""
    at = f'<svg x="{x:g}" y="{y:g}" width="{WIDTH}" height="{_height(chart):g}" '
    return Markup(str(chart).replace("<svg ", at, 1))


def figure_png(result: RunResult, verdict: Verdict, path: str | os.PathLike[str]) -> None:
    """Write the main figure as a PNG of 2000 pixels' width.

    Letters come from the font that Pillow carries, so that a machine without fonts draws the same
    picture; a letter that it lacks (names in other scripts) is taken from the system's fonts.

    Args:
        result: The run.
        verdict: Its verdict.
        path: Where the picture goes.

    Raises:
        BackendError: resvg-py is not installed.
        RunError: The file cannot be written.
    """
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        raise BackendError(
            "report: a PNG needs the package resvg-py, which is not installed; "
            "install it with pip install 'droplab[png]', or write the report as HTML"
        ) from None
    from PIL import ImageFont

    svg = figure_svg(result, verdict).translate(_PLAIN)
    default = ImageFont.load_default(12)
    family = default.getname()[0] if isinstance(default, ImageFont.FreeTypeFont) else None
    with tempfile.TemporaryDirectory(prefix="droplab-") as place:
        fonts: list[str] = []
        if isinstance(default, ImageFont.FreeTypeFont):
            font = Path(place) / "font.ttf"
            font.write_bytes(default.font_bytes)
            fonts.append(str(font))
        pixels = resvg.svg_to_bytes(
            svg_string=svg,
            zoom=ZOOM,
            font_files=fonts,
            font_family=family,
            sans_serif_family=family,
        )
    try:
        Path(path).write_bytes(bytes(pixels))
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error
