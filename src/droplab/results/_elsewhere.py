"""Results that droplab did not make: a table of somebody's trials, as a run."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from droplab.errors import ArgumentError, RecipeError, nearest, quote
from droplab.numeric import whole
from droplab.recipe import Arm, own_loop
from droplab.results._columns import Columns, as_number
from droplab.results._lengths import Length, Trial, scored
from droplab.results._rows import EpochRow, Member, RunResult
from droplab.rng import SEED_LIMIT

ELSEWHERE = "rows from"
"""The note of a run whose rows come from elsewhere: it holds where from."""

ARM_COLUMN = "arms from"
"""The note of such a run that holds the name of the column of its arms."""


def is_dropout(column: str) -> bool:
    """Say whether a column of arms tells by its name that they differ in dropout.

    Example:
        >>> [is_dropout(name) for name in ("p", "params.dropout", "optimizer")]
        [True, True, False]
    """
    return column.lower() == "p" or "drop" in column.lower()


_NUMBERINGS = ("epoch", "step", "global_step", "_step", "iteration")
"""Columns that are likely to number the rows of a trial."""


def load_rows(
    rows: Any,
    *,
    arm: str,
    seed: str,
    metrics: Mapping[str, str],
    baseline: object = None,
    epoch: str | None = None,
    primary: str | None = None,
    folds: int | None = None,
    margin_size: float | None = None,
    command: str = "",
) -> RunResult:
    """Return results from elsewhere as a run, for `judge` and `render`.

    droplab did not see these runs, and the verdict says so. Trials of unequal length are judged at
    the last epoch that all have. A trial that ends without a finite number in the primary metric
    counts as one that diverged.

    Args:
        rows: A .csv, .tsv, .parquet or .jsonl file, a pandas frame, or one mapping a row.
        arm: Column of what differs between the arms: rates, or names.
        seed: Column by which trials are paired, whole numbers.
        metrics: Column of each metric -> "lower" or "higher", what is better.
        baseline: The arm to compare with; None: the one called 0 or none.
        epoch: Column that numbers the rows of a trial; None: a trial is one row.
        primary: The metric that decides; None: the first.
        folds: That a seed is a fold of a cross-validation, s mod `folds` of repeat s div `folds`;
            None: it is a run of its own.
        margin_size: The smallest improvement of interest, in the unit of the metric that decides.
        command: The command line that asks, for the report.

    Returns:
        The run. Its path is that of the file, or "the table".

    Raises:
        ArgumentError: If a column is not there, a value is not what its column holds, a row is
            there twice, no baseline can be told, or the folds are not whole repeats.
        DataError: If the file cannot be read.

    Example:
        >>> rows = [{"p": p, "seed": s, "loss": s - p} for p in (0, 0.3) for s in (1, 2)]
        >>> result = load_rows(rows, arm="p", seed="seed", metrics={"loss": "lower"})
        >>> result.recipe.baseline.name, [row.loss for row in result.rows]
        ('0', [1.0, 2.0, 0.7, 1.7])
    """
    table = Columns.of(rows)
    decides = _checked(table, arm, seed, metrics, epoch, primary)
    names, arms, base = _arms(table, arm, baseline)
    numbers, numbering = _epochs(table, epoch)
    seeds = _seeds(table, seed)
    measured = _measured(table, names, seeds, numbers, metrics, epoch)
    decisive = (decides, *(name for name in ("val_loss",) if name in metrics and name != decides))
    trials, left_out = scored(measured, decisive)
    length = Length.of(trials, decisive, table.where)
    seeds, epochs = sorted({seed for _, seed in trials}), max(map(max, trials.values()))
    _check_folds(table.where, seed, seeds, folds)
    name, where = _name(table.where), table.where
    try:
        recipe = own_loop(
            name, where, metrics, decides, arms, seeds, epochs, base, folds, margin_size
        )
    except RecipeError as error:
        raise ArgumentError(f"{where}: {error}") from None
    odd = [
        f"droplab did not see these runs: pairs rest on column '{seed}' alone. Whether anything "
        f"but column '{arm}' differs within a pair, its rows do not tell.",
        *numbering,
        *left_out,
        *length.said(recipe.epochs),
    ]
    data = {"notes": odd, "validated_on": "own", "test": 0}
    existing = {each.name: {"existing": dict(each.existing)} for each in arms if each.existing}
    place = {each.name: i for i, each in enumerate(recipe.arms)}
    order = sorted(trials, key=lambda each: (place[each[0]], each[1]))
    return RunResult(
        path=Path(table.where),
        recipe=recipe,
        environment={},
        rows=tuple(
            EpochRow(values, *trial, number, math.nan)
            for trial in order
            for number, values in sorted(trials[trial].items())
            if length.kept(trial, number)
        ),
        members=tuple(
            Member(*trial, "nan" if trial in length.lost else "done", max(trials[trial]))
            for trial in order
        ),
        notes={
            ELSEWHERE: table.where,
            ARM_COLUMN: arm,
            "data": json.dumps(data),
            "arms": json.dumps(existing),
            "command": command,
        },
        metrics=recipe.metrics,
        test_metrics=recipe.test_metrics,
    )


def _checked(
    table: Columns,
    arm: str,
    seed: str,
    metrics: Mapping[str, str],
    epoch: str | None,
    primary: str | None,
) -> str:
    """Check that all columns are there, each for one thing; return the metric that decides."""
    if not metrics:
        raise ArgumentError(
            "metrics: expected at least one metric with what is better, got none; val_loss=lower "
            "for example"
        )
    asked = [("arm", arm), ("seed", seed), *(("epoch", epoch),)[: epoch is not None]]
    asked += [("metric", name) for name in metrics]
    taken: dict[str, str] = {}
    for key, name in asked:
        table.check(str(name), key)
        if name in taken:
            raise ArgumentError(f"{key}: column '{name}' is the {taken[str(name)]} already")
        taken[str(name)] = key
    for name, better in metrics.items():
        if better not in ("lower", "higher"):
            raise ArgumentError(
                f"metric: expected lower or higher, what is better of '{name}', got "
                f"{quote(better)}; write {name}=lower or {name}=higher"
            )
    decides = next(iter(metrics)) if primary is None else primary
    if decides not in metrics:
        raise ArgumentError(
            f"primary: expected one of the metrics, got {quote(decides)}"
            f"{nearest(str(decides), metrics)}"
        )
    return decides


def _arms(table: Columns, column: str, baseline: object) -> tuple[list[str], tuple[Arm, ...], str]:
    """Return the arm of every row, the arms with the baseline first, and the baseline's name.

    Numbers between 0 and 1 in a column of dropout are the rates of the arms. Beside a baseline of 0
    or none, they were added to a model that drops nothing; beside another one, the model has
    dropout of its own.
    """
    row = table.missing(column)
    if row is not None:
        raise ArgumentError(
            f"{table.where}: column '{column}' has no value in row {row}; write 0 or none where "
            "nothing drops"
        )
    names = [_arm_name(cell) for cell in table.cells[column]]
    base = _baseline(list(dict.fromkeys(names)), baseline, table.where)
    rates = {name: 0.0 if name.lower() == "none" else as_number(name) for name in names}
    order = sorted(
        rates, key=lambda name: (name != base, math.inf if (p := rates[name]) is None else p)
    )
    known = is_dropout(column) and all(p is not None and 0 <= p <= 1 for p in rates.values())
    if not known or len(set(rates.values())) < len(rates):
        return names, tuple(Arm(name) for name in order), base
    if rates[base]:
        return names, tuple(Arm(name, existing={column: rates[name] or 0}) for name in order), base
    return names, tuple(Arm(n, {column: rates[n] or 0} if n != base else {}) for n in order), base


def _arm_name(cell: Any) -> str:
    """Return what an arm is called; 0.30 is 0.3, whether it is a number or text."""
    number = as_number(cell)
    return str(cell).strip() if number is None else f"{number + 0.0:.12g}"


def _baseline(names: Sequence[str], given: object, where: str) -> str:
    if given is not None:
        name = _arm_name(given)
        if name not in names:
            raise ArgumentError(f"baseline: {where} has no arm {quote(name)}{nearest(name, names)}")
        return name
    found = [name for name in names if name == "0" or name.lower() == "none"]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise ArgumentError(
        f"baseline: expected an arm called 0 or none to compare the others with, {where} has "
        f"{listed}; say which it is"
    )


def _check_folds(where: str, column: str, seeds: Sequence[int], folds: object) -> None:
    """Check that every repeat has all of its folds; a recipe refuses what is no number."""
    count = whole(folds)
    if count is None or count < 2:
        return
    for repeat, there in Counter(each // count for each in seeds).items():
        if there < count:
            raise ArgumentError(
                f"{where}: expected whole repeats of {count} folds in column '{column}', numbered "
                f"from 0 on (fold s mod {count} of repeat s div {count}), got {seeds[0]} to "
                f"{seeds[-1]}, with {there} of repeat {repeat}"
            )


def _seeds(table: Columns, column: str) -> list[int]:
    found: list[int] = []
    for row, value in enumerate(table.numbers(column), start=1):
        if not (value.is_integer() and 0 <= value < SEED_LIMIT):
            cell = table.cells[column][row - 1]
            raise ArgumentError(
                f"{table.where}: expected whole numbers from 0 on in column '{column}', by which "
                f"trials are paired, got {quote(cell)} in row {row}"
            )
        found.append(int(value))
    return found


def _epochs(table: Columns, column: str | None) -> tuple[list[int], list[str]]:
    """Return the epoch of every row, from 1, and what is to be said of the numbering."""
    if column is None:
        return [1] * len(next(iter(table.cells.values()))), ["Each trial is one row."]
    values = table.numbers(column)
    wild = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
    if wild is not None:
        raise ArgumentError(
            f"{table.where}: expected numbers in column '{column}', got "
            f"{quote(table.cells[column][wild])} in row {wild + 1}"
        )
    known = sorted(set(values))
    if known == list(range(1, len(known) + 1)):
        return [int(value) for value in values], []
    places = {value: place for place, value in enumerate(known, start=1)}
    said = (
        f"Column '{column}' has {len(known)} values from {known[0]:.12g} to {known[-1]:.12g}: they "
        f"are called epoch 1 to {len(known)} here."
    )
    return [places[value] for value in values], [said]


def _measured(
    table: Columns,
    arms: Sequence[str],
    seeds: Sequence[int],
    numbers: Sequence[int],
    metrics: Mapping[str, str],
    epoch: str | None,
) -> dict[Trial, dict[int, dict[str, float]]]:
    """Return the numbers of every trial by epoch; a row may be there only once."""
    columns = {name: table.numbers(name) for name in metrics}
    found: dict[Trial, dict[int, dict[str, float]]] = {}
    at: dict[tuple[str, int, int], int] = {}
    for i, place in enumerate(zip(arms, seeds, numbers, strict=True)):
        name, seed, number = place
        if place in at:
            when, hint = f", epoch {number}", "keep one of them"
            if epoch is None:
                likely = next((each for each in _NUMBERINGS if each in table.cells), "")
                when, hint = "", "if it has a row for every epoch, name the column of the epoch"
                hint += f", '{likely}' for example" if likely else ""
            raise ArgumentError(
                f"{table.where}: arm '{name}', seed {seed}{when} is in row {at[place] + 1} and in "
                f"row {i + 1}; {hint}"
            )
        at[place] = i
        values = {metric: column[i] for metric, column in columns.items()}
        found.setdefault((name, seed), {})[number] = values
    return found


def _name(where: str) -> str:
    """Return a name of the rows that a recipe may have."""
    name = re.sub(r"[^\w .+,=@-]", " ", Path(where).name.partition(".")[0]).strip(" .+,=@-")
    return name[:64].strip() or "rows"
