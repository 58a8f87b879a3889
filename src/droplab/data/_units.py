"""What training examples are drawn by: groups that stay together, or times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from droplab.data._blocks import Units
from droplab.errors import DataError, quote
from droplab.recipe import DataSpec

Role = Literal["groups", "time"]

UNIT_ROLES: tuple[Role, ...] = get_args(Role)
"""Keys of a recipe's data that say what its examples are drawn by; one of them at most."""


def asked_units(spec: DataSpec) -> tuple[Role, str] | None:
    """Return what a recipe draws its examples by, and where it says that this stands.

    Raises:
        DataError: If it says so otherwise than by a text.
    """
    for role in UNIT_ROLES:
        if role in spec.arguments:
            name = spec.arguments[role]
            if not isinstance(name, str) or not name:
                raise DataError(f"data.{role}: expected a name, got {quote(name)}")
            return role, name
    return None


def read_units(role: Role, name: str, given: Any, count: int, where: str) -> Units:
    """Return what examples are drawn by, of one value for each of them.

    Args:
        role: Which of the two it is.
        name: What the user calls it.
        given: An array, a tensor or a list: times are numbers or dates such as 2026-03-31.
        count: How many training examples there are.
        where: What messages begin with.

    Raises:
        DataError: If it has another length, a value is missing, or a time cannot be read.

    Example:
        >>> read_units("time", "day", ["2026-03-31", "2026-04-01"], 2, "here").values.dtype
        dtype('<M8[s]')
    """
    try:
        values = np.asarray(given)
    except (TypeError, ValueError):
        values = np.empty(())
    if values.shape != (count,):
        raise DataError(
            f"{where}: expected one of data.{role} for each of the {count} training examples, "
            f"shape ({count},), got shape {values.shape}"
        )
    if values.dtype.kind == "O":
        values = _plain(role, values, where)
    if role == "time" and values.dtype.kind in "US":
        values = read_times(values, where)
    missing = np.isnat(values) if values.dtype.kind in "mM" else values != values
    if missing.any():
        raise DataError(
            f"{where}: expected one of data.{role} for every example, got none for example "
            f"{int(missing.argmax())}"
        )
    return Units(role, values, name)


_ZONE = re.compile(r"(.*[0-9]{2}:[0-9]{2}.*?) ?([+-])([0-9]{2}):?([0-9]{2})")
_DATE = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})(?:[T ]+([0-9].*?))?Z?")


def read_times(values: np.ndarray, where: str, *, dates: bool = False) -> np.ndarray:
    """Return texts as times: the year first, the clock perhaps after the day.

    Day or month first could be either, so that is refused.

    Args:
        values: (N,), texts.
        where: What messages begin with.
        dates: Whether each has to name its day: "2026" and "2026-03" are years and months alone.

    Raises:
        DataError: If one cannot be read.

    Example:
        >>> read_times(np.array(["2026-03-31", "2026/4/1 08:30"]), "here").astype(str).tolist()
        ['2026-03-31T00:00:00', '2026-04-01T08:30:00']
    """
    found: list[np.datetime64] = []
    for value in map(str, values.tolist()):
        match = _DATE.fullmatch(value.strip())
        try:
            text = value
            if match is not None:
                year, month, day, clock = match.groups()
                text = f"{year}-{int(month):02d}-{int(day):02d}" + (f"T{clock}" if clock else "")
            elif dates:
                raise ValueError
            found.append(_utc(text))
        except ValueError:
            raise DataError(
                f"{where}: expected numbers or dates such as 2026-03-31, got {quote(value)}"
            ) from None
    return np.array(found, dtype="datetime64[s]")


def _utc(text: str) -> np.datetime64:
    """Return a time as that of UTC, where it says how far it is from there."""
    zone = _ZONE.fullmatch(text)
    if zone is None:
        return np.datetime64(text, "s")
    local, sign, hours, minutes = zone.groups()
    ahead = np.timedelta64(60 * int(hours) + int(minutes), "m")
    time = np.datetime64(local, "s")
    return time - ahead if sign == "+" else time + ahead


def _plain(role: Role, values: np.ndarray, where: str) -> np.ndarray:
    """Return Python's own values as an array of one kind: dates, or what is written for them."""
    for at, value in enumerate(values):
        if value is None or value != value:
            raise DataError(
                f"{where}: expected one of data.{role} for every example, got none for example {at}"
            )
    if role == "time":
        try:
            return values.astype("datetime64[s]")
        except (TypeError, ValueError):
            pass
    return np.array([str(value) for value in values])


def units_of_names(role: Role, pattern: str, names: Sequence[str], where: str) -> Units:
    """Return what files are drawn by, read from their names.

    Args:
        role: Which of the two it is.
        pattern: A regular expression; its first group is the value, or all that it finds. Times
            are dates such as 2026-03-31, or numbers.
        names: Of the training files, in their order.
        where: What messages begin with.

    Raises:
        DataError: If the pattern does not compile, or finds nothing in a name.

    Example:
        >>> units_of_names("groups", "p([0-9]+)", ["cat/p1_a.png", "dog/p2.png"], "here").values
        array(['1', '2'], dtype='<U1')
    """
    try:
        found = [re.search(pattern, name) for name in names]
    except re.error as error:
        raise DataError(
            f"data.{role}: expected a regular expression over the names of files, got "
            f"{quote(pattern)}, which does not compile: {error}"
        ) from None
    values: list[str] = []
    for name, match in zip(names, found, strict=True):
        value = match and (match.group(1) if match.re.groups else match.group())
        if not value:
            raise DataError(
                f"{where}: data.{role}: expected {quote(pattern)} to find something in the name of "
                f"every training image, got nothing in {quote(name)}"
            )
        values.append(value)
    numbers = role == "time" and all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) for value in values)
    given = cast("Any", [float(value) for value in values] if numbers else values)
    return read_units(role, f"'{pattern}' in file names", given, len(names), where)
