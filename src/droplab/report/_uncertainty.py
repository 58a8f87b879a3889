"""The page on many passes with dropout against the plain one."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from statistics import fmean, stdev
from typing import Any

from markupsafe import Markup

from droplab.recipe import FURTHER, TASKS
from droplab.report._frame import Frame, Ids, chart
from droplab.report._render import styled
from droplab.report._svg import bounds, element, polyline, spread_out, ticks
from droplab.report._theme import colour_class, dash
from droplab.verdict import Verdict

_MEASURED = (*TASKS["regression"], *TASKS["classification"], *FURTHER["classification"])
SCORE_LABELS: Mapping[str, str] = {
    **{each.name: each.label for each in _MEASURED},
    "aurc": "area under risk and coverage",
    "coverage_at_5": "share answered at 5 % error",
    "crps": "CRPS",
    "coverage_95": "share inside the 95 % interval",
}
"""What scores of predictions are called on a page."""

FEWEST = 30
"""Examples below which the accuracy of a bin says little."""

ONE_MODEL = (
    "One model: whether the mean of the passes is better than the plain pass is judged over "
    "several seeds, and an ensemble is of several; give a run for both."
)

NO_TARGETS = (
    "The data has no targets, so scores, calibration and risk are left out; the page (--out) shows "
    "the examples that the passes are least and most sure of."
)


@dataclass(frozen=True)
class Line:
    """One line of a chart, or points without a line.

    Args:
        name: What stands at its end.
        x: Where.
        y: How much.
        error: Half the length of a bar at each point; empty for none.
        joined: Whether the points are joined.
        sizes: How large each point is drawn, in units of the usual; empty for the usual.
        rings: Whether points are rings, in which others are seen.
        place: Place of its colour; None: its place among the lines.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] = ()
    joined: bool = True
    sizes: Sequence[float] = ()
    rings: bool = False
    place: int | None = None


@dataclass(frozen=True)
class Example:
    """A validation example with what the passes say of it.

    Args:
        number: Its place in the validation split.
        unsure: How unsure the mean prediction over all models is: of classes its entropy in nats,
            of values its standard deviation.
        truth: Its class or value; empty where the data has no targets.
        guess: The class that the mean prediction holds for the likeliest, or its value.
        picture: It as a PNG; empty for what is no picture.
    """

    number: int
    unsure: float
    truth: str
    guess: str
    picture: bytes = b""


@dataclass(frozen=True)
class Averaging:
    """The plain prediction of each seed's model beside the mean of its passes.

    Args:
        passes: How many passes.
        examples: How many examples they are scored on.
        rows: One for each way to predict and seed, with its scores, which data without targets
            lack.
        error: Mean Monte Carlo standard error of a probability, or of a mean value.
        task: What the models predict: "classification", "binary" or "regression".
        split: Which examples they are.
        arm: The arm whose models they are; empty for a model of no run.
        verdict: Monte Carlo against plain, paired by seed, as arms are; None of a model of no run.
        ensembles: Scores of the mean over all seeds, of plain predictions and of Monte Carlo ones;
            empty where there is one model, or each seed saw other examples.
        curve: For some numbers of passes, the mean negative log likelihood over seeds, and the
            standard error of its difference to that of the plain pass.
        by_chance: The calibration error that so many examples give by chance if the probabilities
            of the passes are right; None of values.
        plain: Mean negative log likelihood of the plain pass over seeds.
        reliability: For each way to predict, bins of all seeds' predictions as (confidence,
            accuracy, count), or of values (level, share of targets below that quantile, count);
            ways with a temperature, and all of values, whose noise is fitted, are scored on the
            half of the examples that it was not fitted on.
        risk: For each way to predict, the error rate, or of values the RMSE, among the most certain
            examples at each share of them, mean over seeds.
        extremes: The least and the most certain examples.
        other: Scores on other data, how well each measure tells it from the model's own; empty
            without it.
    """

    passes: int
    examples: int
    rows: tuple[dict[str, Any], ...]
    error: float
    task: str = "classification"
    split: str = "validation"
    arm: str = ""
    verdict: Verdict | None = None
    ensembles: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    curve: tuple[tuple[int, float, float], ...] = ()
    by_chance: float | None = None
    plain: float | None = None
    reliability: Mapping[str, Sequence[tuple[float, float, int]]] | None = None
    risk: Mapping[str, Sequence[tuple[float, float]]] | None = None
    extremes: Mapping[str, Sequence[Example]] | None = None
    other: Mapping[str, Mapping[str, float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, without the pictures; of one model without what needs several."""
        found = asdict(replace(self, verdict=None, extremes=None))
        del found["extremes"]
        if self.verdict is not None:
            return {**found, "verdict": self.verdict.to_dict()}
        for name in ("arm", "verdict", "ensembles"):
            del found[name]
        return {**found, "left_out": " ".join(self.sentences)}

    @property
    def scores(self) -> list[str]:
        """Names of the scores, as rows have them."""
        return [name for name in self.rows[0] if name not in ("prediction", "seed")]

    @property
    def labels(self) -> list[str]:
        """What the scores are called on a page."""
        return [SCORE_LABELS[name] for name in self.scores]

    @property
    def table(self) -> list[list[str]]:
        """A way to predict and its scores, with the standard deviation over several seeds."""
        cells: list[list[str]] = []
        for way in dict.fromkeys(row["prediction"] for row in self.rows):
            own = [row for row in self.rows if row["prediction"] == way]
            cells.append([way, *(_over([row[name] for row in own]) for name in self.scores)])
        for way, scores in self.ensembles.items():
            cells.append(
                [f"{way}, all seeds together", *(f"{scores[name]:.4f}" for name in self.scores)]
            )
        return cells

    @property
    def by_score(self) -> list[list[str]]:
        """The table with a row for each score, under the ways to predict; so it is narrow."""
        ways, *scores = zip(*self.table, strict=True)
        rows = zip(self.labels, scores, strict=True)
        return [["score", *ways], *([label, *row] for label, row in rows)]

    @property
    def sentences(self) -> list[str]:
        """What the verdict says, or why there is none, and no score."""
        if self.verdict is None:
            return [ONE_MODEL] if self.scores else [ONE_MODEL, NO_TARGETS]
        return [each.sentence for each in self.verdict.arms if each.differences]

    @property
    def of_values(self) -> bool:
        """Whether the models predict values, and not classes."""
        return self.task == "regression"

    @property
    def precision(self) -> str:
        """How exact so many passes are, in a sentence."""
        what = "a mean" if self.of_values else "a probability"
        said = (
            f"With {self.passes} passes {what} has a Monte Carlo standard error of "
            f"{self.error:.4g} on average; {4 * self.passes} passes would halve it."
        )
        if self.by_chance is None or not self.scores:
            return said
        needed = math.ceil(self.examples * (self.by_chance / 0.01) ** 2)
        return (
            f"{said} Where confidences are right, {self.examples} examples still give a "
            f"calibration error of {self.by_chance:.4f} by chance; for 0.01 it takes {needed}."
        )

    @property
    def of_whom(self) -> str:
        """Whose scores they are, and on what, in a few words."""
        whose = f"Models of arm '{self.arm}'" if self.verdict is not None else "One model"
        return f"{whose}, {self.examples} {self.split} examples, {self.passes} passes"


def _over(values: Sequence[float]) -> str:
    mean = f"{fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {stdev(values):.4f}"


def render_averaging(found: Averaging, run: str) -> str:
    """Return the comparison as one HTML page that needs nothing but itself.

    Args:
        found: What `droplab.studies.compare_averaging` or `average_model` returned.
        run: What the run or the model is called on the page.
    """
    environment, style = styled()
    page = environment.get_template("uncertainty.html").render(
        style=style,
        version=metadata.version("droplab"),
        found=found,
        run=run,
        figures=_figures(found, Ids("unc")),
        picture=_picture,
    )
    return page + "\n"


def _picture(example: Example) -> str:
    return "data:image/png;base64," + base64.b64encode(example.picture).decode()


_PLACES = {"plain": 0, "Monte Carlo": 1}
"""Places of the colours of both ways to predict, the same in every figure."""


def _figures(found: Averaging, ids: Ids) -> list[Markup]:
    drawn: list[Markup] = []
    if found.curve and found.plain is not None:
        x, y, error = zip(*found.curve, strict=True)
        lines = [
            Line("plain", [1, found.passes], [found.plain, found.plain]),
            Line("Monte Carlo", x, y, error),
        ]
        note = "bar: standard error of the difference to the plain pass, over seeds"
        if found.verdict is None:
            lines[1], note = Line("Monte Carlo", x, y), ""
        drawn.append(
            draw_lines(ids, "Negative log likelihood against passes", "passes", lines, note)
        )
    drawn += _calibrations(found, ids)
    if found.risk:
        lines = [
            Line(way, [p[0] for p in points], [p[1] for p in points], place=_PLACES.get(way))
            for way, points in found.risk.items()
        ]
        title, note = "Risk against coverage", "error rate among the most certain by entropy, in %"
        if found.of_values:
            title, note = "RMSE against coverage", "of the most certain by standard deviation"
        percent = not found.of_values
        share = "share that is answered"
        drawn.append(draw_lines(ids, title, share, lines, note, percent=percent))
    return drawn


def _calibrations(found: Averaging, ids: Ids) -> list[Markup]:
    """Return a figure for each way to predict, so that the points of both are seen."""
    ways: dict[str, list[Line]] = {}
    for name, bins in (found.reliability or {}).items():
        way, _, after = name.partition(", ")
        line = Line(
            after or way,
            [b[0] for b in bins],
            [b[1] for b in bins],
            joined=False,
            sizes=[1.0 if b[2] >= FEWEST else 0.4 for b in bins],
            rings=bool(after),
            place=len(_PLACES) if after else _PLACES.get(way),
        )
        ways.setdefault(way, []).append(line)
    title, along, right = "Accuracy against confidence", "confidence", "confidence"
    if found.of_values:
        title, along = "Targets below a quantile against its level", "level of the quantile"
        right = "the quantile"
    note = f"in %; on the line {right} is right; small: fewer than {FEWEST} predictions"
    return [
        draw_lines(ids, f"{title}: {way}", along, lines, note, square=True)
        for way, lines in ways.items()
    ]


def _counts(frame: Frame) -> list[float]:
    """Return the whole numbers among which the marks of the lower edge lie."""
    low, high = frame.x.low, frame.x.high
    rounded = {float(round(value)) for value in ticks(low, high, 5)}
    return sorted(value for value in rounded if low <= value <= high)


def draw_lines(
    ids: Ids,
    title: str,
    x_label: str,
    lines: Sequence[Line],
    note: str,
    *,
    square: bool = False,
    percent: bool = False,
    whole: bool = False,
) -> Markup:
    """Return a chart of lines over a number.

    Args:
        ids: Where its ids come from.
        title: Its title.
        x_label: What runs along its lower edge.
        lines: The lines, the plain one first.
        note: A remark under the title.
        square: Whether both axes go from 0 to 1, with the line on which they are equal.
        percent: Whether both are fractions.
        whole: Whether what runs along the lower edge is counted.
    """
    unit = (0.0, 1.0)
    x_range = unit if square else bounds((x for line in lines for x in line.x), pad=0.02)
    reached = [
        value + sign * bar
        for line in lines
        for value, bar in zip(line.y, line.error or [0.0] * len(line.y), strict=True)
        for sign in (-1, 1)
    ]
    frame = Frame.of(x_range, unit if square else bounds(reached), right=126, top=42)
    percent = percent or square
    parts: list[str] = [
        frame.y_axis(percent=percent),
        frame.x_axis(x_label, percent=percent, values=_counts(frame) if whole else None),
    ]
    if square:
        equal = polyline([(frame.x(0.0), frame.y(0.0)), (frame.x(1.0), frame.y(1.0))])
        parts.append(element("path", d=equal, class_="zero", stroke_dasharray="2 4"))
    places = [n if line.place is None else line.place for n, line in enumerate(lines)]
    for place, line in zip(places, lines, strict=True):
        parts += _line(frame, line, place)
    ends = [frame.y(line.y[-1]) for line in lines]
    if square:  # the points lie on each other at the right: a list of names in the order of lines
        ends = [frame.top + 14 + 16 * at for at in range(len(lines))]
    heights = spread_out(ends, 14.0, frame.top, frame.bottom)
    for place, line, y in zip(places, lines, heights, strict=True):
        style = f"label {colour_class(place)}"
        parts.append(element("text", line.name, x=frame.right + 10, y=y + 4, class_=style))
    said = "; ".join(
        f"{line.name}: {line.y[0]:.3g} at {line.x[0]:.3g} to {line.y[-1]:.3g} at {line.x[-1]:.3g}"
        for line in lines
    )
    return chart(ids, title, f"{title}. {said}.", *parts, note=note)


def _line(frame: Frame, line: Line, place: int) -> list[str]:
    colour, points = colour_class(place), list(zip(line.x, line.y, strict=True))
    parts: list[str] = []
    if line.joined:
        path = polyline((frame.x(x), frame.y(y)) for x, y in points)
        parts.append(element("path", d=path, class_=f"line {colour}", stroke_dasharray=dash(place)))
    for (x, y), bar in zip(points, line.error, strict=False):
        path = polyline([(frame.x(x), frame.y(y - bar)), (frame.x(x), frame.y(y + bar))])
        parts.append(element("path", d=path, class_=f"thin {colour}"))
    if not line.joined or line.error:
        sizes = line.sizes or [0.7] * len(points)
        radius, style = (5, f"thin {colour}") if line.rings else (4, f"dot {colour}")
        parts += [
            element("circle", cx=frame.x(x), cy=frame.y(y), r=radius * size, class_=style)
            for (x, y), size in zip(points, sizes, strict=True)
        ]
    return parts
