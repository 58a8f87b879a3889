"""The numbers of a report as files within it."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from typing import Any, cast

from droplab.report._figures import Source

DIGITS = 9
"""Significant digits: what a 32-bit float has, and half the bytes of all."""


def rows_csv(source: Source) -> str:
    """Return what each replica had measured at the judged epoch, as CSV; NaN is left empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_rows(source))
    return text.getvalue()


def as_json(source: Source) -> str:
    """Return the verdict, what it follows, and the same rows, as JSON."""
    recipe = source.result.recipe
    columns, *rows = _rows(source)
    document = {
        "recipe": recipe.name,
        "digest": recipe.digest,
        "verdict": _rounded(source.verdict.to_dict()),
        "columns": columns,
        "rows": rows,
    }
    return json.dumps(document, allow_nan=False, separators=(",", ":"))


def _rows(source: Source) -> list[list[Any]]:
    """Return the names of the columns, and a row a replica."""
    names = list(source.result.metrics)
    rows: list[list[Any]] = [["arm", "seed", "epoch", *names]]
    for row in source.result.rows:
        if row.epoch == source.verdict.epoch:
            values = [_rounded(row.values.get(name, math.nan)) for name in names]
            rows.append([row.arm, row.seed, row.epoch, *values])
    return rows


def _rounded(value: Any) -> Any:
    """Return a number with its first digits, None if it is not finite; and what holds numbers."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_rounded(item) for item in cast("list[Any]", value)]
    return value


def data_url(media: str, text: str) -> str:
    """Return a text as an address that holds it."""
    return f"data:{media};base64,{base64.b64encode(text.encode()).decode()}"
