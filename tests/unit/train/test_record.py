"""A recorded function gives what the function gives, in memory of its own."""

from __future__ import annotations

import pytest
import torch

from droplab.ops import dropout, make_key
from droplab.train._record import record

SHORTER = {
    "a sum that loses its axes": lambda x: x.sum(0, keepdim=True).view(-1) * 2,
    "a sum that gets them back": lambda x: x.sum(0, keepdim=True).view(-1).view(1, -1) * x,
    "a sum that keeps them": lambda x: x.sum(0, keepdim=True) * x,
    "a sum that moves them": lambda x: x.sum((0, -1), keepdim=True).view(1) * 2,
    "a sum seen in two ways": lambda x: (lambda y: y.view(-1).sum() * y)(x.sum(0, keepdim=True)),
    "a one": lambda x: torch.ones_like(x.sum()) * x,
    "a one that is given back": lambda x: torch.ones_like(x.sum()),
    "a one that is changed": lambda x: torch.ones_like(x.sum()).add_(1) * x,
    "a one that is changed in a view": lambda x: (lambda one: (one.view(1).add_(1), one * x)[1])(
        torch.ones_like(x.sum())
    ),
}

LAST = {
    "itself": lambda y: y,
    "a view": lambda y: y.view(-1).unsqueeze(0),
    "changed in place": lambda y: y.mul_(2.0),
    "changed in place, then a view": lambda y: y.relu_().view(-1),
    "among others": lambda y: (y.sum(), y.t()),
}


@pytest.mark.parametrize("function", SHORTER.values(), ids=SHORTER)
def test_what_is_written_in_a_shorter_way_gives_the_same(function):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    replay = record(lambda _, x: function(x), {}, x)
    with torch.inference_mode():
        for factor in (1.0, -2.0, 3.0):
            found, expected = replay(factor * x), function(factor * x)
            assert found.shape == expected.shape
            assert torch.equal(found, expected)


def test_counters_count_wherever_they_lie():
    """One addition for those that lie side by side in order, one for each of the others."""
    whole = torch.zeros(4)
    cases = [
        list(whole.unbind()),
        list(whole.flip(0).unbind())[::-1],
        [torch.zeros(()) for _ in range(3)],
        [whole[0], whole[2]],
        [torch.zeros(()), torch.zeros((), dtype=torch.float64)],
    ]
    together = []
    for counters in cases:

        def function(held, x):
            torch._foreach_add_(held, 1)
            return x * 2

        replay = record(function, counters, torch.ones(3))
        before = [float(counter) for counter in counters]
        with torch.inference_mode():
            for _ in range(3):
                replay(torch.ones(3))
        assert [float(counter) for counter in counters] == [count + 3 for count in before]
        together.append("[" not in replay.source.split("def replay")[1].split("):", 1)[1])
    assert together == [True, False, False, False, False]


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
