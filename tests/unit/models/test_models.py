"""The built-in network, and the way to a user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError, RecipeError
from droplab.models import MLP, build
from droplab.recipe import ModelSpec, builtin_names, load

MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width, *, depth=1):
        super().__init__()
        self.width, self.depth = width, depth
        self.eval()

def make(**anything):
    return Net(len(anything))

def picky(width):
    raise ValueError("too wide")

def number():
    return 3

class Lightning(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 2)

    def training_step(self, batch, index): ...

    def configure_optimizers(self): ...

class Trainer:
    module_ = nn.Linear(4, 2)

class OneMethod(nn.Module):
    def training_step(self): ...

def lazy():
    return nn.Sequential(nn.LazyLinear(3))

finished = nn.Linear(2, 2)
constant = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "their_nets.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("their_nets", None)


def test_the_mlp_is_the_plain_network() -> None:
    """Against nn.Sequential with the same weights; so nothing, dropout least, is hidden in it."""
    torch.manual_seed(0)
    model = MLP(12, hidden=(7, 5), classes=3)
    linear = [module for _, module in model.named_children()]
    twin = nn.Sequential(nn.Flatten(), linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
    x = torch.randn(4, 3, 2, 2)
    assert torch.equal(model(x), twin(x))
    assert list(model.state_dict()) == [
        f"fc{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")
    ]
    assert {type(module) for module in model.modules()} == {MLP, nn.Linear}


def test_the_mlp_starts_as_torch_starts_its_layers() -> None:
    torch.manual_seed(5)
    model = MLP(12, hidden=(7,), classes=3)
    torch.manual_seed(5)
    twin = [nn.Linear(12, 7), nn.Linear(7, 3)]
    weights = [weight for layer in twin for weight in (layer.weight, layer.bias)]
    assert all(map(torch.equal, model.parameters(), weights))


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    assert [name for name, _ in MLP(4, hidden=(), classes=2).named_children()] == ["fc1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_features": 0}, "in_features: expected a whole number of at least 1, got 0"),
        ({"in_features": 4, "hidden": (8, 2.5)}, r"hidden\[1\]: expected a whole .* got 2.5"),
        ({"in_features": 4, "hidden": 8}, "hidden: expected a list of widths .* got 8"),
        ({"in_features": 4, "classes": True}, "classes: expected a whole number .* got True"),
    ],
)
def test_bad_widths(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}"):
        MLP(**arguments)
    with pytest.raises(RecipeError, match=rf"^model\.{message}"):
        build(ModelSpec("mlp", arguments))


@pytest.mark.parametrize("name", builtin_names())
def test_the_models_of_the_built_in_recipes(name: str) -> None:
    recipe = load(name)
    model = build(recipe.model)
    assert set(recipe.sites) <= {name for name, _ in model.named_children()}
    side = 8 if name == "digits" else 28
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 10)


def test_a_model_of_ones_own() -> None:
    model = build(ModelSpec("their_nets:Net", {"width": 4, "depth": 2}))
    assert (model.width, model.depth, model.training) == (4, 2, True)
    assert build(ModelSpec("their_nets:make", {"a": 1, "b": 2})).width == 2
    linear = build(ModelSpec("torch.nn:Linear", {"in_features": 2, "out_features": 3}))
    assert isinstance(linear, nn.Linear)
    assert build(ModelSpec("their_nets:OneMethod")).training  # nobody's training loop
    one, two = (build(ModelSpec("their_nets:Net", {"width": 4})) for _ in range(2))
    assert one is not two


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("mpl", {}, "model.path: no built-in model 'mpl'; did you mean 'mlp'.* import path"),
        ("mlp", {"hiden": [3]}, "model.hiden: mlp takes no such argument; did you mean 'hidden'"),
        ("mlp", {}, "model.in_features: mlp needs this argument"),
        ("their_nets:Nett", {}, "model.path: module 'their_nets' has no 'Nett'; .*'Net'"),
        ("their_net:Net", {}, "model.path: no module 'their_net' in the working directory"),
        ("their_nets:Net", {"widht": 3}, "model.widht: .*; did you mean 'width'"),
        ("their_nets:picky", {"width": 3}, "fails with ValueError: too wide; .* with width=3"),
        ("their_nets:number", {}, "their_nets:number: expected a torch.nn.Module, got int$"),
        ("their_nets:Trainer", {}, "torch.nn.Module, got Trainer; give the module .*, .module_$"),
        ("their_nets:lazy", {}, "'0.weight' has no shape yet, as a lazy layer"),
        (
            "their_nets:Lightning",
            {},
            "Lightning has training_step and configure_optimizers of its own, .* inside it, .net,",
        ),
        ("their_nets:constant", {}, "expected a class or function, got int"),
        ("their_nets:finished", {}, "is a finished module, which all arms and seeds would share"),
    ],
)
def test_what_goes_wrong_is_told(path: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(ModelSpec(path, arguments))


def test_two_wrong_arguments_are_told_together() -> None:
    with pytest.raises(RecipeError, match=r"(?s)model.hiden: .*\nmodel.in_features: "):
        build(ModelSpec("mlp", {"hiden": [3]}))
