"""Labels of any type and range: the very class numbers, or a sentence; never another number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from droplab.data._labels import class_numbers, whole_numbers
from droplab.errors import DataError
from droplab.limits import CLASSES

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "longdouble", ">i4", ">f8"),
]
NAMES = tuple(f"c{i}" for i in range(12))


def numbers(*labels: object, classes: tuple[str, ...] = (), dtype: str = "int64") -> object:
    arrays = [np.array(each, dtype) for each in labels]
    return class_numbers(arrays, classes, where=["y", "y_test"][: len(arrays)])


@given(
    dtype=st.sampled_from(DTYPES),
    offset=st.sampled_from([0, 1, -1, 5, 10**3, 2 * 10**9, 2**32, 2**63 - 100, 2**63, 2**64 - 100]),
    step=st.sampled_from([1, 2, 7, 10**6]),
    count=st.integers(0, 12),
    repeat=st.integers(1, 5),
    half=st.booleans(),
    named=st.sampled_from([0, 2, 12]),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_the_very_numbers_or_a_sentence(
    dtype: str, offset: int, step: int, count: int, repeat: int, half: bool, named: int
) -> None:
    exact = [offset + step * i for i in range(count)] * repeat
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        exact = [n for n in exact if np.iinfo(kind).min <= n <= np.iinfo(kind).max]
    with np.errstate(over="ignore"):
        array = np.array([n % 2 for n in exact] if kind.kind == "b" else exact).astype(kind)
        if kind.kind == "f" and half:
            array = array + kind.type(0.5)
    wanted = [n.item() for n in array]
    whole = [int(n) for n in wanted if np.isfinite(n) and n == int(n)]
    sound = len(whole) == len(wanted) and len(set(whole)) >= 2
    sound = sound and min(whole) >= 0 and max(whole) < (named or CLASSES)
    if not (sound and (named or min(whole) == 0)):
        with pytest.raises(DataError, match=r"^y: expected.{0,300}$"):
            class_numbers([array], NAMES[:named], where=["y"])
        return
    (tensor,), names, notes = class_numbers([array], NAMES[:named], where=["y"])
    assert tensor.dtype == torch.int64
    assert tensor.tolist() == whole
    assert names == (NAMES[:named] or tuple(map(str, range(max(whole) + 1))))
    invented = named == 0 and len(names) > len(set(whole))
    assert bool(notes) == invented, "a class without examples is noted"


@pytest.mark.parametrize(
    ("labels", "dtype", "message"),
    [
        ([1, 2, 10], "int64", "labels that begin at 1 .1 to 10.; subtract 1 from all"),
        ([5, 5, 5], "int64", "at least two classes to tell apart, got only 5"),
        ([], "int64", "at least two classes to tell apart, got no labels"),
        ([0, 2_000_000_000], "int64", "got 2000000000 at example 1, .* column of ids"),
        ([0, 2**64 - 1], "uint64", "got 18446744073709551615 at example 1"),
        ([0, 1, -1], "int64", "got -1 at example 2; if it marks examples that have no label"),
        ([0, 1.5], "float64", "got 1.5 at example 1; a quantity cannot be a class"),
        ([0, np.inf], "float64", "got inf at example 1"),
    ],
)
def test_what_is_wrong_with_labels(labels: list[float], dtype: str, message: str) -> None:
    with pytest.raises(DataError, match=f"y: expected .*{message}"):
        numbers(labels, dtype=dtype)


def test_gaps_are_noted() -> None:
    _, names, notes = numbers([0, 4, 4, 0], [5])
    assert names == ("0", "1", "2", "3", "4", "5")
    assert notes[0].startswith("The labels go from 0 to 5, and 3 of these 6 numbers do not occur")
    assert "(1, 2, 3)" in notes[0]


def test_doubled_names_and_bytes_are_refused() -> None:
    with pytest.raises(DataError, match=r"arguments.classes: .* 'cat' twice"):
        numbers([0, 1, 2], classes=("cat", "dog", "cat"))
    with pytest.raises(DataError, match=r"got bytes .*astype"):
        numbers([b"cat", b"dog"], dtype="S3")
    with pytest.raises(DataError, match="got only 'cat'"):
        numbers(["cat", "cat"], dtype="U3")


def test_labels_that_begin_at_one_with_names() -> None:
    with pytest.raises(DataError, match="got 2 at example 1; if the labels begin at 1, subtract"):
        numbers([1, 2, 1], classes=("a", "b"))


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2], torch.tensor([0, 1, 2]).to(torch.bfloat16), torch.tensor([[0], [1], [2]])],
)
def test_labels_of_any_form_in_memory(labels: object) -> None:
    assert whole_numbers(labels, where="train").tolist() == [0, 1, 2]


def test_names_in_memory_are_told_how_to_be_numbered() -> None:
    with pytest.raises(DataError, match=r"train: .* got names .*return_inverse=True"):
        whole_numbers(["cat", "dog"], where="train")
