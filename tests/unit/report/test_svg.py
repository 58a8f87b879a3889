from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from droplab.report._svg import (
    Scale,
    bounds,
    element,
    number,
    polyline,
    shorten,
    spread_out,
    tick_texts,
    ticks,
)


def test_text_and_attributes_are_escaped():
    made = element("text", "<b>&", title='"><script>', data_x=1.25, class_="c", y=None)
    assert made == (
        '<text title="&#34;&gt;&lt;script&gt;" data-x="1.2" class="c">&lt;b&gt;&amp;</text>'
    )
    assert element("g", element("path", d="M0 0")) == Markup('<g><path d="M0 0"/></g>')


def test_a_line_breaks_at_a_missing_value():
    points = [(0, 1.0), (1, 2.04), (2, math.nan), (3, -0.01), (4, math.inf), (5, 1)]
    assert polyline(points) == "M0 1L1 2M3 0M5 1"
    assert polyline([]) == ""


def test_numbers_are_short():
    assert [number(v) for v in (1.0, 1.25, -0.04, 100.06)] == ["1", "1.2", "0", "100.1"]


def test_scale_maps_both_ends():
    scale = Scale(2.0, 4.0, 100.0, 0.0)
    assert [scale(v) for v in (2.0, 3.0, 4.0)] == [100.0, 50.0, 0.0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.43, 0.87, ["0.5", "0.6", "0.7", "0.8"]),
        (-0.3, 0.05, ["−0.30", "−0.25", "−0.20", "−0.15", "−0.10", "−0.05", "0.00", "0.05"]),
        (0.0, 0.004, ["0.000", "0.001", "0.002", "0.003", "0.004"]),
        (1.0, 50.0, ["10", "20", "30", "40", "50"]),
        (3.0, 3.0, ["3"]),
    ],
)
def test_ticks_are_round_and_told_apart(low, high, expected):
    found = ticks(low, high)
    assert tick_texts(found) == expected
    assert len(set(tick_texts(found))) == len(found)


def test_ticks_in_per_cent():
    assert tick_texts([0.84, 0.85, 0.86], percent=True) == ["84", "85", "86"]
    assert tick_texts([0.84, 0.845, 0.85], percent=True) == ["84.0", "84.5", "85.0"]


def test_bounds_ignore_what_is_not_finite():
    low, high = bounds([1.0, 3.0, math.nan, math.inf])
    assert (low, high) == pytest.approx((0.9, 3.1))
    assert bounds([math.nan]) == (0.0, 1.0)
    low, high = bounds([2.0, 2.0])
    assert low < 2.0 < high


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=14), st.floats(1, 20))
def test_labels_keep_their_distance_order_and_bounds(places, gap):
    moved = spread_out(places, gap, 0.0, 200.0)
    allowed = min(gap, 200.0 / max(len(places) - 1, 1))
    ordered = sorted(zip(places, moved, strict=True), key=lambda pair: pair[1])
    for (before, a), (after, b) in itertools.pairwise(ordered):
        assert b - a >= allowed - 1e-6
        assert before <= after + 1e-9
    assert all(-1e-6 <= place <= 200 + 1e-6 for place in moved)


def test_labels_far_apart_stay_where_they_are():
    assert spread_out([10.0, 90.0, 50.0], 14.0, 0.0, 100.0) == [10.0, 90.0, 50.0]


def test_long_names_are_cut():
    assert shorten("a long name of an arm", 10) == "a long na…"
    assert shorten("short", 10) == "short"
