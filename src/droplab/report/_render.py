"""The report: one HTML file that needs nothing but itself."""

from __future__ import annotations

import functools
import re
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from droplab.report import _again as again
from droplab.report import _context as context
from droplab.report import _facts as facts
from droplab.report import _numbers as numbers
from droplab.report import _theme as theme
from droplab.report._compare import SideBySide
from droplab.report._figures import Source, draw
from droplab.report._frame import Ids
from droplab.report._solution import patch
from droplab.results import (
    ELSEWHERE,
    RunResult,
    choices_note,
    plan_choices,
    plan_sentence,
    scored_note,
)
from droplab.verdict import Verdict


def render(result: RunResult, verdict: Verdict) -> str:
    """Return the report of a run as one HTML page.

    The page has its style and its charts (SVG) within, makes no request, runs no script, follows
    light and dark, fits a phone and prints on A4. Everything that comes from the recipe is
    escaped. Drawn from the rows alone: torch is not needed.

    Args:
        result: The run.
        verdict: Its verdict, as `droplab.verdict.judge` gives it.

    Returns:
        The HTML text, to be written in UTF-8.
    """
    source = Source.of(result, verdict)
    environment, style = styled()
    page = environment.get_template("report.html").render(
        style=style, **_words(source), **_tables(source), figures=draw(source, Ids())
    )
    return page.replace(_CONTENTS, _contents(page), 1) + "\n"


_CONTENTS = "<!-- contents -->"


def _contents(page: str) -> str:
    """Return the links to the sections that a page has."""
    found = re.findall(r'<h2 id="(h-[a-z]+)">([^<]+)</h2>', page)
    return "".join(f'<li><a href="#{id}">{title}</a></li>' for id, title in found)


def render_comparison(found: SideBySide) -> str:
    """Return runs side by side as one HTML page, made as that of a report is.

    Args:
        found: What `compare_runs` returned.
    """
    environment, style = styled()
    page = environment.get_template("compare.html").render(
        style=style, version=metadata.version("droplab"), found=found
    )
    return page + "\n"


@functools.cache
def styled() -> tuple[Environment, Markup]:
    """Return what fills a page, and the style of all pages; templates are compiled once."""
    environment = Environment(
        loader=PackageLoader("droplab.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_unbroken,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("report.css").render(
        light=Markup(theme.variables(theme.GROUND_LIGHT, theme.LIGHT, theme.RAMP_LIGHT)),
        dark=Markup(theme.variables(theme.GROUND_DARK, theme.DARK, theme.RAMP_DARK)),
        charts=Markup(theme.chart_rules()),
        colours=[*range(len(theme.LIGHT)), *(f"o{i}" for i in range(len(theme.RAMP_LIGHT)))],
    )
    return environment, Markup(style)


def _tone_of(verdict: Verdict) -> str:
    """How the box on overfitting is marked: a gap that has no scale is no good news."""
    if verdict.diagnosis and verdict.diagnosis.overfits:
        return "no"
    return "yes" if verdict.metrics.score.fraction else ""


def _words(source: Source) -> dict[str, Any]:
    result, verdict = source.result, source.verdict
    short, long = context.split_headline(verdict.headline)
    command, command_note = again.command_of(result)
    change = patch(result, verdict)
    made = f"Made by droplab {metadata.version('droplab')} from the rows of the run"
    return {
        "version": metadata.version("droplab"),
        "recipe": result.recipe,
        "short": short,
        "long": long,
        "also": verdict.also,
        "percent": f"{100 * verdict.level:g} %",
        "unit": verdict.unit,
        "at_once": verdict.at_once,
        "pairing": context.pairing(source),
        "seen": ELSEWHERE not in result.notes,
        "trains": bool(verdict.metrics.score_on_training),
        "diagnosis": verdict.diagnosis,
        "overfits_tone": _tone_of(verdict),
        "best": verdict.best.sentence if verdict.best else "",
        "caveats": verdict.caveats,
        "gap_note": context.gap_note(verdict.metrics),
        "stopping_note": context.stopping_note(verdict),
        "examples": verdict.metrics.examples,
        "calibrated": "val_ece" in verdict.metrics.epoch,
        "story": [part for part in result.recipe.story.split("\n\n") if part.strip()],
        "scored": scored_note(result.plan),
        "kinds": ", ".join(f"{a.name}: {a.kind}" for a in result.recipe.arms if a.kind),
        "unchanged": facts.unchanged(result),
        "execution": plan_sentence(result.plan),
        "choices": plan_choices(result.plan),
        "choices_note": choices_note(result.plan),
        "machine": facts.machine(result, verdict),
        "command": command,
        "command_note": command_note,
        "patch": [_patch_line(line) for line in change.diff.splitlines()],
        "patch_note": change.note,
        "recipe_text": _Verbatim(facts.recipe_text(result.recipe)),
        "without": verdict.without,
        "column": verdict.column,
        "csv": numbers.data_url("text/csv", numbers.rows_csv(source)),
        "json": numbers.data_url("application/json", numbers.as_json(source)),
        "file": result.recipe.name,
        "footer": made + (f" begun {result.created}." if result.created else "."),
    }


def _tables(source: Source) -> dict[str, Any]:
    verdict = source.verdict
    arm = verdict.chosen or verdict.baseline
    plan = context.plan(source)
    differences = context.differences(source)
    bare = not differences["rows"] and verdict.arm(arm).seeds
    return {
        "tiles": context.tiles(source) if bare else [],
        "tiles_note": f"'{arm}' {verdict.when}, mean over {verdict.unit}s.",
        "means": context.means(source),
        "differences": differences,
        "target": context.target(source),
        "test": context.test_split(source),
        "recalls": context.recalls(source),
        "plan": plan,
    }


class _Verbatim(str):
    """Text whose every character counts."""


def _unbroken(value: object) -> object:
    """Keep a number and its unit on one line."""
    if isinstance(value, str) and not isinstance(value, (_Verbatim, Markup)):
        return value.replace(" %", "\u00a0%").replace(" points", "\u00a0points")
    return value


def _patch_line(line: str) -> dict[str, str]:
    tones = {"+": "add", "-": "del"}
    return {"text": _Verbatim(line), "tone": tones.get(line[:1], "")}
