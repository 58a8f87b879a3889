"""A model is called on several inputs as its forward takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from droplab.data import Split
from droplab.errors import ArgumentError
from droplab.train import evaluate
from droplab.train.calling import call, check_call, example_of
from droplab.train.model_check import check_model

A, B = torch.ones(4, 2), torch.full((4, 2), 3.0)


class Two(nn.Module):
    def forward(self, a: Any, b: Any, scale: float = 1.0) -> Any:
        return a * 10 + b * scale


class OnlyNames(nn.Module):
    def forward(self, *, a: Any, b: Any) -> Any:
        return a * 10 + b


class Whole(nn.Module):
    def forward(self, batch: Any) -> Any:
        a, b = batch if isinstance(batch, tuple) else (batch["a"], batch["b"])
        return a * 10 + b


class Open(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return Two()(*args, **kwargs)


class One(nn.Module):
    def forward(self, a: Any) -> Any:
        return a * 10 + 3


class Optional(nn.Module):
    def forward(self, batch: Any, verbose: bool = False) -> Any:
        return batch


class Sum(nn.Module):
    """A tuple goes on to the first layer of a Sequential as it is."""

    def forward(self, pair: Any) -> Any:
        return pair[0] * 10 + pair[1]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Two(), (A, B)),
        (Two(), {"b": B, "a": A}),
        (OnlyNames(), {"a": A, "b": B}),
        (Whole(), (A, B)),
        (Whole(), {"a": A, "b": B}),
        (Open(), (A, B)),
        (Open(), {"a": A, "b": B}),
        (One(), A),
        (One(), (A,)),
        (One(), {"a": A}),
        (nn.Sequential(Sum()), (A, B)),
    ],
)
def test_the_ways_to_call_a_model(model: nn.Module, inputs: Any) -> None:
    expected = torch.full((4, 2), 13.0)
    check_call(model, inputs)
    assert torch.equal(call(model, inputs), expected)
    example = example_of(model, inputs)
    found = model(**example) if isinstance(example, dict) else model(*example)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Two(), {"a": A, "bb": B}, r"^inputs: .* forward, got 'bb'; did you mean 'b'\?"),
        (Two(), {"a": A, "lengths": B}, "got 'lengths'; valid names are a, b, scale"),
        (Two(), {"a": A}, r"^inputs: expected 'b' too, .* got 'a'; give it with every example"),
        (Two(), (A,), "expected 'b' too, .* got 1 of them"),
        (Two(), (A, B, A, B), "at most 3 of them, since forward takes 'a', 'b', 'scale', got 4"),
        (OnlyNames(), (A, B), "at most 0 of them"),
        (Optional(), {"x": A, "y": B}, "got 'x'; valid names are batch, verbose"),
    ],
)
def test_what_a_model_does_not_take_is_told(model: nn.Module, inputs: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_call(model, inputs)
    with pytest.raises(ArgumentError, match=message):
        check_model(model, Split(inputs, torch.zeros(4).long()))


def test_a_model_that_fails_on_several_inputs_is_told_with_all_shapes() -> None:
    split = Split({"a": A, "b": torch.ones(4, 3)}, torch.zeros(4).long())
    with pytest.raises(ArgumentError, match=r"batch of \['a'\] \(2, 2\) torch.float32, \['b'\] "):
        check_model(Two(), split)
    masked = Split({"a": A, "b": torch.ones(4, 3, dtype=torch.bool)}, torch.zeros(4).long())
    with pytest.raises(ArgumentError, match="bool stays bool, as a mask is"):
        check_model(Two(), masked)


def test_a_model_is_scored_on_several_inputs() -> None:
    split = Split((A, B), torch.tensor([0, 1, 0, 0]))
    assert evaluate(Two(), split)["accuracy"] == 0.75
