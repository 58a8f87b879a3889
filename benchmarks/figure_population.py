"""Draws cost and memory of a population against its size, from the rows of a full `bench_sweep`.

    python benchmarks/figure_population.py [ROWS.jsonl] [--out docs/images/population-cost.svg]

Of every network and size the newest row is taken. Without rows there is no picture.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from droplab.report._svg import element

ROOT = Path(__file__).parent.parent
CASE = "cost against K"
COLOURS = ("#0072b2", "#d55e00", "#009e73")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 360, 250, 52, 44, 44, 24
PLAIN = {"fill": "currentColor", "font_size": 12}


def newest(rows: Sequence[dict[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
    """Network -> K -> its newest row."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["date"]):
        if row["benchmark"] == "bench_sweep" and CASE in row["case"]:
            found.setdefault(row["case"].partition(",")[0], {})[row["replicas"]] = row
    return found


def panel(title: str, unit: str, curves: dict[str, dict[int, float]], left: float) -> list[str]:
    """Curves over K, both axes logarithmic."""
    sizes = sorted({k for curve in curves.values() for k in curve})
    values = [value for curve in curves.values() for value in curve.values()]
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    top, bottom, right = TOP, HEIGHT - BOTTOM, left + WIDTH - LEFT - GAP
    most = max(1.0, math.log2(sizes[-1]))

    def across(k: int) -> float:
        return left + math.log2(k) / most * (right - left)

    def down(value: float) -> float:
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    parts: list[str] = [element("text", title, x=left, y=top - 20, font_weight="bold", **PLAIN)]
    for power in range(low, high + 1):
        y = round(down(10.0**power), 1)
        parts.append(element("path", d=f"M{left} {y}H{right}", stroke="currentColor", opacity=0.2))
        text = f"{10.0**power:g}"
        parts.append(element("text", text, x=left - 6, y=y + 4, text_anchor="end", **PLAIN))
    for k in sizes:
        where = {"x": round(across(k), 1), "y": bottom + 16, "text_anchor": "middle"}
        parts.append(element("text", str(k), **where, **PLAIN))
    axis = f"K replicas together; {unit}"
    parts.append(element("text", axis, x=left, y=bottom + 34, **PLAIN))
    for number, (name, curve) in enumerate(curves.items()):
        points = [(round(across(k), 1), round(down(v), 1)) for k, v in sorted(curve.items())]
        colour = COLOURS[number % len(COLOURS)]
        line = "M" + "L".join(f"{x} {y}" for x, y in points)
        parts.append(element("path", d=line, stroke=colour, fill="none", stroke_width=2))
        parts += [element("circle", cx=x, cy=y, r=2.5, fill=colour) for x, y in points]
        label = {"x": right, "y": top - 28 + 15 * (number + 0.3), "text_anchor": "end"}
        parts.append(element("text", name, **label, fill=colour, font_size=12))
    return parts


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """Return the picture as SVG."""
    found = newest(rows)
    if not found:
        raise SystemExit("no rows of cost against K: run benchmarks/bench_sweep.py in full first")
    cost = {name: {k: row["ours"] for k, row in by.items()} for name, by in found.items()}
    memory = {
        name: {k: row["memory_bytes"] / 1e6 for k, row in by.items() if row["memory_bytes"] > 0}
        for name, by in found.items()
    }
    body = panel("Cost of one replica", "seconds an epoch of 6 000 images", cost, LEFT)
    body += panel("Memory of all replicas", "megabytes", memory, WIDTH + LEFT)
    words = "; ".join(
        f"{name}: {by[min(by)]:.3g} s alone, {by[max(by)]:.3g} s at K = {max(by)}"
        for name, by in cost.items()
    )
    style = "svg{color:#222}@media(prefers-color-scheme:dark){svg{color:#ddd}}"
    return str(
        element(
            "svg",
            element("title", f"Cost of a replica and memory against K. {words}"),
            element("style", style),
            *body,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {2 * WIDTH} {HEIGHT}",
            font_family="system-ui, sans-serif",
            role="img",
        )
    )


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))
    parser.add_argument("rows", nargs="*", type=Path, default=default)
    out = ROOT / "docs" / "images" / "population-cost.svg"
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    lines = [line for path in arguments.rows for line in path.read_text().splitlines()]
    arguments.out.write_text(draw([json.loads(line) for line in lines]) + "\n", encoding="utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
