"""Dropout whose arguments are looked up once, as a recorded training step uses it."""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.ops import dropout, make_key
from droplab.ops.dispatch import bind_dropout

REST = (0.0, None, None, False)


def rate_of(p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=torch.float64)


@pytest.mark.parametrize("rows", [10, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_it_is_dropout(dtype, rows):
    x = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    key, rate = make_key(seed=3), rate_of(0.4)
    bound = bind_dropout(x, key, rate, *REST)
    assert bound is not None
    assert torch.equal(bound(x), dropout(x, 0.4, key=key, backend="reference"))


def test_key_and_rate_are_read_at_every_call():
    x, key, rate = torch.ones(640), make_key(seed=3), rate_of(0.4)
    bound = bind_dropout(x, key, rate, *REST)
    assert bound is not None
    for call, p in ((5, 0.2), (6, 0.7), (0, 0.0), (9, 1.0)):
        key.copy_(make_key(seed=3, call=call))
        rate.fill_(p)
        assert torch.equal(bound(x), dropout(x, rate, key=key, backend="reference"))


def test_it_keeps_the_memory_that_it_reads():
    x = torch.ones(640)
    bound = bind_dropout(x, make_key(seed=3), rate_of(0.4), *REST)
    assert bound is not None
    clutter = [torch.full((2,), 7) for _ in range(100)]
    assert torch.equal(bound(x), dropout(x, 0.4, key=make_key(seed=3)))
    assert len(clutter) == 100


def test_rows_have_keys_and_rates_of_their_own():
    x = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    keys = torch.stack([make_key(seed=seed) for seed in range(3)])
    rates = torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64)
    bound = bind_dropout(x, keys, rates, 0.0, None, None, True)
    assert bound is not None
    assert torch.equal(bound(x), dropout(x, rates, key=keys, backend="reference"))


def test_keys_and_rates_may_lie_apart():
    x = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    keys = make_key(seed=1).expand(3, 2)
    rates = torch.tensor([[0.1, 9.0], [0.3, 9.0], [0.8, 9.0]], dtype=torch.float64)[:, 0]
    bound = bind_dropout(x, keys, rates, 0.0, None, None, True)
    assert bound is not None
    assert torch.equal(bound(x), dropout(x, rates, key=keys, backend="reference"))


def test_a_rate_that_is_none_is_refused_when_it_is_met():
    x, rate = torch.ones(640), rate_of(0.4)
    bound = bind_dropout(x, make_key(seed=3), rate, *REST)
    assert bound is not None
    rate.fill_(1.5)
    with pytest.raises(ArgumentError, match=r"p: expected .* \[0, 1\]"):
        bound(x)


@pytest.mark.parametrize(
    "change",
    [
        {"x": torch.ones(1 << 21)},
        {"x": torch.ones(64, 10).t()},
        {"rate": torch.tensor(0.4)},
        {"backend": "reference"},
        {"noise_shape": (1, 64)},
        {"key": torch.ones(2, 2, dtype=torch.int64)[:, 0]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_needs_a_closer_look_is_left_to_dropout(change):
    arguments = {
        "x": torch.ones(10, 64),
        "key": make_key(seed=3),
        "rate": rate_of(0.4),
        "p": 0.0,
        "noise_shape": None,
        "backend": None,
        "batched": False,
    }
    assert bind_dropout(**arguments) is not None
    assert bind_dropout(**(arguments | change)) is None
