"""Masks are what independent coins would give. Seeds are fixed, so these tests never flicker.

A score is standard normal if the masks are right; a limit of 5 is passed by chance once in 1.7
million scores. False-alarm rates below are for fresh seeds: scores a test times 5.7e-7.
"""

from __future__ import annotations

import math

import pytest
import torch

from droplab.ops import dropout, keep_mask, make_key, normal, uniform
from droplab.ops.layout import BLOCK, RUN
from droplab.probability import rounded

LIMIT = 5.0
N = 1 << 22


def agreement(a, b):
    """Return the score of how often two masks with p = 1/2 agree."""
    n = a.numel()
    return (int((a == b).sum()) - n / 2) / math.sqrt(n / 4)


@pytest.mark.parametrize("p", [2 / 65536, 0.01, 0.1, 0.3, 0.5, 0.7, 0.99, 1 - 2 / 65536])
def test_keep_rate(p):
    """False-alarm rate 6e-7; a rate wrong by 1/65536 at p = 2/65536 would score 23."""
    p = rounded(p)
    kept = int(keep_mask((N,), p, key=make_key(seed=11)).sum())
    assert abs(kept - N * (1 - p)) / math.sqrt(N * p * (1 - p)) < LIMIT


@pytest.mark.parametrize("lane", range(8))
def test_keep_rate_of_every_lane(lane):
    """False-alarm rate 2e-6 (three rates)."""
    for p in (0.1, 0.5, 0.9):
        p = rounded(p)
        mask = keep_mask((N,), p, key=make_key(seed=12)).view(-1, 8, RUN)[:, lane]
        n = mask.numel()
        assert abs(int(mask.sum()) - n * (1 - p)) / math.sqrt(n * p * (1 - p)) < LIMIT


@pytest.mark.parametrize("lag", [1, 2, 3, 7, 8, 16, 64, 100, 784, RUN, 2 * RUN, BLOCK, 5 * BLOCK])
def test_elements_are_independent(lag):
    """False-alarm rate 6e-7."""
    mask = keep_mask((N,), 0.5, key=make_key(seed=13))
    assert abs(agreement(mask[:-lag], mask[lag:])) < LIMIT


@pytest.mark.parametrize("step", [1, 2, 255, 2**31, 2**32, 2**46])
def test_calls_are_independent(step):
    """False-alarm rate 6e-7."""
    first = keep_mask((N,), 0.5, key=make_key(seed=14, call=0))
    assert abs(agreement(first, keep_mask((N,), 0.5, key=make_key(seed=14, call=step)))) < LIMIT


@pytest.mark.parametrize("bit", [0, 1, 31, 32, 33, 62])
def test_neighbouring_stream_keys_are_independent(bit):
    """Keys that differ in one bit, not hashed apart. False-alarm rate 6e-7."""
    key = make_key(seed=15)
    other = key.clone()
    other[0] ^= 1 << bit
    assert abs(agreement(keep_mask((N,), 0.5, key=key), keep_mask((N,), 0.5, key=other))) < LIMIT


def test_small_masks_of_many_calls_are_independent_of_the_place():
    """Each of 100 elements over 40 000 calls, and neighbours: false-alarm rate 1.1e-4."""
    keys = make_key(16, torch.arange(40_000))
    masks = keep_mask((100,), 0.5, key=keys).double() - 0.5
    rates = masks.sum(0) / math.sqrt(40_000 / 4)
    assert rates.abs().max() < LIMIT
    pairs = (masks[:, :-1] * masks[:, 1:]).sum(0) / math.sqrt(40_000 / 16)
    assert pairs.abs().max() < LIMIT


def test_runs_have_the_right_lengths():
    """Runs of dropped elements of length 1 to 10: chi-square, 9 degrees, limit for 1e-6."""
    mask = keep_mask((N,), 0.5, key=make_key(seed=17))
    edges = torch.nonzero(mask[1:] != mask[:-1]).flatten()
    lengths = edges.diff().clamp(max=10)
    count = torch.bincount(lengths, minlength=11)[1:].double()
    chance = torch.tensor([2.0**-k for k in range(1, 10)] + [2.0**-9], dtype=torch.float64)
    expected = chance * count.sum()
    assert float(((count - expected) ** 2 / expected).sum()) < 44.8


def test_layers_drawn_without_a_seed_are_independent():
    """Ten draws, all 45 pairs: false-alarm rate 2.6e-5."""
    torch.manual_seed(18)
    x = torch.ones(1 << 18)
    masks = [dropout(x, 0.5) != 0 for _ in range(10)]
    for i in range(10):
        for j in range(i):
            assert abs(agreement(masks[i], masks[j])) < LIMIT


@pytest.mark.parametrize("function", [uniform, normal])
def test_moments_of_the_numbers(function):
    """Four moments and the neighbours' correlation: false-alarm rate 3e-6."""
    x = function((N,), key=make_key(seed=19), dtype=torch.float64)
    if function is uniform:
        moments = [(1, 1 / 2), (2, 1 / 3), (3, 1 / 4), (4, 1 / 5)]
        variance = {k: 1 / (2 * k + 1) - 1 / (k + 1) ** 2 for k in range(1, 5)}
    else:
        moments = [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)]
        variance = {1: 1.0, 2: 2.0, 3: 15.0, 4: 96.0}
    for k, mean in moments:
        score = float((x**k).mean() - mean) / math.sqrt(variance[k] / N)
        assert abs(score) < LIMIT
    centred = (x - moments[0][1]) / math.sqrt(variance[1])
    assert abs(float((centred[1:] * centred[:-1]).sum()) / math.sqrt(N - 1)) < LIMIT


def test_distribution_of_the_numbers():
    """Chi-square over 256 bins, 255 degrees of freedom, limit for 1e-6."""
    key = make_key(seed=20)
    u = uniform((N,), key=key)
    z = normal((N,), key=key, dtype=torch.float64)
    through = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    for values in (u, through):
        count = torch.histc(values.double(), 256, 0.0, 1.0)
        assert float(((count - N / 256) ** 2 / (N / 256)).sum()) < 377
    assert (through - uniform((N,), key=key, dtype=torch.float64)).abs().max() < 1e-12
