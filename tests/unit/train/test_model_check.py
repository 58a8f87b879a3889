"""What a model has to take and to return, told in one sentence before anything is trained."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from droplab.data import Split
from droplab.errors import ArgumentError
from droplab.train.model_check import check_model, check_training

Named = namedtuple("Named", "hidden logits")  # as torchvision makes them


class Output(OrderedDict[str, Tensor]):
    """A dictionary with attributes, as the outputs of transformers are."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


class Net(nn.Module):
    """Returns what a function makes of its logits and hidden values."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any], *, train_only: bool = False) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
        self.form, self.train_only = form, train_only

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x)
        logits = self.last(hidden)
        return logits if self.train_only and not self.training else self.form(logits, hidden)


def split(count: int = 9, shape: tuple[int, ...] = (4,), dtype: torch.dtype = torch.float32) -> Any:
    return Split(torch.zeros(count, *shape, dtype=dtype), torch.arange(count) % 3)


def check_both(model: nn.Module) -> None:
    check_model(model, split(), classes=3)
    check_training(model, split(), 3, classes=3)


FORMS = [
    (lambda y, h: (y, h), r"tuple with \[0\] \(2, 3\), \[1\] .* returns self.inner\(x\)\[0\]$"),
    (lambda y, h: [y], r"list with .* self.inner\(x\)\[0\]$"),
    (lambda y, h: {"h": h, "logits": y}, r"dict with .* self.inner\(x\)\['logits'\]$"),
    (lambda y, h: Output(h=h, logits=y), r"Output with .* self.inner\(x\)\['logits'\]$"),
    (Named, r"Named with .* self.inner\(x\).logits$"),
    (lambda y, h: SimpleNamespace(out=y), r"SimpleNamespace with .* self.inner\(x\).out$"),
    (lambda y, h: (y[:, :2], h[0]), "tuple in .* mode; let forward return the logits alone"),
    (lambda y, h: None, "NoneType in .* mode; let forward return the logits alone"),
]


@pytest.mark.parametrize("train_only", [False, True])
@pytest.mark.parametrize(("form", "message"), FORMS)
def test_the_field_that_holds_the_logits_is_named(
    form: Any, message: str, train_only: bool
) -> None:
    model = Net(form, train_only=train_only)
    mode = "train" if train_only else "eval"
    with pytest.raises(ArgumentError, match=rf"model: expected logits .* got {message}") as caught:
        check_both(model)
    assert f"in {mode} mode" in str(caught.value)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda y, h: y[:, None], r"got \(2, 1, 3\)"),
        (lambda y, h: y.argmax(1), r"got \(2,\) of torch.int64"),
        (lambda y, h: y.sum(0, keepdim=True), r"got \(1, 3\)"),
        (lambda y, h: y[:, :2], "has 3 classes, and the model returns 2 logits"),
        (lambda y, h: {}["x"], r"cannot take a batch of shape \(2, 4\) .* KeyError: 'x'"),
        (lambda y, h: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_outputs_that_are_no_logits(form: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        check_model(Net(form), split(), classes=3)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.mark.parametrize("count", range(2, 30))
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 28])
def test_a_last_batch_of_one_is_told_exactly_where_training_would_fail(
    count: int, batch_size: int
) -> None:
    if batch_size > count:
        return
    model = normed().train()
    try:
        for size in {batch_size, count % batch_size or batch_size}:
            model(torch.zeros(size, 4))
        fails = False
    except ValueError:
        fails = True
    if not fails:
        check_training(normed(), split(count), batch_size)
        return
    with pytest.raises(ArgumentError, match=r"^batch_size: .*BatchNorm.*") as caught:
        check_training(normed(), split(count), batch_size)
    if batch_size > 1:
        size = int(str(caught.value).split("batch size (")[1].split(")")[0])
        assert 2 <= size <= count
        assert count % size != 1
        check_training(normed(), split(count), size)


def test_a_batch_norm_that_can_do_with_one_example_is_let_through() -> None:
    model = nn.Sequential(nn.Conv1d(4, 8, 1), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(40, 3))
    check_training(model, split(9, (4, 5)), 4)


def test_images_that_lie_the_wrong_way_are_told_how_to_be_turned() -> None:
    def net(channels: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    with pytest.raises(ArgumentError, match=r"channels in the last axis.* permute\(0, 3, 1, 2\)"):
        check_model(net(3), split(shape=(8, 8, 3)))
    with pytest.raises(ArgumentError, match=r"need a channel axis.*images\[:, None\]"):
        check_model(net(1), split(shape=(8, 8)))
    with pytest.raises(ArgumentError, match=r"token numbers .* as floats"):
        check_model(normed(), split(dtype=torch.int64))


def test_checking_draws_nothing_and_leaves_eval_flags() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 3))
    model[1].eval()
    state = torch.get_rng_state()
    check_model(model, split())
    assert [module.training for module in model] == [True, False, True]
    check_training(model, split(), 2)
    assert torch.equal(torch.get_rng_state(), state)
