"""Ways to write dropout by hand: each is found by what it does, and silenced."""

# ruff: noqa: NPY002 - what users draw from is what is looked at

from __future__ import annotations

import random
import warnings
from random import random as chance
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab.placement import disabled, rates, set_rate

P = 0.25
ROWS, WIDTH = 16, 32


class Way(nn.Module):
    """Something with one number that drops; called in training only, as all of them are."""

    name = "rate"
    kept = False

    def __init__(self):
        super().__init__()
        setattr(self, self.name, 1 - P if self.kept else P)

    def forward(self, x):
        value = getattr(self, self.name)
        if not self.training or value == (1.0 if self.kept else 0.0):
            return x
        return self.drop(x, value)


def way(name, kept, drop, of=Way, called="Way"):
    return type(called, (of,), {"name": name, "kept": kept, "drop": lambda self, *a: drop(*a)})


def rand(x, p):
    return x * (torch.rand_like(x) >= p) / (1 - p)


def above(x, p):
    return x * (torch.rand_like(x) > p) / (1 - p)


def rows(x, p):
    return x * (torch.rand(len(x), 1) >= p) / (1 - p)


def floored(x, keep):
    return x / keep * (keep + torch.rand(len(x), 1)).floor()


def bernoulli(x, p):
    return x * torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p)


def in_place(x, keep):
    return x * x.new_empty(len(x), 1).bernoulli_(keep).div_(keep)


def kept(x, keep):
    return x * torch.bernoulli(torch.full_like(x, keep)) / keep


def filled(x, p):
    return x.masked_fill(torch.empty_like(x).bernoulli_(p).bool(), 0.0)


def uniform(x, p):
    return torch.where(torch.empty_like(x).uniform_(0, 1) < p, 0.0, x / (1 - p))


def distribution(x, p):
    return x * torch.distributions.Bernoulli(probs=1 - p).sample(x.shape)


def gaussian(x, p):
    return x * (1 + torch.randn_like(x) * (p / (1 - p)) ** 0.5)


def by_numpy(x, p):
    return x * torch.from_numpy(np.random.binomial(1, 1 - p, size=x.shape)).to(x)


def by_python(x, p):
    return x * (random.random() > p)


def by_name(x, p):
    return x * (chance() >= p)


def places(x, p):
    keep = torch.randperm(x.shape[1])[: max(1, round(x.shape[1] * (1 - p)))]
    return torch.zeros_like(x).index_copy(1, keep, x[:, keep])


def whole(x, p):
    return torch.zeros_like(x) if torch.rand(()) < p else x


class Settings(nn.Module):
    """The rate is read from settings at each call, as speech models do."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(skip=P, width=WIDTH, eps=1e-5)

    def forward(self, x):
        return x * 2 if self.training and torch.rand([]) < self.config.skip else x


class Inside(nn.Module):
    """Its own draws are made in a forward that calls other layers, with dropout of their own."""

    def __init__(self):
        super().__init__()
        self.fc, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.5)
        self.edges = P

    def forward(self, x):
        return self.drop(self.fc(rand(x, self.edges))) if self.training else self.fc(x)


WAYS = {
    "rand_like": (way("rate", False, rand), "rate"),
    "rand, a name that says nothing": (way("q", False, rand), "q"),
    "rand above p": (way("rate", False, above), "rate"),
    "rows": (way("path_rate", False, rows), "path_rate"),
    "floor of keep + rand": (way("alive", True, floored), "alive"),
    "bernoulli": (way("strength", False, bernoulli), "strength"),
    "bernoulli_ of keep": (way("ratio", True, in_place), "ratio"),
    "keep_prob": (way("keep_prob", True, kept), "keep_prob"),
    "dropout_keep_prob": (way("dropout_keep_prob", True, kept), "dropout_keep_prob"),
    "a DropPath whose p is kept": (way("p", True, in_place, called="DropPath"), ""),
    "a StochasticDepth": (way("p", False, rows, called="StochasticDepth"), ""),
    "a PatchDropout": (way("prob", False, places, called="PatchDropout"), ""),
    "masked_fill": (way("noise", False, filled), "noise"),
    "uniform_": (way("amount", False, uniform), "amount"),
    "distribution": (way("x", False, distribution), "x"),
    "gaussian": (way("sigma", False, gaussian), "sigma"),
    "numpy": (way("np_rate", False, by_numpy), "np_rate"),
    "python": (way("skip", False, by_python), "skip"),
    "python, imported by name": (way("skip", False, by_name), "skip"),
    "randperm": (way("cut", False, places), "cut"),
    "all or nothing": (way("skip", False, whole), "skip"),
    "settings": (Settings, "config.skip"),
    "with layers inside": (Inside, "edges"),
}


def built(name):
    torch.manual_seed(0)
    random.seed(1)
    np.random.seed(0)
    model = nn.Sequential(nn.Linear(8, WIDTH), WAYS[name][0](), nn.Linear(WIDTH, 2))
    return model, torch.randn(ROWS, 8)


def is_silent(model, x):
    first = model(x)
    return all(torch.equal(model(x), first) for _ in range(20))


@pytest.mark.parametrize("name", WAYS)
def test_a_way_to_drop_is_found_with_its_rate_and_is_set_and_silenced(name):
    model, x = built(name)
    path = ".".join(filter(None, ("1", WAYS[name][1])))
    state = torch.get_rng_state()
    found = rates(model, x)
    assert torch.equal(state, torch.get_rng_state())
    assert found[path] == pytest.approx(P)
    assert {entry.name: entry.calls for entry in found.entries}[path] > 0
    assert not found.random
    assert not is_silent(model, x)
    expected = model.eval()(x)
    model.train()
    with disabled(model):
        assert torch.allclose(model(x), expected)
        assert is_silent(model, x)
    assert dict(rates(model)) == dict(found)
    set_rate(model, "*", 0.0)
    assert torch.allclose(model(x), expected)
    set_rate(model, path, P)
    assert not is_silent(model, x)


class Nameless(nn.Module):
    """Its rate stands in the code."""

    def forward(self, x):
        return rand(x, P) if self.training else x


class Awake(nn.Module):
    """It draws in eval mode as well."""

    def forward(self, x):
        return x + torch.randn_like(x)


def test_what_has_no_rate_is_listed_with_its_line_and_silenced_as_in_eval_mode():
    model, x = nn.Sequential(nn.Linear(8, 8), Nameless()), torch.ones(4, 8)
    found = rates(model, x)
    assert not found
    ((drawn, count),) = found.random
    assert (drawn.owner, drawn.function, count) == ("1", "torch.rand_like", 1)
    assert drawn.where.startswith("tests/unit/placement/test_ways.py:")
    assert "not a rate that droplab can set" in str(found)
    with disabled(model):
        assert is_silent(model, x)
        assert model[0].training
    assert model[1].training
    assert not is_silent(model, x)


@pytest.mark.parametrize("make", [Nameless, Awake])
def test_disabled_says_what_it_could_not_reach(make):
    model, x = nn.Sequential(nn.Linear(8, 8), make()), torch.ones(4, 8)
    said = r"still does: torch\.rand.*_like in '1' \(.*test_ways"
    with pytest.warns(UserWarning, match=said), disabled(model):
        model(x)
    with warnings.catch_warnings(record=True) as caught, disabled(model, x):
        warnings.simplefilter("always")
        model(x)
    assert bool(caught) == (make is Awake)


def test_a_change_of_mode_inside_disabled_stays():
    model, x = nn.Sequential(nn.Linear(8, 8), Nameless()), torch.ones(4, 8)
    with disabled(model, x):
        model.eval()
    assert not any(module.training for module in model.modules())


def test_a_draw_that_changes_nothing_is_not_listed():
    class Idle(nn.Module):
        def forward(self, x):
            return x * 2 if torch.rand([]) < 0.0 else x

    assert not rates(nn.Sequential(Idle()), torch.ones(3)).random


def test_a_keep_probability_that_a_function_turns_round_is_known():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.keep_prob = 0.75
            self.dropout_keep = 0.5

        def forward(self, x):
            x = F.dropout(x, 1 - self.keep_prob, self.training)
            return F.dropout(x, 1 - self.dropout_keep, self.training)

    model, x = Turned(), torch.ones(64)
    found = rates(model, x)
    assert found["dropout_keep"] == 0.5
    with disabled(model):
        assert torch.equal(model(x), x)
    set_rate(model, "*", 1.0)
    assert not model(x).any()
    assert model.dropout_keep == 0.0


class Owner(nn.Module):
    """It draws through a generator of its own."""

    def __init__(self, make):
        super().__init__()
        self.rng, self.rate = make(3), P

    def forward(self, x):
        chance = self.rng.uniform(0.0, 1.0)
        return x * (chance > self.rate) if self.training else x


class OwnerNoise(Owner):
    def forward(self, x):
        return x + self.rng.uniform(-1.0, 1.0)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (np.random.default_rng, "numpy.random.Generator.uniform"),
        (np.random.RandomState, "numpy.random.RandomState.uniform"),
        (random.Random, "random.Random.uniform"),
    ],
)
def test_draws_through_a_generator_that_the_model_owns_are_seen(make, name):
    noisy = nn.Sequential(nn.Linear(8, 8), OwnerNoise(make), nn.Linear(8, 8))
    generator = noisy[1].rng
    ((drawn, count),) = rates(noisy, torch.ones(4, 8)).random
    assert (drawn.owner, drawn.function, count) == ("1", name, 1)
    assert drawn.where.startswith("tests/unit/placement/test_ways.py:")
    assert noisy[1].rng is generator
    assert generator.uniform(0.0, 1.0) == make(3).uniform(0.0, 1.0), "it has moved"
    dropping = nn.Sequential(nn.Linear(8, 8), Owner(make))
    found = rates(dropping, torch.ones(4, 8))
    assert dict(found) == {"1.rate": P}
    assert not found.random


class Settings:
    """Many numbers that could be rates, of which a module reads two."""

    def __init__(self, looked_up):
        for name in ("skip_a", "skip_b", "mask_c", "noise_d", "prob_e"):
            setattr(self, name, 0.5)
        self.looked_up = looked_up


class Configured(nn.Module):
    def __init__(self, looked_up):
        super().__init__()
        self.config, self.runs = Settings(looked_up), []
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        self.runs.append(1)
        settings = self.config
        rate = vars(settings)["prob_e"] if settings.looked_up else settings.prob_e
        x = self.fc(x) * settings.mask_c  # without it nothing is left to tell dropout by
        return x * (torch.rand(4) >= rate) if self.training else x


@pytest.mark.parametrize("looked_up", [False, True])
def test_only_settings_that_are_read_are_tried_out(looked_up):
    model = Configured(looked_up)
    assert dict(rates(model, torch.ones(3, 4))) == {"config.prob_e": 0.5}
    assert "__getattribute__" not in vars(Settings)
    assert "__getattribute__" not in vars(Configured)
    # the trace, the call that is kept, two that differ, and a few for each number that is read
    assert (len(model.runs) < 22) == (not looked_up)


def test_disabled_names_a_draw_beside_a_rate_that_has_nothing_to_do_with_it():
    class Hashing(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = 0.0

        def forward(self, x):
            return F.dropout(x @ torch.randn(4, 4), self.dropout, self.training)

    model, x = Hashing(), torch.ones(3, 4)
    assert [drawn.function for drawn, _ in rates(model, x).random] == ["torch.randn"]
    with pytest.warns(UserWarning, match=r"torch\.randn in '\.'"), disabled(model, x):
        model(x)
