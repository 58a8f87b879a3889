from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import pytest

from droplab.recipe import Arm, load
from droplab.report import _figures
from droplab.report import _theme as theme
from droplab.report._figures import Source, all_arms, draw, forest
from droplab.report._frame import Ids
from droplab.report._grid import draw_grid, grid_of
from droplab.report._lines import Curves, Series, draw_curves, kept
from droplab.report._rates import draw_rates, rate_points, rates_of
from droplab.report._reliability import Reliability
from droplab.results import AnswersRow
from droplab.verdict import RunMetrics, StoppedArm, Summary, judge

METRICS = RunMetrics.of(load("digits")).epoch


@pytest.fixture(scope="module")
def source(fashion) -> Source:
    return Source.of(fashion, judge(fashion))


def paths(svg: str, style: str) -> list[str]:
    return re.findall(rf'<path d="([^"]*)" class="{style}"', svg)


def last_point(path: str) -> tuple[float, float]:
    x, y = re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)[-1]
    return float(x), float(y)


def test_a_curve_ends_where_its_last_value_is():
    svg = draw_curves(
        Ids(), Curves("t", [Series("a", 1, [0.0, 0.5, 1.0]), Series("b", 2, [0.0] * 3)])
    )
    (a,), (b,) = paths(svg, "line c1"), paths(svg, "line c2")
    xa, ya = last_point(a)
    xb, yb = last_point(b)
    assert xa == xb
    assert ya < yb, "more is higher up"
    grid = {float(y) for y in re.findall(r'<path d="M44 ([\d.]+)H', svg)}
    assert min(abs(ya - y) for y in grid) < 0.1, "1.0 lies on a line of the grid"
    assert "a: 0 to 1, epoch 3; b: 0 to 0, epoch 3" in svg


def test_missing_epochs_are_left_out():
    nan = math.nan
    svg = draw_curves(
        Ids(),
        Curves("t", [Series("a", 1, [1.0, 2.0, nan], [0.9, 1.9, nan], [1.1, 2.1, nan])]),
    )
    assert "nan" not in svg
    assert "a: 1 to 2, epoch 2" in svg
    empty = draw_curves(Ids(), Curves("t", [Series("a", 1, [nan, nan])]))
    assert "nan" not in empty


def test_points_are_thinned_but_the_last_is_kept():
    assert kept(50) == list(range(50))
    assert len(kept(1000)) <= 82
    assert kept(1000)[-1] == 999
    assert len(kept(1000, curves=100)) <= 18


def test_first_epochs_are_cut_where_they_would_hide_the_rest():
    steep = [10.0, 6.0, 1.0, *[0.5 + 0.01 * i for i in range(37)]]
    svg = draw_curves(Ids(), Curves("t", [Series("a", 1, steep)], note="n"))
    assert "n, first epochs cut" in svg
    assert "clipPath" in svg
    assert "10 " not in re.findall(r'class="tick">([^<]*)<', svg)
    calm = [1.0 - 0.02 * i for i in range(40)]
    svg = draw_curves(Ids(), Curves("t", [Series("a", 1, calm)]))
    assert "cut" not in svg
    assert "clipPath" not in svg


def test_the_band_is_one_standard_deviation(source):
    mean, low, high = source.curve("none", "val_loss")
    summary = source.verdict.arm("none").metrics["val_loss"]
    assert mean[-1] == pytest.approx(summary.mean)
    assert high[-1] - mean[-1] == pytest.approx(summary.sd)
    assert mean[-1] - low[-1] == pytest.approx(summary.sd)


def test_forest_puts_mean_interval_and_seeds_in_place(source):
    svg = forest(source, Ids(), METRICS["val_loss"])
    zero = float(re.findall(r'<path d="M([\d.]+) [\d.]+V[\d.]+" class="zero"', svg)[0])
    bars = re.findall(r'<path d="M([\d.]+) [\d.]+H([\d.]+)" class="bar c\d"', svg)
    marks = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="5" class="mark c\d"', svg)
    dots = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="2.2" class="dot c\d"', svg)
    assert len(bars) == len(marks) == 3
    assert len(dots) == 24
    for (low, high), mark in zip(bars, marks, strict=True):
        assert float(low) < float(mark) < float(high) < zero
    means = [source.verdict.arm(a).differences["val_loss"].mean for a in ("0.3-0.3", "input")]
    scale = (zero - float(marks[0])) / -means[0]
    assert zero - float(marks[2]) == pytest.approx(-means[1] * scale, abs=0.2)
    assert "left of the line is better" in svg
    assert "right of the line is better" in forest(source, Ids(), METRICS["val_accuracy"])


def test_an_unbounded_interval_is_dotted_to_the_edge(fashion):
    few = tuple(r for r in fashion.rows if r.seed < 3)
    result = replace(fashion, rows=few, tests=())
    svg = forest(Source.of(result, judge(result)), Ids(), METRICS["val_loss"])
    assert svg.count('stroke-dasharray="1 7"') == 3
    assert "inf" not in svg
    assert "−∞ to +∞" in svg


def test_every_arm_has_its_colour_everywhere(source):
    assert [source.place(a) for a in ("none", "0.3-0.3", "0.5-0.2", "input")] == [0, 1, 2, 3]
    svg = all_arms(source, Ids(), METRICS["val_loss"])
    for place, name in enumerate(("none", "0.3-0.3", "0.5-0.2", "input")):
        assert re.search(rf'class="label c{place}">{re.escape(name)}<', svg)


def test_with_many_arms_the_telling_ones_are_named(sweep, monkeypatch):
    monkeypatch.setattr(_figures, "MOST_NAMED", 6)
    source = Source.of(sweep, judge(sweep))
    assert source.named() == {"0", "0.4", "0.5"} | {source.verdict.chosen}
    svg = all_arms(source, Ids(), METRICS["val_loss"])
    assert svg.count("thin faint") == 9 - len(source.named())
    assert "further arms in the background" in svg


def test_nine_rates_have_a_scale_and_a_name_each(sweep):
    source = Source.of(sweep, judge(sweep))
    others = [arm.name for arm in sweep.recipe.arms if arm != sweep.recipe.baseline]
    assert len(others) == 8
    colours = [theme.colour_class(source.place(name)) for name in others]
    steps = [int(colour.removeprefix("o")) for colour in colours]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (0, len(theme.RAMP_LIGHT) - 1)
    svg = all_arms(source, Ids(), METRICS["val_loss"])
    assert "faint" not in svg
    heights = []
    for name, colour in zip(others, colours, strict=True):
        label = re.search(rf'<text [^>]*class="label {colour}"[^>]*>{re.escape(name)}<', svg)
        assert label is not None
        heights.append(float(re.search(r' y="([\d.]+)"', label[0])[1]))
    heights.sort()
    assert all(b - a > 11 for a, b in itertools.pairwise(heights))
    assert svg.count("band ") == 2  # more would hide one another


def test_named_arms_keep_their_colours(source):
    """Four arms over several sites are no scale."""
    assert source.place("input") == 3


def test_a_scale_holds_for_any_number_of_rates():
    for count in (4, 9, 40):
        steps = [theme.step(rank, count) for rank in range(count)]
        assert steps == sorted(steps)
        assert {theme.colour_class(place) for place in steps} <= {f"o{i}" for i in range(12)}
        assert all(theme.dash(place) is None for place in steps)
    assert len({theme.step(rank, 9) for rank in range(9)}) == 9


def test_every_seed_is_a_dot_at_the_end_of_its_curve(fashion, source):
    svg = all_arms(source, Ids(), METRICS["val_loss"])
    dots = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*class="dot c3"', svg)
    assert len(dots) == 8
    assert len({x for x, _ in dots}) == 1
    last = [r.val_loss for r in fashion.rows if r.arm == "input" and r.epoch == 50]
    order = sorted(range(8), key=lambda seed: -last[seed])
    assert order == sorted(range(8), key=lambda seed: float(dots[seed][1]))


def test_ids_are_unique_over_a_page(source):
    figures = draw(source, Ids())
    ids = re.findall(r' id="([^"]+)"', "".join(map(str, (*figures.curves, *figures.against))))
    assert len(ids) == len(set(ids)) >= 12


def recipe(*arms: Arm):
    return replace(load("digits"), arms=(Arm("none"), *arms))


def test_when_arms_form_a_rate_curve():
    a, b = Arm("a", {"fc2": 0.5}), Arm("b", {"fc2": 0.2})
    assert rates_of(recipe(a, b)) == {"none": 0.0, "b": 0.2, "a": 0.5}
    assert rates_of(recipe(a)) is None, "two points are no curve"
    assert rates_of(recipe(a, Arm("b", {"fc3": 0.2}))) is None, "another site"
    assert rates_of(recipe(a, Arm("b", {"fc2": 0.2}, "gaussian"))) is None, "another kind"
    assert rates_of(recipe(a, Arm("b", {"fc2": 0.5}))) is None, "the same rate twice"
    assert rates_of(recipe(Arm("a", {"fc2": 0.5, "fc3": 0.2}), b)) is None, "two rates in an arm"
    both = [Arm(f"{p}", {"fc2": p, "fc3": p}) for p in (0.1, 0.2)]
    assert list(rates_of(recipe(*both)).values()) == [0.0, 0.1, 0.2]


def test_the_rate_curve_marks_the_best_rate(sweep):
    verdict = judge(sweep)
    seeds = {arm.name: [0.5] * 8 for arm in verdict.arms}
    points = rate_points(sweep.recipe, verdict, METRICS["val_loss"], seeds)
    assert [p.rate for p in points] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    found = verdict.arm("0.3")
    assert points[3].mean == found.metrics["val_loss"].mean
    width = found.differences["val_loss"].high - found.differences["val_loss"].low
    assert points[3].high - points[3].low == pytest.approx(width)
    svg = draw_rates(Ids(), METRICS["val_loss"], points, verdict.without)
    assert f"best at p = {verdict.chosen}" in svg
    assert svg.count('class="mark c2"') == 1


def test_when_arms_form_a_grid(grid, fashion, sweep):
    verdict = judge(grid)
    found = grid_of(grid.recipe, verdict, METRICS["val_loss"])
    assert found.sites == ("fc2", "fc3")
    assert found.across == (0.0, 0.2, 0.4)
    assert found.down == (0.0, 0.25, 0.5)
    assert found.values[0.2, 0.5] == verdict.arm("0.2-0.5").metrics["val_loss"].mean
    svg = draw_grid(Ids(), METRICS["val_loss"], found)
    best = min(found.values, key=lambda place: found.values[place])
    assert f"best: {best[0]:g} at fc2, {best[1]:g} at fc3" in svg
    assert svg.count('class="line c2"') == 1
    assert grid_of(fashion.recipe, judge(fashion), METRICS["val_loss"]) is None
    assert grid_of(sweep.recipe, judge(sweep), METRICS["val_loss"]) is None


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("ground", "colours", "ramp"),
    [
        (theme.GROUND_LIGHT, theme.LIGHT, theme.RAMP_LIGHT),
        (theme.GROUND_DARK, theme.DARK, theme.RAMP_DARK),
    ],
    ids=["light", "dark"],
)
def test_every_text_has_a_contrast_of_at_least_four_and_a_half(ground, colours, ramp):
    for behind in ("bg", "panel"):
        for colour in (
            *colours,
            *ramp,
            ground["ink"],
            ground["soft"],
            ground["good"],
            ground["bad"],
        ):
            assert contrast(colour, ground[behind]) >= 4.5, (colour, behind)
    assert contrast(ground["good"], ground["goodbg"]) >= 4.5
    assert contrast(ground["bad"], ground["badbg"]) >= 4.5
    assert len(set(colours)) == len(colours) == len(theme.LIGHT)
    light = [luminance(colour) for colour in ramp]
    assert light == sorted(light, reverse=True)
    assert len(set(ramp)) == len(ramp) == len(theme.RAMP_LIGHT)


def test_beyond_the_last_colour_comes_a_dash():
    assert theme.colour_class(0) == "c0"
    assert (theme.colour_class(1), theme.dash(1)) == ("c1", None)
    assert (theme.colour_class(9), theme.dash(9)) == ("c1", "7 3")


def test_the_stopped_epoch_is_marked_on_every_curve(fashion):
    verdict = judge(fashion)
    epochs = {"none": (10, 12), "input": (30, 40)}
    arms = [
        replace(
            arm,
            stopped=StoppedArm(Summary(0.4, 0.1, 2), None, None, "", dict(enumerate(at)), {}),
        )
        if (at := epochs.get(arm.name))
        else arm
        for arm in verdict.arms
    ]
    source = Source.of(fashion, replace(verdict, arms=tuple(arms)))
    figures = draw(source, Ids())
    for svg in (*figures.curves, *figures.gaps):
        rings = re.findall(r'<circle cx="([\d.]+)"[^>]*class="ring (c\d)"', svg)
        assert {style for _, style in rings} == {"c0", "c3"}  # of the others it is not known
        ends = {style: float(x) for x, style in rings}
        assert ends["c0"] == pytest.approx(44 + 10 / 49 * 300, abs=0.1)  # epoch 11 of 1 to 50
        assert ends["c3"] == pytest.approx(44 + 34 / 49 * 300, abs=0.1)
    for svg in figures.against:
        assert svg.count('class="ring') == 3  # validation, training and running
    bare = draw(Source.of(fashion, verdict), Ids())
    assert "ring" not in "".join(re.findall(r'class="([^"]*)"', "".join(map(str, bare.curves))))


def test_a_reliability_diagram_adds_up_the_answers_of_all_seeds(fashion):
    none, few = [(0, 0.0, 0)] * 15, [(0, 0.0, 0)] * 15
    none[13], none[14], few[14] = (50, 45.0, 30), (50, 49.0, 40), (100, 98.0, 90)
    rows = [
        AnswersRow("none", 0, tuple(none), ()),
        AnswersRow("none", 1, tuple(few), ()),
        AnswersRow("none", 99, tuple(few), ()),  # of no seed that is judged
        AnswersRow("input", 0, tuple(few), ()),
    ]
    found = Reliability.of("none", 0, rows[:2])
    assert found.confidence.tolist() == [0.9, 147 / 150]
    assert found.accuracy.tolist() == [0.6, 130 / 150]
    assert found.share.tolist() == [0.25, 0.75]
    verdict = judge(fashion)
    (svg,) = draw(Source.of(replace(fashion, answers=tuple(rows)), verdict), Ids()).reliability
    assert "none: 60 % right at 90 % (25 %), 87 % right at 98 % (75 %); input: 90 %" in svg
    (line,) = paths(svg, "line c0")
    (x, y), (right, top) = re.findall(r"[ML]([\d.-]+) ([\d.-]+)", line)
    assert float(x) == pytest.approx(44 + 300 * (0.9 - 0.5) / 0.52, abs=0.1)
    assert float(y) == pytest.approx(230 - 196 * (0.6 - 0.5) / 0.52, abs=0.1)
    assert float(right) > float(x)
    assert float(top) < float(y)
    for empty in ((), (AnswersRow("none", 0, ((0, 0.0, 0),) * 15, ()),)):
        assert draw(Source.of(replace(fashion, answers=empty), verdict), Ids()).reliability == ()
