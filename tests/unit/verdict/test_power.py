"""What seeds can see: the stored table against the test itself, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from droplab.errors import ArgumentError
from droplab.verdict import compare
from droplab.verdict._folds import compare_folds, critical
from droplab.verdict._power import seeds_to_see, smallest_effect, spread_bound
from tools import power

EXPERIMENTS = 600
THREE_ERRORS = 3 * math.sqrt(0.8 * 0.2 / EXPERIMENTS)


def share_found(tests: int, seeds: int, effect: float, level: float) -> float:
    """How often the first of several arms is found, where it alone has an effect."""
    rng = np.random.default_rng([tests, seeds, 1])
    found = 0
    for _ in range(EXPERIMENTS):
        noise = rng.normal(size=(tests + 1, seeds)) / math.sqrt(2)
        rows = noise[1:] - noise[0]
        rows[0] += effect
        found += compare(rows, level=level)[0].low > 0
    return found / EXPERIMENTS


@pytest.mark.parametrize(
    ("tests", "seeds", "level"),
    [(1, 6, 0.95), (1, 8, 0.95), (4, 8, 0.95), (6, 7, 0.95), (3, 11, 0.95), (4, 8, 0.975)],
)
def test_the_effect_is_found_in_80_percent_of_experiments(tests, seeds, level):
    """Also between the numbers of the table; a false alarm in 400, of fixed samples."""
    effect = smallest_effect(tests, seeds, level=level)
    assert share_found(tests, seeds, effect, level) == pytest.approx(0.8, abs=THREE_ERRORS)


def test_many_seeds_see_what_the_normal_law_says():
    wanted = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    for seeds in (40, 400):
        found = smallest_effect(1, seeds) * math.sqrt(seeds)
        exact = wanted if seeds == 400 else _by_t(40)
        assert found == pytest.approx(exact, rel=0.02)


def _by_t(seeds: int) -> float:
    """The same of Student's t, times the root of the seeds."""
    limit = stats.t.ppf(0.975, seeds - 1)
    steps = np.linspace(1, 6, 5001)
    found = stats.nct.sf(limit, seeds - 1, steps)
    return float(steps[np.searchsorted(found, 0.8)])


def test_more_arms_hide_and_more_seeds_show():
    for seeds in (6, 8, 20):
        effects = [smallest_effect(tests, seeds) for tests in (1, 3, 9, 40, 200)]
        assert effects == sorted(effects)
    effects = [smallest_effect(4, seeds) for seeds in range(6, 60)]
    assert effects == sorted(effects, reverse=True)
    assert all(smallest_effect(2, n, level=0.975) > smallest_effect(2, n) for n in range(7, 40))


def test_too_few_seeds_see_nothing():
    assert smallest_effect(1, 5) == smallest_effect(1, 6, level=0.975) == math.inf
    assert smallest_effect(1, 4, folds=4) == math.inf


@pytest.mark.parametrize(("folds", "pairs", "tests"), [(5, 5, 2), (10, 10, 4), (10, 30, 1)])
def test_over_folds_it_is_the_noncentral_t(folds, pairs, tests):
    wide = math.sqrt(1 / pairs + 1 / (folds - 1))
    found = smallest_effect(tests, pairs, folds=folds) / wide
    share = stats.nct.sf(critical(pairs - 1, tests, 0.95), pairs - 1, found)
    assert share == pytest.approx(0.8, abs=2e-3)


def test_over_folds_it_is_found_in_80_percent_of_experiments():
    """Differences of folds that share what makes their mean vary as `compare_folds` takes it."""
    folds, rng = 10, np.random.default_rng(3)
    effect, shared = smallest_effect(1, folds, folds=folds), 1 / math.sqrt(folds - 1)
    found = 0
    for _ in range(EXPERIMENTS):
        row = rng.normal(size=folds) + shared * rng.normal() + effect
        found += compare_folds([row], folds)[0].low > 0
    assert found / EXPERIMENTS == pytest.approx(0.8, abs=THREE_ERRORS)


def test_the_bound_of_a_spread_is_that_of_chi_square():
    for pairs in (2, 3, 8, 30, 200, 5000):
        exact = math.sqrt((pairs - 1) / stats.chi2.ppf(0.2, pairs - 1))
        assert spread_bound(2.0, pairs) == pytest.approx(2 * exact, rel=1e-6)


def test_how_many_seeds_see_an_effect():
    for effect in (0.4, 1.0, 1.7):
        needed = seeds_to_see(effect, 4)
        assert smallest_effect(4, needed) <= effect < smallest_effect(4, needed - 1)
    assert seeds_to_see(0.01, 4) is None
    assert seeds_to_see(100, 4) == 6
    assert seeds_to_see(100, 4, level=0.975) == 7


def test_the_table_is_what_its_command_makes():
    for tests, seeds, level in ((8, 6, 0.95), (16, 7, 0.975)):
        stored = smallest_effect(tests, seeds, level=level) * math.sqrt(seeds)
        assert power.effect(tests, seeds, level) == pytest.approx(stored, abs=0.006)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: smallest_effect(0, 8), "at least one test and one pair"),
        (lambda: smallest_effect(1, 8, level=0.9), "expected a level of"),
        (lambda: spread_bound(1.0, 1), "at least 2 pairs, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
