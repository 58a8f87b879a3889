"""User data from a table: a .csv, .tsv or .parquet file with a column to learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from droplab.data._blocks import Units
from droplab.data._draw import Rows, draw
from droplab.data._encode import Encoder
from droplab.data._folds import Folds, Resampled, resampled_told, told_of
from droplab.data._frame import Column, number_names, read_columns
from droplab.data._labels import class_numbers
from droplab.data._targets import CLASSES_OF, guess_task, read_targets
from droplab.data._units import read_times
from droplab.data.dataset import DataSet, Splits, content_checksum
from droplab.data.split import Split
from droplab.errors import DataError, nearest, quote
from droplab.numeric import real, share
from droplab.recipe import TABLE_KEYS, DataSpec

_SHARE = 0.2
"""Of the rows: what is validated on, and what is kept for the test, if nothing is said."""

_ALIKE = 0.9
"""A text column of which so many values differ names the rows, not a property of them."""


class _Table(NamedTuple):
    """A table, and what its columns are for."""

    path: Path
    columns: Mapping[str, Column]
    inputs: Sequence[str]
    targets: Sequence[str]
    rows: int
    apart: int
    """So many rows at the end come from a test file of their own."""


def load_table(path: Path, form: str, spec: DataSpec, task: str | None = None) -> DataSet:
    """Return the data set in a table, with its splits drawn and its columns encoded.

    Raises:
        DataError: If pandas cannot read it, a column is not there, a target is missing or does not
            fit the task, or there are too few rows.
    """
    given = spec.arguments
    for key in given:
        if key not in TABLE_KEYS:
            raise DataError(f"data.{key}: unknown key{nearest(key, TABLE_KEYS)}")
    if spec.in_memory is False:
        raise DataError(f"{path}: a table can only be read whole; save .npy files to stream")
    table, notes = _read(path, form, given)
    matrix = _targets(table)
    if task is None:
        # whole numbers may be quantities: they are asked about as floats are
        counts = matrix.ndim == 1 and matrix.dtype.kind == "i"
        numbers = matrix.astype(np.float64) if counts else matrix
        task = guess_task(numbers, where=f"{path}: column '{table.targets[0]}'")
    labels = matrix if task in CLASSES_OF else None
    rows, how = _rows(table, spec, labels)
    encoder = Encoder([table.columns[n] for n in table.inputs], rows.train)
    targets, classes = _encoded(table, matrix, rows, task)
    notes = (*notes, *encoder.notes(), how)
    folds: Folds | Resampled | None = None
    weights = _weights(table, given)
    if not spec.of_seed:
        inputs = encoder.fitted(rows.train)
        train, validation, test = map(partial(_split, inputs, weights), rows, targets)
        validated = rows.test if validation is None else rows.validation
    else:
        strata = None if labels is None else labels[rows.train]
        groups = _values(table, given, "groups")
        groups = None if groups is None else groups[rows.train]
        parts = partial(_of_unit, encoder, weights, rows, targets)
        if spec.folds is not None:
            held = bool(spec.stop_on_fold)
            folds = Folds(spec.folds, len(rows.train), parts, strata, groups, notes, held)
            first = dataclasses.replace(folds, held=False).rows(0)  # all rows
        else:
            count = _validated(spec, table.rows)
            folds = Resampled(
                len(rows.train), spec.train, count, parts, strata, groups, tuple(notes)
            )
            first = folds.rows(0)
        train, validation, test = parts(*first)
        validated = rows.train[first[1]]
    compared = validation or test
    if train is None or compared is None:
        raise DataError('data.validation: "test" needs a test split, and data.test sets none aside')
    units = _units(table, given, validated)
    drawn = Splits(train, compared, test, "train", notes, folds, units)
    if validation is None:
        drawn = dataclasses.replace(drawn, test=None, validated_on="test")
    elif folds is not None:
        drawn = folds(0)
    return DataSet(
        path.stem,
        train,
        test,
        classes,
        f"the user's {path}",
        content_checksum(train, validation, test),
        notes=notes,
        task=task,
        columns=encoder.columns,
        drawn=drawn,
    )


def _split(
    inputs: np.ndarray, weights: np.ndarray | None, rows: np.ndarray, targets: torch.Tensor
) -> Split | None:
    own = None if weights is None else torch.from_numpy(weights[rows])
    return Split(torch.from_numpy(inputs[rows]), targets, own) if len(rows) else None


def _of_unit(
    encoder: Encoder,
    weights: np.ndarray | None,
    rows: Rows,
    targets: Sequence[torch.Tensor],
    train: np.ndarray,
    validation: np.ndarray,
) -> tuple[Split, Split, Split | None]:
    """Return the splits of a seed: with folds, columns are fitted on the training rows of each."""
    inputs = encoder.fitted(rows.train[train])
    folded: list[Split] = []
    for index in (train, validation):
        found = _split(inputs, weights, rows.train[index], targets[0][torch.from_numpy(index)])
        assert found is not None  # no fold is empty
        folded.append(found)
    return folded[0], folded[1], _split(inputs, weights, rows.test, targets[2])


def _read(path: Path, form: str, given: Mapping[str, Any]) -> tuple[_Table, list[str]]:
    lists = {key: _names(given, key) for key in TABLE_KEYS if key != "test"}
    reading: Any = {key: lists[key] for key in ("missing", "categorical", "ignore")}
    named = {key: lists[key] for key in ("target", "columns", "groups", "time", "weights")}
    main = {each.name: each for each in read_columns(path, form, **reading, named=named)}
    rows = len(next(iter(main.values())).values)
    if not lists["target"]:
        raise DataError(
            f"data.target: expected the column to learn, got none; {path} has {_listed(main)}"
        )
    for key, columns in named.items():
        if both := [name for name in columns if name in lists["ignore"]]:
            raise DataError(
                f"data.{key}: expected a column that is read, got '{both[0]}', which is in "
                "data.ignore as well; take it out of one of them"
            )
    apart = 0
    if isinstance(given.get("test"), str):
        other = Path(given["test"]).expanduser()
        if not other.is_file():
            raise DataError(f"data.test: no file '{other}'; a path is relative to where you are")
        more = {each.name: each for each in read_columns(other, form, **reading)}
        main = {name: _joined(column, more.get(name), other) for name, column in main.items()}
        apart = len(next(iter(more.values())).values)
    roles = {name for key in ("target", "groups", "time", "weights") for name in lists[key]}
    inputs = [name for name in main if name not in roles]
    if lists["columns"]:
        inputs = [name for name in lists["columns"] if name not in lists["target"]]
    notes: list[str] = []
    for name in list(inputs):
        wanted = name in lists["columns"] or name in lists["categorical"]
        why = "" if wanted else _useless(main[name].values[:rows])
        if why:
            inputs.remove(name)
            notes.append(
                f"Column '{name}' {why}, so it is left out; name it in data.columns to keep it."
            )
    if not inputs:
        raise DataError(f"{path}: expected columns to learn from beside {_listed(roles)}, got none")
    return _Table(path, main, inputs, lists["target"], rows, apart), notes


def _useless(values: np.ndarray) -> str:
    """Say why a column only tells the rows apart; "" if it does more."""
    if values.dtype.kind != "U":
        counts = values.dtype.kind == "i" and len(values) > 2 and bool((np.diff(values) == 1).all())
        return "numbers the rows one by one" if counts else ""
    different = len(np.unique(values[values != ""]))
    if different > 20 and different > _ALIKE * len(values):
        return f"has {different} different values in {len(values)} rows, as names of rows have"
    return ""


def _joined(column: Column, other: Column | None, path: Path) -> Column:
    if other is None:
        raise DataError(f"data.test: {path} has no column '{column.name}', as the training table")
    if column.numeric != other.numeric:
        kinds = ("numbers" if column.numeric else "names", "numbers" if other.numeric else "names")
        raise DataError(
            f"data.test: {path}: column '{column.name}': expected {kinds[0]}, as in the training "
            f"table, got {kinds[1]}"
        )
    return Column(column.name, np.concatenate([column.values, other.values]))


def _targets(table: _Table) -> np.ndarray:
    """Return what is learned: (N,), or (N, columns) of several."""
    for name in table.targets:
        gaps = table.columns[name].missing
        if gaps.any():
            raise DataError(
                f"{table.path}: column '{name}': expected a target in every row, got none in "
                f"{int(gaps.sum())} of them, row {int(gaps.argmax()) + 1} the first; leave these "
                "rows out of the file"
            )
    columns = [table.columns[name] for name in table.targets]
    if len(columns) == 1:
        return columns[0].values
    text = next((each.name for each in columns if not each.numeric), None)
    if text is not None:
        raise DataError(
            f"data.target: expected numbers in each of several columns, got names in '{text}'"
        )
    values = np.stack([each.values for each in columns], axis=1)
    bits = bool(np.isin(values, (0, 1)).all())
    return values.astype(np.int64 if bits else np.float64)


def _encoded(
    table: _Table, matrix: np.ndarray, rows: Rows, task: str
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    where = f"{table.path}: column '{', '.join(table.targets)}'"
    parts = [matrix[index] for index in rows]
    if task not in CLASSES_OF:
        return [read_targets(part, task, where=where) for part in parts], ()
    if matrix.ndim == 1 and matrix.dtype.kind in "if" and bool((matrix == np.rint(matrix)).all()):
        # numbers name classes, whichever they begin at
        parts = [number_names(part) for part in parts]
        known = tuple(map(str, number_names(np.unique(matrix))))
    else:
        known = tuple(map(str, np.unique(matrix))) if matrix.dtype.kind == "U" else ()
    used = [part for part in parts if len(part)]
    numbers, classes, _ = class_numbers(used, known, where=[where] * len(used))
    found = iter(numbers)
    empty = torch.zeros(0, dtype=torch.int64)
    return [next(found) if len(part) else empty for part in parts], classes


def _rows(table: _Table, spec: DataSpec, labels: np.ndarray | None) -> tuple[Rows, str]:
    """Return the rows of each split, and in a sentence how they were drawn."""
    given, rows = spec.arguments, table.rows
    said = "test" in given or spec.validation is not None or spec.folds is not None
    test = 0 if table.apart else _count("test", given.get("test", 0 if said else _SHARE), rows)
    if spec.validation == "test":
        validation = 0
        test = test or (0 if table.apart else _count("test", _SHARE, rows))
    elif spec.of_seed:
        validation = 0
    else:
        validation = _validated(spec, rows)
    groups, time = _values(table, given, "groups"), _values(table, given, "time")
    if groups is not None and time is not None:
        raise DataError("data.groups: expected either groups or time to split by, got both")
    drawn = draw(
        rows,
        test=test,
        validation=validation,
        strata=None if labels is None else labels[:rows],
        groups=None if groups is None else groups[:rows],
        time=None if time is None else time[:rows],
    )
    train = drawn.train
    if spec.train is not None and not spec.resample:
        if spec.train > len(train):
            raise DataError(
                f"data.train: {table.path} has {len(train)} rows left to train on, fewer than the "
                f"{spec.train} asked for"
            )
        train = train[: spec.train]
    kept = np.arange(rows, rows + table.apart) if table.apart else drawn.test
    if spec.of_seed:
        group = _names(given, "groups")[0] if groups is not None else None
        if spec.folds is not None:
            told = told_of(len(train), spec.folds, labels, group, held=bool(spec.stop_on_fold))
        else:
            count = _validated(spec, rows)
            by_class = labels is not None
            told = resampled_told(len(train), spec.train, count, by_class, group)
        if len(kept):
            told += f" {len(kept)} more are for the test."
        return Rows(np.sort(train), drawn.validation, kept), told
    how = "at random, each class in its share" if labels is not None else "at random"
    if groups is not None:
        how = f"at random, each {given['groups']} whole"
    if time is not None:
        how = f"by {given['time']}, the latest kept for last"
    counts = [
        f"{len(index) or 'none'} {what}"
        for index, what in ((drawn.validation, "to validate on"), (kept, "for the test"))
    ]
    told = f"{len(train)} rows to train on, {' and '.join(counts)}, drawn {how}."
    return Rows(train, drawn.validation, kept), told


def _validated(spec: DataSpec, rows: int) -> int:
    """Return how many of so many rows are validated on."""
    wanted = _SHARE if spec.validation is None else spec.validation
    assert not isinstance(wanted, str)
    return _count("validation", wanted, rows)


def _values(table: _Table, given: Mapping[str, Any], role: str) -> np.ndarray | None:
    if role not in given:
        return None
    (name, *_) = _names(given, role)
    column = table.columns[name]
    if column.missing.any():
        raise DataError(
            f"data.{role}: {table.path}: column '{name}' has no value in row "
            f"{int(column.missing.argmax()) + 1}"
        )
    if role != "time" or column.numeric:
        return column.values
    return read_times(column.values, f"data.time: {table.path}: column '{name}'")


def _units(table: _Table, given: Mapping[str, Any], rows: np.ndarray) -> Units | None:
    """Return what belongs together among some rows."""
    for kind in ("groups", "time"):
        values = _values(table, given, kind)
        if values is not None:
            return Units(kind, values[rows])
    return None


def _weights(table: _Table, given: Mapping[str, Any]) -> np.ndarray | None:
    values = _values(table, given, "weights")
    if values is None:
        return None
    name = _names(given, "weights")[0]
    where = f"data.weights: {table.path}: column '{name}'"
    if values.dtype.kind not in "if":
        raise DataError(f"{where}: expected numbers, got names such as {quote(str(values[0]))}")
    if (values < 0).any() or not values.any():
        at = int((values < 0).argmax())
        got = f"{values[at]:g} in row {at + 1}" if (values < 0).any() else "only 0"
        raise DataError(f"{where}: expected numbers from 0 on, some of them above, got {got}")
    return values.astype(np.float32)


def _count(key: str, wanted: Any, rows: int) -> int:
    """Return how many rows a number or a fraction means."""
    number = real(wanted)
    if number is None or number < 0:
        raise DataError(
            f"data.{key}: expected how many rows to set aside, or a fraction of them, got "
            f"{quote(wanted)}"
        )
    count = share(number, rows)
    if count >= rows:
        raise DataError(f"data.{key}: expected fewer than the {rows} rows, got {quote(wanted)}")
    return count


def _names(given: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = given.get(key, ())
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise DataError(f"data.{key}: expected the name of a column, or a list, got {quote(value)}")
    if key in ("groups", "time", "weights") and len(names) > 1:
        raise DataError(f"data.{key}: expected one column, got {len(names)}")
    return names


def _listed(names: Any) -> str:
    some = list(names)
    return ", ".join(some[:12]) + (f" and {len(some) - 12} more" if len(some) > 12 else "")
