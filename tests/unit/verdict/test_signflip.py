from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from droplab.errors import ArgumentError
from droplab.verdict import _signflip, compare, compare_skewed
from droplab.verdict._signflip import p_against, sign_vectors, smallest_p


def slow_p(table: np.ndarray, arm: int, effect: float) -> float:
    """The p of "the effect of `arm` is `effect`", by the definition, one sign vector at a time."""
    n = table.shape[1]

    def r(row, signs):
        there = ~np.isnan(row)
        row = np.where(there, row, 0)
        norm = math.sqrt(there.sum() * (row**2).sum())
        return abs(signs @ row) / norm if norm > 0 else 0.0

    worst = 0.0
    for centre in (False, True):
        rows = [row - np.nanmean(row) if centre else row for row in table]
        rows[arm] = table[arm] - effect
        observed = r(rows[arm], np.ones(n))
        flips = [np.array(signs) for signs in itertools.product([1.0, -1.0], repeat=n)]
        counts = [max(r(row, signs) for row in rows) >= observed - 1e-9 for signs in flips]
        worst = max(worst, float(np.mean(counts)))
    return worst


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(("arms", "n"), [(1, 6), (1, 8), (3, 7), (4, 8)])
def test_p_and_interval_follow_the_definition(arms, n, missing):
    rng = np.random.default_rng([arms, n])
    table = rng.normal(size=(arms, n)) + rng.normal(size=n) + np.linspace(0, 1.5, arms)[:, None]
    if missing:
        table[0, 0] = math.nan
    for arm, found in enumerate(compare(table)):
        assert found.mean == pytest.approx(np.nanmean(table[arm]))
        assert found.n == n - (missing and arm == 0)
        assert found.p == pytest.approx(slow_p(table, arm, 0.0), abs=1e-12)
        for end, out in ((found.low, -1), (found.high, 1)):
            if math.isfinite(end):
                step = 1e-6 * out
                assert slow_p(table, arm, end - step) > 0.05
                assert slow_p(table, arm, end + step) <= 0.05
            else:
                assert slow_p(table, arm, found.mean + out * 1e6) > 0.05


@pytest.mark.parametrize("test", [compare, compare_skewed])
@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    table=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0.0, 0.0025, -0.0025, 0.005, -0.01, 0.1, 1e6, math.nan]),
    )
)
def test_word_and_interval_never_disagree(test, table):
    """On coarse differences, full of ties, as accuracies on few examples are."""
    for found, exact in zip(test(table), compare(table), strict=True):
        assert found.low <= found.high
        assert (found.low > 0 or found.high < 0) == (found.p <= 0.05)
        assert smallest_p(found.n) <= found.p <= 1
        assert found.n == exact.n
        if found.n:
            assert found.low <= found.mean <= found.high
            assert found.mean == exact.mean
        assert exact.p <= found.p, "bolder than sign flips"
        assert found.low <= exact.low
        assert found.high >= exact.high


def test_one_arm_of_equal_size_is_the_textbook_test():
    """n equal-signed differences: only the two constant sign vectors are as extreme."""
    found = compare([[1.0, 2, 3, 4, 5, 6, 7, 8]])[0]
    assert found.p == 2 / 2**8
    # 12 of 256 sign vectors may count, the identity and its mirror among them: five subset means
    # may lie beyond each end.
    subsets = sorted(
        np.mean(subset)
        for size in range(1, 9)
        for subset in itertools.combinations(range(1, 9), size)
    )
    assert found.low == pytest.approx(subsets[5])
    assert found.high == pytest.approx(subsets[-6])


def test_more_arms_cost_power_and_never_add_any():
    rng = np.random.default_rng(5)
    first = rng.normal(0.8, 1.0, size=(1, 9))
    alone = compare(first)[0]
    among = compare(np.concatenate([first, rng.normal(size=(8, 9))]))[0]
    assert among.p >= alone.p
    assert among.low <= alone.low
    assert among.high >= alone.high


def test_scale_sign_and_order_do_not_matter():
    rng = np.random.default_rng(6)
    table = rng.normal(0.3, 1.0, size=(3, 8))
    before = compare(table)
    for found, other in zip(before, compare(-1000 * table), strict=True):
        assert other.p == found.p
        assert other.low == pytest.approx(-1000 * found.high)
    assert compare(table[::-1])[::-1] == before
    shuffled = compare(table[:, rng.permutation(8)])
    assert [s.p for s in shuffled] == [b.p for b in before]


@pytest.mark.parametrize("test", [compare, compare_skewed])
def test_degenerate_differences(test):
    same, zero, one, none = (
        test([[0.3 + 1e-17] * 8])[0],
        test([[0.0] * 8])[0],
        test([[0.4]])[0],
        test([[math.nan] * 3])[0],
    )
    assert (same.p, same.low, same.high) == (2 / 2**8, 0.3, 0.3)
    assert (zero.p, zero.low, zero.high) == (1.0, 0.0, 0.0)
    assert (one.p, one.low, one.high) == (1.0, -math.inf, math.inf)
    assert none.n == 0
    assert math.isnan(none.mean)
    assert none.p == 1.0
    assert test(np.zeros((0, 8))) == ()


def test_a_constant_arm_next_to_others_changes_nothing_for_them():
    rng = np.random.default_rng(7)
    table = rng.normal(0.5, 1.0, size=(1, 8))
    zero = compare(np.concatenate([table, np.zeros((1, 8))]))
    assert zero[0] == compare(table)[0]
    assert zero[1].p == 1.0


def test_five_seeds_can_never_say_anything():
    found = compare([[1.0, 1.1, 0.9, 1.0, 1.05]])[0]
    assert found.p == 0.0625
    assert found.low == -math.inf
    six = compare([[1.0, 1.1, 0.9, 1.0, 1.05, 0.95]])[0]
    assert six.p == 0.03125
    assert 0 < six.low <= six.high < math.inf


def test_beyond_sixteen_seeds_fixed_random_flips():
    """Random flips agree with the exact p within 5 standard errors, and repeat."""
    rng = np.random.default_rng(8)
    exact = np.zeros((2, 17))
    exact[:, :16] = rng.normal(0.35, 1.0, size=(2, 16))
    drawn = compare(exact)  # 17 columns: random; the 17th moves no sum, so p is that of 17 pairs
    padded = exact.copy()
    padded[:, 16] = math.nan
    for found, true in zip(compare(padded), compare(exact[:, :16]), strict=True):
        assert found == true, "a column of NaN is no pair"
    assert compare(exact) == drawn
    for i, found in enumerate(drawn):
        assert abs(found.p - compare(exact[:, :16])[i].p) < 5 * math.sqrt(0.25 / 100_000)


def test_a_wider_level_gives_a_wider_interval():
    rng = np.random.default_rng(9)
    table = rng.normal(size=(2, 10))
    for low, high in zip(compare(table, level=0.8), compare(table, level=0.99), strict=True):
        assert high.low < low.low < low.high < high.high


def test_bad_arguments():
    with pytest.raises(ArgumentError, match=r"expected shape \(arms, seeds\), got \(3,\)"):
        compare([1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match="infinite"):
        compare([[math.inf, 1.0]])
    with pytest.raises(ArgumentError, match="level must be between 0 and 1, got 95"):
        compare([[1.0]], level=95)


class _Counted(np.ndarray):
    """Sign vectors that count how often something is summed under all of them."""

    sums = 0

    def __matmul__(self, other):
        _Counted.sums += 1
        return np.asarray(self) @ other


@pytest.mark.parametrize("arms", [2, 8])
def test_each_arm_is_summed_four_times_however_many_there_are(monkeypatch, arms):
    """With 16 seeds there are 32 768 sign vectors, and the family of an arm is all others."""
    vectors = sign_vectors(16).view(_Counted)
    monkeypatch.setattr(_signflip, "sign_vectors", lambda n: vectors)
    monkeypatch.setattr(_Counted, "sums", 0)
    compare(np.random.default_rng(10).normal(size=(arms, 16)))
    assert _Counted.sums == 4 * arms


@pytest.mark.parametrize("n", [17, 64, 77])
def test_sums_under_random_signs_are_those_of_the_words_that_were_drawn(n):
    words = np.random.PCG64(0x64726F706C6162).random_raw(100_000 * -(-n // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8)).reshape(100_000, -1)[:, :n]
    row = np.random.default_rng(n).normal(size=n)
    found = sign_vectors(n) @ row
    assert len(found) == 100_001
    assert found[0] == pytest.approx(row.sum())
    np.testing.assert_allclose(found[1:], (1 - 2.0 * bits) @ row, rtol=0, atol=1e-12)
    counted = sign_vectors(n) @ np.ones(n)
    assert (counted == np.rint(counted)).all()


def test_thousands_of_pairs_take_little_memory():
    differences = np.random.default_rng(0).normal(size=(1, 2000))
    tracemalloc.start()
    try:
        compare(differences)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        sign_vectors.cache_clear()
    assert most < 150e6  # a float for each sign of 2000 pairs would be 1.6 GB


class Counted(np.ndarray):
    """Sign vectors that count the products with them."""

    times = 0

    def __matmul__(self, other):
        Counted.times += 1
        return np.asarray(self) @ other


def test_all_pairs_of_many_arms_are_compared_in_a_product_an_arm(monkeypatch):
    values = np.random.default_rng(5).normal(size=(60, 6))
    values[3, 2], values[7, :3], values[9] = math.nan, math.nan, values[10]
    signs, best = sign_vectors(6), 4
    rs = {}
    for i, j in itertools.combinations(range(60), 2):
        row = values[i] - values[j]
        if not np.isnan(row).any() and row.any():
            rs[i, j] = np.abs(signs @ row) / math.sqrt(6 * (row @ row))
    largest = np.max([*rs.values()], axis=0)
    wanted = [rs.get((min(i, best), max(i, best)), np.zeros(1))[0] for i in range(60)]
    monkeypatch.setattr(_signflip, "sign_vectors", lambda n: signs.view(Counted))
    found = p_against(values, best)
    assert found == [float(np.mean(largest >= r - 1e-9)) for r in wanted]
    assert found[3] == found[7] == 1
    assert Counted.times < 60
