"""Schedules as functions: ends, shapes, refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from droplab.errors import ArgumentError
from droplab.nn.schedules import by_depth, constant, curriculum, early, late, linear
from droplab.probability import check_p

rates = st.floats(0.001, 0.999)
steps = st.integers(0, 10_000)


@given(step=steps, start=rates, end=rates, length=st.integers(1, 5000), depth=st.integers(1, 99))
def test_every_value_is_a_usable_rate(step, start, end, length, depth) -> None:
    values = [
        constant(step, p=start),
        linear(step, start=start, end=end, steps=length),
        linear(step, start=0.0, end=1.0, steps=10_000),
        early(step, p=start, steps=length),
        early(step, p=start, steps=length, decay=True),
        late(step, p=start, start=length),
        curriculum(step, p=start, steps=length),
        by_depth(step % depth, count=depth, p=start),
    ]
    assert [check_p(value) for value in values] == values


def test_linear_meets_both_ends_exactly() -> None:
    for start, end in ((0.1, 0.7), (0.7, 0.1), (0.0, 1.0), (0.3, 0.3)):
        assert linear(0, start=start, end=end, steps=7) == start
        assert linear(7, start=start, end=end, steps=7) == end
        assert linear(8, start=start, end=end, steps=7) == end
    values = [linear(t, start=0.1, end=0.7, steps=7) for t in range(8)]
    assert values == sorted(values)


def test_early_and_late_are_complements() -> None:
    for step in range(20):
        assert early(step, p=0.4, steps=9) + late(step, p=0.4, start=9) == 0.4
    assert early(0, p=0.4, steps=0) == 0.0
    assert early(3, p=0.4, steps=4, decay=True) == pytest.approx(0.1)


def test_curriculum_is_the_papers_keep_rate() -> None:
    """theta(t) = (1 - theta_bar) exp(-gamma t) + theta_bar, with gamma = 10 / T."""
    for step in (0, 1, 50, 500, 1000):
        keep = (1 - 0.5) * math.exp(-10 / 1000 * step) + 0.5
        assert curriculum(step, p=0.5, steps=1000) == pytest.approx(1 - keep, abs=1e-5)


def test_depth_ends_at_the_rate() -> None:
    values = [by_depth(i, count=5, p=0.3) for i in range(5)]
    assert values == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.3])


@pytest.mark.parametrize(
    "call",
    [
        lambda: constant(-1, p=0.5),
        lambda: constant(1.5, p=0.5),  # pyright: ignore[reportArgumentType]
        lambda: constant(0, p=30),
        lambda: linear(0, start=0.0, end=2.0, steps=5),
        lambda: linear(0, start=0.0, end=0.5, steps=0),
        lambda: early(0, p=0.5, steps=-1),
        lambda: late(0, p=0.5, start=-1),
        lambda: curriculum(0, p=0.5, steps=10, sharpness=0.0),
        lambda: curriculum(0, p=0.5, steps=10, sharpness=math.nan),
        lambda: by_depth(5, count=5, p=0.5),
        lambda: by_depth(-1, count=5, p=0.5),
    ],
)
def test_bad_arguments_are_refused(call) -> None:
    with pytest.raises(ArgumentError):
        call()
