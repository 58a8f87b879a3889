from __future__ import annotations

import math

import numpy as np
import pytest

from droplab.errors import ArgumentError
from droplab.verdict import compare, compare_skewed, judge
from droplab.verdict._skewed import _t_of_skewed, seeds_needed

BASE = [0.80, 0.82, 0.81, 0.79, 0.83, 0.80, 0.78, 0.82]


@pytest.mark.parametrize(("arms", "n"), [(1, 6), (3, 8), (8, 12)])
def test_p_is_that_of_the_clearest_of_independent_skewed_arms(arms, n):
    """Against numpy's own exponential numbers, arms drawn together, within 5 standard errors."""
    rng = np.random.default_rng([arms, n])
    drawn = rng.exponential(size=(40_000, arms, n)) - 1
    t = np.abs(drawn.mean(axis=2)) * math.sqrt(n) / drawn.std(axis=2, ddof=1)
    clearest = t.max(axis=1)
    noise = rng.normal(size=(arms, n))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, ddof=1, keepdims=True)
    for size in (1.5, 3.0, 5.0):
        found = compare_skewed(noise + size / math.sqrt(n))[0]
        share = float((clearest >= size).mean())
        if found.p > compare(noise + size / math.sqrt(n))[0].p:
            assert abs(found.p - share) < 5 * math.sqrt(share * (1 - share) / 40_000 + 1e-6)
        else:
            assert found.p >= share - 5 * math.sqrt(share * (1 - share) / 40_000 + 1e-6)


def test_the_interval_is_that_of_students_t_with_another_bound():
    rng = np.random.default_rng(1)
    row = rng.normal(0.2, 1.0, size=8)
    found = compare_skewed([row])[0]
    reach = (found.high - found.mean) / (row.std(ddof=1) / math.sqrt(8))
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    share = float((_t_of_skewed(8) > reach).mean())
    assert share == pytest.approx(0.05, abs=1e-4)
    assert reach > 2.365, "wider than for normal noise"


def test_scale_sign_and_order_do_not_matter_and_it_repeats():
    rng = np.random.default_rng(6)
    table = rng.normal(0.6, 1.0, size=(3, 8))
    table[1, 2] = math.nan
    before = compare_skewed(table)
    for found, other in zip(before, compare_skewed(-1000 * table), strict=True):
        assert other.p == pytest.approx(found.p, abs=1e-12)
        assert other.low == pytest.approx(-1000 * found.high)
    assert [f.p for f in compare_skewed(table[::-1])[::-1]] == pytest.approx([f.p for f in before])
    _t_of_skewed.cache_clear()
    assert compare_skewed(table) == before


def test_an_infinite_difference_is_refused():
    with pytest.raises(ArgumentError, match="infinite"):
        compare_skewed([[math.inf, 1.0]])


def test_many_pairs_are_judged_as_sixty_four():
    rng = np.random.default_rng(3)
    row = rng.normal(size=200)
    found = compare_skewed([row])[0]
    reach = (found.high - found.mean) / (row.std(ddof=1) / math.sqrt(200))
    assert 1.96 < reach < 2.4
    assert float((_t_of_skewed(64) > reach).mean()) == pytest.approx(0.05, abs=1e-4)


def test_a_word_that_rests_on_symmetry_carries_a_caveat(make_result):
    """Six differences of one sign, far apart: clear to sign flips, not if they were skewed."""
    unclear = [x - d for x, d in zip(BASE[:6], (0.001, 0.12, 0.02, 0.2, 0.01, 0.1), strict=True)]
    verdict = judge(make_result({"none": BASE[:6], "a": unclear}))
    assert verdict.arm("a").word == "helps"
    found = verdict.also[verdict.also.index("'a' helps if") :]
    (wide,) = compare_skewed(np.array([unclear]) - np.array(BASE[:6]))
    assert found == (
        "'a' helps if its differences scatter to both sides alike, as they do where an arm "
        "changes nothing. Were they as skewed as an exponential distribution, the interval would "
        f"be −0.206 to +0.055 (p = {wide.p:.2f}); about 11 seeds like these would settle it."
    )
    clear = [x - 0.3 + 0.01 * i for i, x in enumerate(BASE)]
    verdict = judge(make_result({"none": BASE, "a": clear}))
    assert verdict.arm("a").word == "helps"
    assert "both sides alike" not in verdict.also


def test_the_caveat_minds_the_other_arms(make_result):
    """The same arm stands alone and does not among four; arms without a word carry none."""
    pulls = (0.02, 0.08, 0.15, 0.03, 0.09, 0.12, 0.06, 0.02)
    near = [x - d for x, d in zip(BASE, pulls, strict=True)]
    others = {
        f"o{i}": [x + (0.01 if (i >> j) % 2 else -0.012) for j, x in enumerate(BASE)]
        for i in range(40, 43)
    }
    alone = judge(make_result({"none": BASE, "a": near}))
    among = judge(make_result({"none": BASE, "a": near, **others}))
    assert alone.arm("a").word == among.arm("a").word == "helps"
    assert "both sides alike" not in alone.also
    assert "'a' helps if its differences scatter to both sides alike" in among.also


def test_several_words_share_a_caveat(make_result):
    unclear = (0.02, 0.08, 0.25, 0.03, 0.09, 0.12, 0.06, 0.02)
    better, worse = ([x + sign * d for x, d in zip(BASE, unclear, strict=True)] for sign in (-1, 1))
    verdict = judge(make_result({"none": BASE, "a": better, "b": worse}))
    assert [arm.word for arm in verdict.arms[1:]] == ["helps", "hurts"]
    first, second = compare_skewed(np.array([better, worse]) - np.array(BASE))
    assert first.p == pytest.approx(second.p)
    found = verdict.also
    assert "'a' and 'b' differ from the baseline if their differences scatter" in found
    assert (
        f"all these intervals would hold 0 (p from {first.p:.2f} to {first.p:.2f}); about" in found
    )


def test_seeds_needed_are_just_enough():
    """As many differences with the same mean and spread are clear, one fewer are not."""
    row = np.array([3, 1, 5, 4, 0.2, -1, 2, 4])
    for arms in (1, 3):
        needed = seeds_needed([*row, math.nan], arms)
        clear = []
        for n in (needed - 1, needed):
            noise = np.linspace(-1, 1, n)
            alike = row.mean() + noise / noise.std(ddof=1) * row.std(ddof=1)
            clear.append(compare_skewed([alike] * arms)[0].p <= 0.05)
        assert clear == [False, True]
    assert seeds_needed([0.01, 1, -1, 2, -2], 1) is None
    assert seeds_needed([0.0, 0.0, 0.0], 1) is None
    assert seeds_needed([0.3] * 3, 1) is None
    assert seeds_needed([1.0], 1) is None
    assert seeds_needed([math.nan], 1) is None


def test_many_more_seeds_where_no_number_is_known(monkeypatch, make_result):
    monkeypatch.setattr("droplab.verdict._caveats.seeds_needed", lambda *_, level: None)
    unclear = [x - d for x, d in zip(BASE[:6], (0.001, 0.12, 0.02, 0.2, 0.01, 0.1), strict=True)]
    verdict = judge(make_result({"none": BASE[:6], "a": unclear}))
    assert verdict.also.count("; many more seeds like these would settle it.") == 1
