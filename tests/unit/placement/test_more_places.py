"""Layers that look like linear ones, weights without a layer, and layers that are skipped."""

# ruff: noqa: NPY002 - what users draw from is what is looked at

from __future__ import annotations

import random
import warnings
from random import random as chance

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from droplab.errors import PlacementError
from droplab.placement import plan, sites


class GraphLinear(nn.Module):
    """As torch_geometric writes its own."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels))

    def forward(self, x):
        return F.linear(x, self.weight)


class Adapted(nn.Module):
    """As adapters wrap a layer: it looks linear, and only passes its input on."""

    def __init__(self):
        super().__init__()
        self.in_features, self.out_features = 6, 6
        self.base = nn.Linear(6, 6)

    def forward(self, x):
        return self.base(x)


class AdaptedLinear(Adapted):
    pass


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Parameter(torch.randn(2, 6, 6))
        self.down = nn.Parameter(torch.randn(2, 6, 6))
        self.gate = nn.Linear(6, 2)

    def forward(self, x):
        x = sum(F.linear(x, self.up[i]) for i in range(2))
        x = torch.einsum("bi,eio->bo", x, self.down)
        return F.linear(x, self.gate.weight)


def of(model, x):
    return {site.name: site for site in sites(model, x)}


def test_what_looks_like_a_linear_layer_is_a_site_and_drops():
    model, x = nn.Sequential(nn.Linear(4, 6), GraphLinear(6, 6), AdaptedLinear()), torch.ones(3, 4)
    assert list(of(model, x)) == ["0", "1", "2.base"]
    assert [site.name for site in sites(model)] == ["0", "1", "2.base"]
    plan(model, {"1": 1.0}, example=x).apply()
    assert torch.equal(model(x), model[2].base.bias.expand(3, 6))


def test_a_quantised_layer_is_a_site():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), {nn.Linear}
        )
    x = torch.randn(3, 4)
    plan(model, {"2": 1.0}, example=x).apply()
    model.train()
    assert len(model(x).unique(dim=0)) == 1


def test_a_weight_without_a_layer_says_in_one_sentence_why_it_is_no_site():
    model, x = nn.Sequential(nn.Linear(4, 6), Experts()), torch.randn(3, 4)
    found = of(model, x)
    assert list(found) == ["0", "1", "1.gate", "1.down"]
    assert "a weight of einsum in '1', " in found["1.down"].refused
    assert "test_more_places.py:" in found["1.down"].refused
    assert "its weight is used directly, by linear in '1'" in found["1.gate"].refused
    assert plan(nn.Sequential(model, nn.Linear(2, 2)), 0.1, example=x).names == ("0.1", "1")
    with pytest.raises(PlacementError, match=r"cannot place dropout at '1\.down': no layer, but"):
        plan(model, {"1.down": 0.1}, example=x)


def test_attention_says_of_the_weights_that_it_multiplies_itself_that_they_are_none():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.attention = nn.Linear(4, 4), nn.MultiheadAttention(4, 2)

        def forward(self, x):
            x = self.fc(x)
            return self.attention(x, x, x)[0]

    found = of(Attending(), torch.randn(3, 2, 4))
    assert list(found) == ["fc", "attention.out_proj", "attention.in_proj_weight"]
    assert (
        "multi_head_attention_forward in 'attention'" in found["attention.in_proj_weight"].refused
    )


class Own(nn.Module):
    """A layer that is called nothing like one."""

    def __init__(self, does):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(6, 6))
        self.bias, self.does = nn.Parameter(torch.randn(6)), does

    def forward(self, x, other=None):
        return self.does(self, x, other)


ONLY_MULTIPLIES = {
    "a matrix, a bias and an activation": lambda m, x, _: torch.relu(x @ m.matrix + m.bias),
    "linear": lambda m, x, _: F.linear(x, m.matrix, m.bias),
    "einsum": lambda m, x, _: torch.einsum("bi,io->bo", x, m.matrix),
    "another shape": lambda m, x, _: (x.view(x.shape[0], 2, 3).flatten(1) @ m.matrix).view_as(x),
    "a cell": lambda m, x, _: x @ m.matrix + torch.zeros_like(x) @ m.matrix,
    "some rows": lambda m, x, _: m.bias.expand(x.size(0), 6).index_add(
        0, torch.tensor([0]), x[[0]] @ m.matrix
    ),
}
READS_IT_TOO = {
    "a residual sum": lambda m, x, _: x + x @ m.matrix,
    "a gate": lambda m, x, _: x.sigmoid() * (x @ m.matrix),
    "a value": lambda m, x, _: x @ m.matrix if x.sum() > 0 else m.bias.expand(len(x), 6),
    "its own input in a pair": lambda m, x, _: (x @ m.matrix, x.view(-1))[0] + x[:, :1],
    "two of one": lambda m, x, other: x @ m.matrix + x.mT @ x @ m.matrix if len(x) == 6 else x,
    "a norm": lambda m, x, _: F.layer_norm(x, (6,), m.bias) @ m.matrix,
}


def with_own(does):
    return nn.Sequential(nn.Linear(4, 6), Own(does), nn.Linear(6, 2)), torch.randn(3, 4)


@pytest.mark.parametrize("name", ONLY_MULTIPLIES)
def test_a_module_that_only_multiplies_its_input_by_weights_of_its_own_is_a_site(name):
    model, x = with_own(ONLY_MULTIPLIES[name])
    found = of(model, x)
    assert list(found) == ["0", "1", "2"]
    assert (found["1"].kind, found["1"].layer, found["1"].refused) == ("element", "Own", "")
    made = plan(model, 0.5, example=x)
    assert made.names == ("1", "2")
    hidden = model[0](x)
    seen = []
    with made.applied() as applied:
        model[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model(x)
        assert applied.fired == {"1": 1, "2": 1}
    assert all(v in (0.0, *(2 * hidden).flatten().tolist()) for v in seen[0].flatten().tolist())
    assert (seen[0] == 0).any()
    assert plan(model, {"1": 0.5}).names == ("1",)  # named, it needs no example


@pytest.mark.parametrize("name", READS_IT_TOO)
def test_a_module_that_reads_its_input_elsewhere_is_no_site(name):
    model, x = with_own(READS_IT_TOO[name])
    assert "1" not in of(model, x)


class Half(nn.Module):
    def forward(self, w):
        return w / 2


@pytest.mark.parametrize(("does", "name"), [("linear", "1"), ("a residual sum", "1.matrix")])
def test_a_parametrised_matrix_is_told_like_any_other(does, name):
    model, x = with_own((ONLY_MULTIPLIES | READS_IT_TOO)[does])
    parametrize.register_parametrization(model[1], "matrix", Half())
    assert set(of(model, x)) == {"0", "2", name}


def test_a_module_whose_input_is_also_what_another_argument_is_is_no_site():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 6)
            self.own = Own(lambda m, x, other: x @ m.matrix + other @ m.matrix)

        def forward(self, x):
            x = self.fc(x)
            return self.own(x, x)

    assert list(of(Twice(), torch.randn(3, 4))) == ["fc", "own.matrix"]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 50), nn.Linear(4, 60)
        self.both = nn.Bilinear(50, 60, 2)

    def forward(self, x):
        return self.both(self.a(x), input2=self.b(x))


def test_both_inputs_of_a_bilinear_layer_are_dropped_each_with_its_own_mask():
    torch.manual_seed(0)
    model, x = Two(), torch.randn(3, 4)
    assert [site.name for site in sites(model)] == ["a", "b", "both"]
    made = plan(model, 0.5, example=x)
    assert made.names == ("both",)
    got = {}
    with made.applied() as applied:
        applied.seed({"both": 7})
        model.both.register_forward_pre_hook(
            lambda _, args, kwargs: got.update(one=args[0], two=kwargs["input2"]), with_kwargs=True
        )
        model(x).sum().backward()
        applied.check_fired()
    one, two = (got["one"] == 0), (got["two"] == 0)
    assert 0.3 < one.double().mean() < 0.7
    assert 0.3 < two.double().mean() < 0.7
    assert not torch.equal(one, two[:, :50])
    kept = (2 * model.a(x) == got["one"]) | one
    assert kept.all()


def test_a_model_of_two_inputs_whose_one_is_raw_leaves_the_bilinear_layer_out():
    class Half(Two):
        def forward(self, x):
            return self.both(self.a(x), x.repeat(1, 15))

    assert of(Half(), torch.randn(3, 4))["both"].left_out == "the model's own input"


def test_a_layer_whose_input_is_of_integers_says_why_it_is_none():
    class Counting(nn.Linear):
        def forward(self, x):
            return super().forward(x.float())

    whole = of(Counting(3, 2), torch.ones(2, 3, dtype=torch.long))["."]
    assert "torch.int64" in whole.refused


def by_torch(rate):
    return torch.rand([]) < rate


def by_python(rate):
    return random.random() < rate


def by_name(rate):
    return chance() < rate


def by_numpy(rate):
    return np.random.uniform() < rate


def by_integers(rate):
    return torch.randint(100, ()) < 100 * rate  # which is not answered with extremes


class Skipping(nn.Module):
    """Layers that are left out at random, as speech models do."""

    def __init__(self, draws, rate):
        super().__init__()
        self.draws, self.rate = draws, rate
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for layer in self.layers:
            if not (self.training and self.draws(self.rate)):
                x = layer(x)
        return self.head(x)


@pytest.mark.parametrize("draws", [by_torch, by_integers, by_python, by_name, by_numpy])
@pytest.mark.parametrize("rate", [0.4, 0.99])
def test_sites_do_not_depend_on_the_state_of_a_generator(draws, rate):
    model, x = Skipping(draws, rate), torch.randn(2, 4)
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        found.append(sites(model, x))
        assert torch.equal(states[0], torch.get_rng_state())
        assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(each == found[0] for each in found)
    assert not any(site.refused for site in found[0])
    skipped = [site.name for site in found[0] if site.sometimes]
    assert skipped
    assert "head" not in skipped
    if draws is by_torch:
        assert skipped == [f"layers.{i}" for i in range(8)]
    assert "skipped at random" in str(found[0])
    made = plan(model, 0.1, example=x)
    assert made.names == (*(f"layers.{i}" for i in range(1, 8)), "head")
    reason = {edit.name: edit.reason for edit in made.edits}[skipped[-1]]
    assert "the model skips the layer at random" in reason


def test_a_loop_that_waits_for_another_number_ends():
    class Waiting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            while torch.rand([]) < 0.5:
                pass
            while torch.rand([]) > 0.5:
                pass
            return self.fc(x)

    assert [site.name for site in sites(Waiting(), torch.ones(2, 4))] == ["fc"]
