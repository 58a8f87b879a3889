"""A recorded function gives what the function gives, in memory of its own."""

from __future__ import annotations

import pytest
import torch

from droplab.ops import dropout, make_key
from droplab.train._record import record

LAST = {
    "itself": lambda y: y,
    "a view": lambda y: y.view(-1).unsqueeze(0),
    "changed in place": lambda y: y.mul_(2.0),
    "changed in place, then a view": lambda y: y.relu_().view(-1),
    "among others": lambda y: (y.sum(), y.t()),
}


@pytest.mark.parametrize("last", LAST.values(), ids=LAST)
def test_a_result_that_dropout_made_is_not_overwritten_by_the_next_call(last):
    subject = {
        "key": make_key(seed=1),
        "rate": torch.tensor(0.5, dtype=torch.float64),
    }

    def function(held, x):
        return last(dropout(x, held["rate"], key=held["key"]))

    x = torch.ones(4, 8)
    replay = record(function, subject, x)
    with torch.inference_mode():
        first = replay(x)
        before = [t.clone() for t in first] if isinstance(first, tuple) else [first.clone()]
        subject["key"].add_(1)
        second = replay(x)
        after = first if isinstance(first, tuple) else (first,)
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        expected = function(subject, x)
    pairs = (
        zip(second, expected, strict=True) if isinstance(second, tuple) else [(second, expected)]
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_small_dropout_inside_is_called_with_its_arguments_looked_up():
    subject = {"key": make_key(seed=1), "rate": torch.tensor(0.5, dtype=torch.float64)}

    def function(held, x):
        return dropout(x, held["rate"], key=held["key"]) @ x.t()

    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    replay = record(function, subject, x)
    assert "None, None, False)" not in replay.source
    with torch.inference_mode():
        for call in range(3):
            subject["key"][1] = call
            assert torch.equal(replay(x), function(subject, x))
