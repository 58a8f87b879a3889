"""A heat map, where the arms of a run are a grid over two sites."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from droplab.recipe import Recipe
from droplab.report._frame import Ids, chart
from droplab.report._svg import element
from droplab.verdict import Verdict, WrittenMetric


@dataclass(frozen=True)
class Grid:
    """The mean of a metric for pairs of rates.

    Args:
        sites: The two sites, across and down.
        across: Rates of the first site.
        down: Rates of the second site.
        values: (rate across, rate down) -> mean; what was not run is missing.
    """

    sites: tuple[str, str]
    across: tuple[float, ...]
    down: tuple[float, ...]
    values: dict[tuple[float, float], float]


def grid_of(recipe: Recipe, verdict: Verdict, metric: WrittenMetric) -> Grid | None:
    """Return the grid that the arms form; None if they form none.

    They do when they have rates at the same two sites at most, each rate of one site is met with
    at least two of the other, and at least four arms are there.
    """
    sites = sorted(recipe.sites)
    if len(sites) != 2 or len({arm.kind for arm in recipe.arms if arm.places}) > 1:
        return None
    if any(arm.existing or arm.schedule for arm in recipe.arms):
        return None
    first, second = sites
    values: dict[tuple[float, float], float] = {}
    for arm in recipe.arms:
        place = (arm.rates.get(first, 0.0), arm.rates.get(second, 0.0))
        mean = verdict.arm(arm.name).metrics[metric.name].mean
        if place in values:
            return None
        if math.isfinite(mean):
            values[place] = mean
    across = tuple(sorted({a for a, _ in values}))
    down = tuple(sorted({d for _, d in values}))
    cells = len(across) * len(down)
    if len(across) < 2 or len(down) < 2 or len(values) < max(4, 0.6 * cells):
        return None
    return Grid((first, second), across, down, values)


def draw_grid(ids: Ids, metric: WrittenMetric, grid: Grid) -> Markup:
    """Return the heat map; darker is better, and the best cell has a frame."""
    sign = 1.0 if metric.higher_is_better else -1.0
    low, high = min(grid.values.values()), max(grid.values.values())
    best = max(grid.values, key=lambda place: sign * grid.values[place])
    left, top, width = 64.0, 40.0, 364.0
    cell_w, cell_h = width / len(grid.across), min(38.0, 240.0 / len(grid.down))
    bottom = top + cell_h * len(grid.down)
    parts: list[str] = []
    for (a, d), value in grid.values.items():
        x = left + cell_w * grid.across.index(a)
        y = bottom - cell_h * (grid.down.index(d) + 1)
        share = (value - low) / (high - low) if high > low else 0.5
        strength = share if sign > 0 else 1 - share
        parts.append(
            element(
                "rect",
                x=x + 1,
                y=y + 1,
                width=cell_w - 2,
                height=cell_h - 2,
                rx=3,
                class_="mark c1",
                opacity=f"{0.05 + 0.4 * strength:.2f}",
            )
        )
        if (a, d) == best:
            parts.append(
                element(
                    "rect",
                    x=x + 1,
                    y=y + 1,
                    width=cell_w - 2,
                    height=cell_h - 2,
                    rx=3,
                    class_="line c2",
                )
            )
        if cell_w >= 34:
            text = metric.text(value).removesuffix(" %")
            parts.append(
                element(
                    "text",
                    text,
                    x=x + cell_w / 2,
                    y=y + cell_h / 2 + 4,
                    text_anchor="middle",
                    class_="ink",
                )
            )
    parts += [
        element(
            "text",
            f"{a:g}",
            x=left + cell_w * (i + 0.5),
            y=bottom + 16,
            text_anchor="middle",
            class_="tick",
        )
        for i, a in enumerate(grid.across)
    ]
    parts += [
        element(
            "text",
            f"{d:g}",
            x=left - 8,
            y=bottom - cell_h * (i + 0.5) + 4,
            text_anchor="end",
            class_="tick",
        )
        for i, d in enumerate(grid.down)
    ]
    parts.append(
        element(
            "text",
            f"rate at {grid.sites[0]}",
            x=left + width / 2,
            y=bottom + 33,
            text_anchor="middle",
            class_="note",
        )
    )
    middle = (top + bottom) / 2
    parts.append(
        element(
            "text",
            f"rate at {grid.sites[1]}",
            x=14.0,
            y=middle,
            text_anchor="middle",
            transform=f"rotate(-90 14 {middle:g})",
            class_="note",
        )
    )
    unit = ", %" if metric.fraction else ""
    said = "; ".join(f"{a:g} and {d:g}: {metric.text(v)}" for (a, d), v in grid.values.items())
    return chart(
        ids,
        f"{metric.title}{unit}",
        f"{metric.title} by the rates at {' and '.join(grid.sites)}. {said}.",
        *parts,
        note=f"best: {best[0]:g} at {grid.sites[0]}, {best[1]:g} at {grid.sites[1]}",
        height=bottom + 44,
    )
