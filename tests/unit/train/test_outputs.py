"""Which part of an output is taken, where that is certain; and outputs that are no logits."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict, namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from droplab.data import Split
from droplab.train.model_check import check_model
from droplab.train.outputs import Part, find_part, probabilities_note
from droplab.train.tasks import KINDS, CrossEntropy, Loss

Named = namedtuple("Named", "hidden logits")
Inception = namedtuple("Inception", "logits aux_logits")
Plain = namedtuple("Plain", "scores hidden")


class Output(OrderedDict[str, Tensor]):
    """A dictionary with attributes, as the outputs of transformers are."""


class Net(nn.Module):
    """Returns what a function makes of its logits, of hidden values and of others like logits."""

    def __init__(self, form: Any, outputs: int = 3, mode: str = "both") -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 8), nn.Linear(8, outputs)
        self.form, self.mode = form, mode

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x).relu()
        logits = self.last(hidden)
        now = "train" if self.training else "eval"
        return self.form(logits, hidden) if self.mode in ("both", now) else logits


def split(targets: Tensor, dtype: torch.dtype = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(len(targets), 4, generator=generator).to(dtype), targets)


CLASSES = torch.arange(12) % 3
TARGETS = {
    "classification": CLASSES,
    "binary": CLASSES % 2,
    "multilabel": torch.nn.functional.one_hot(CLASSES, 3).float(),
    "regression": CLASSES.float(),
}


def found(net: nn.Module, task: str = "classification", classes: int = 3) -> tuple[Any, str]:
    return find_part(net, split(TARGETS[task]), 4, classes, KINDS[task]())


@pytest.mark.parametrize(
    ("form", "part"),
    [
        (lambda y, h: {"h": h, "logits": y}, "['logits']"),
        (lambda y, h: Output(loss=y.sum(), logits=y, hidden_states=h), "['logits']"),
        (lambda y, h: Named(h, y), ".logits"),
        (lambda y, h: Inception(y, -y), ".logits"),
        (lambda y, h: SimpleNamespace(logits=y, hidden=h), ".logits"),
        (lambda y, h: (y, h), "[0]"),
        (lambda y, h: [y, -y], "[0]"),
        (lambda y, h: (y.sum(), y), "[1]"),
        (lambda y, h: (h, y), "[1]"),
        (lambda y, h: (y, (h, h)), "[0]"),
        (Plain, ".scores"),
        (lambda y, h: {"out": y}, "['out']"),
        (lambda y, h: {"out": y, "hidden": h}, "['out']"),
        (lambda y, h: {"logits": y, "other": -y}, "['logits']"),
    ],
)
@pytest.mark.parametrize("mode", ["both", "eval", "train"])
def test_the_part_that_is_certain_is_taken_and_named(form: Any, part: str, mode: str) -> None:
    net = Net(form, mode=mode)
    took, note = found(net)
    assert str(took) == part
    assert f": its {part} is taken for its outputs" in note
    assert (f" in {mode} mode: " in note) == (mode != "both")
    plain = Net(lambda y, h: y)
    plain.load_state_dict(net.state_dict())
    for kind in (net, copy.deepcopy(net)):
        kind.register_forward_hook(pickle.loads(pickle.dumps(took)))
        check_model(kind, split(CLASSES), classes=3)
        for now in (True, False):
            x = split(CLASSES).inputs
            assert torch.equal(kind.train(now)(x), plain.train(now)(x))


@pytest.mark.parametrize(
    "form",
    [
        lambda y, h: y,
        lambda y, h: {"a": y, "b": -y},
        lambda y, h: {"out": y, "other": y * 2, "hidden": h},
        lambda y, h: {"hidden": h},
        lambda y, h: (h, y.sum()),
        lambda y, h: (h, y, -y),
        lambda y, h: SimpleNamespace(out=y),
        lambda y, h: (y.argmax(1),),
        lambda y, h: {"logits": y[:, :2]},
        lambda y, h: None,
        lambda y, h: 1 / 0,
    ],
)
def test_what_is_not_certain_is_left_to_the_check(form: Any) -> None:
    assert found(Net(form)) == (None, "")


def test_another_part_in_each_mode_is_not_certain() -> None:
    class Both(Net):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return (y,) if self.training else {"out": y}

    assert found(Both(lambda y, h: y)) == (None, "")


def test_hidden_values_are_not_taken_for_classes_that_are_not_known() -> None:
    assert found(Net(lambda y, h: (h, y)), classes=0) == (None, "")
    assert str(found(Net(lambda y, h: (y.sum(), y)), classes=0)[0]) == "[1]"


@pytest.mark.parametrize(
    ("task", "outputs", "form", "part"),
    [
        ("binary", 1, lambda y, h: (y, h), "[0]"),
        ("multilabel", 3, lambda y, h: {"out": y, "h": h}, "['out']"),
        ("regression", 1, lambda y, h: (y, y.exp()), "[0]"),
        ("regression", 1, lambda y, h: {"mean": y, "variance": y.exp()}, "None"),
    ],
)
def test_parts_for_other_tasks(task: str, outputs: int, form: Any, part: str) -> None:
    assert str(found(Net(form, outputs), task, 0)[0]) == part


def test_looking_leaves_the_generator_as_it_was() -> None:
    net = Net(lambda y, h: (nn.functional.dropout(y), h))
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    found(net)
    assert torch.equal(torch.rand(2), expected)


def noted(net: nn.Module, task: str = "classification", loss: Any = None) -> str:
    return probabilities_note(net, split(TARGETS[task]), KINDS[task](loss))


def test_a_softmax_under_cross_entropy_is_noted() -> None:
    assert "ends in a softmax" in noted(Net(lambda y, h: y.softmax(1)))
    assert "ends in a softmax" in noted(nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)))
    smooth = CrossEntropy(0.1)
    assert "ends in a softmax" in noted(Net(lambda y, h: y.softmax(1)), loss=smooth)
    by_hand = Net(lambda y, h: y.exp() / y.exp().sum(1, keepdim=True))
    assert "ends in a softmax" in noted(by_hand)


def test_a_sigmoid_under_its_loss_is_noted() -> None:
    assert "ends in a sigmoid" in noted(Net(lambda y, h: y.sigmoid()))
    assert "ends in a sigmoid" in noted(Net(lambda y, h: y.sigmoid().squeeze(1), 1), "binary")
    assert "binary cross entropy takes logits" in noted(Net(lambda y, h: y.sigmoid()), "multilabel")


@pytest.mark.parametrize(
    ("form", "task"),
    [
        (lambda y, h: y, "classification"),
        (lambda y, h: y.log_softmax(1), "classification"),
        (lambda y, h: y.relu(), "classification"),
        (lambda y, h: y.abs() + 0.1, "classification"),
        (lambda y, h: y.softmax(0), "classification"),
        (lambda y, h: y.softmax(1) * 2, "classification"),
        (lambda y, h: y * y.sigmoid(), "classification"),
        (lambda y, h: y.softmax(1), "regression"),
        (lambda y, h: y, "multilabel"),
        (lambda y, h: h @ torch.ones(8, 3) / 100, "multilabel"),
    ],
)
def test_near_misses_are_not_noted(form: Any, task: str) -> None:
    assert noted(Net(form), task) == ""


def test_probabilities_under_a_loss_of_ones_own_are_not_noted() -> None:
    own = Loss(lambda p, y: nn.functional.nll_loss(p.log(), y, reduction="none"))
    assert noted(Net(lambda y, h: y.softmax(1)), loss=own) == ""


def test_part_keeps_a_tensor_as_it_is() -> None:
    assert Part(0)(nn.Identity(), (), torch.zeros(2, 3)) is None
