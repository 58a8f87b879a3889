"""Residual branches: which are found in a model that runs, and what dropping one does."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab.errors import PlacementError
from droplab.ops import drop_path
from droplab.placement import Ramp, branches, clear, load_plan, plan, rates, set_rate, sites
from droplab.uncertainty import sample


class Basic(nn.Module):
    """A block of a ResNet: the sum is in place, the shortcut may have weights."""

    def __init__(self, before, after):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = None
        if before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1), nn.BatchNorm2d(after))

    def forward(self, x):
        identity = x if self.shortcut is None else self.shortcut(x)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += identity
        return F.relu(out)


class Attention(nn.Module):
    """A block of a transformer, whose attention returns its weights, too."""

    def __init__(self, parallel=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.gamma = nn.Parameter(torch.ones(8))
        self.parallel = parallel

    def forward(self, x):
        normal = self.norm1(x)
        mixed = self.attn(normal, normal, normal)[0]
        if self.parallel:
            return self.mlp(normal) + mixed + x
        x = x + mixed
        return x + self.gamma * self.mlp(self.norm2(x))


Mixed = namedtuple("Mixed", "hidden weights")


class Called(nn.Module):
    """Runs a function of its layers, which is what a test is about."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def names(model, example):
    return [site.name for site in branches(model, example) if not site.refused]


def linear():
    return nn.Linear(4, 4)


IMAGES, SEQUENCES, ROWS = (
    torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    for shape in ((3, 4, 5, 5), (3, 7, 8), (3, 4))
)


@pytest.mark.parametrize(
    ("model", "example", "expected"),
    [
        (nn.Sequential(Basic(4, 4), Basic(4, 6)), IMAGES, ["path/0.bn2", "path/1.bn2"]),
        (
            nn.Sequential(Attention(), Attention(parallel=True)),
            SEQUENCES,
            ["path/0.attn", "path/0.mlp", "path/1.mlp", "path/1.attn"],
        ),
        (
            nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True),
            SEQUENCES,
            ["path/dropout1", "path/dropout2"],
        ),
        (Called(lambda m, x: x.add(m.f(x).view(3, 4)), f=linear()), ROWS, ["path/f"]),
        (Called(lambda m, x: torch.add(2.0 * m.f(x), x), f=linear()), ROWS, ["path/f"]),
        (Called(lambda m, x: (y := m.f(x)) + m.f(m.f(y)), f=linear()), ROWS, []),  # not every call
        (Called(lambda m, x: x + torch.sigmoid(m.f(x)), f=linear()), ROWS, []),  # not linear
        (Called(lambda m, x: x + m.g(y := m.f(x)) + y, f=linear(), g=linear()), ROWS, ["path/g"]),
        (Called(lambda m, x: (y := m.f(x)) * (x + y), f=linear()), ROWS, []),  # read elsewhere
        (Called(lambda m, x: m.f(x) + m.g(x), f=linear(), g=linear()), ROWS, []),  # no shortcut
        (Called(lambda m, x: x * m.f(x), f=linear()), ROWS, []),  # a gate
        (Called(lambda m, x: m.f(x) + m.e.weight[:3], f=linear(), e=linear()), ROWS, []),
        (Called(lambda m, x: x + F.relu(x), f=linear()), ROWS, []),  # no weights in it
        (Called(lambda m, x: x + m.f(x.T).T, f=nn.Linear(3, 3)), ROWS, []),  # samples come last
        (Called(lambda m, x: x + m.f(x.T.contiguous()).T, f=nn.Linear(3, 3)), ROWS, []),
    ],
)
def test_what_is_a_residual_branch(model, example, expected):
    assert names(model, example) == expected


def test_a_square_output_whose_samples_come_last_is_refused():
    """Its first axis has the length of the batch in this example, and not in another one."""
    model = Called(lambda m, x: x + m.f(x.T).T, f=nn.Linear(4, 4))
    (found,) = branches(nn.Sequential(nn.Linear(4, 4), model), torch.randn(4, 4))
    assert "first axis" in found.refused


def test_a_layer_whose_output_goes_elsewhere_says_why():
    model = Called(lambda m, x: (y := m.f(x)) * (x + y), f=linear())
    (found,) = branches(model, ROWS)
    assert found.refused == "its output goes elsewhere, too"
    with pytest.raises(PlacementError, match="'f': its output goes elsewhere, too"):
        plan(model, {"f": 0.5}, "path", ROWS)


def test_a_wrong_name_is_answered_with_each_branch_once():
    with pytest.raises(PlacementError, match=r"'g' matches no site; valid names are fs\.0, fs\.1$"):
        plan(Blocks(2), {"g": 0.5}, "path", ROWS)
    with pytest.raises(PlacementError, match=r"did you mean 'path/fs\.1'"):
        plan(Blocks(2), {"path/fs.11": 0.5}, "path", ROWS)


class Blocks(nn.Module):
    def __init__(self, depth=4):
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.fs = nn.ModuleList(nn.Linear(6, 6) for _ in range(depth))

    def forward(self, x):
        x = self.stem(x)
        for f in self.fs:
            x = x + F.dropout(f(x), 0.0, self.training)
        return x


def test_whole_samples_of_the_branch_are_dropped_and_the_others_scaled():
    torch.manual_seed(0)
    model, x = Blocks(1), torch.randn(200, 4)
    skip = model.stem(x)
    branch = model.fs[0](skip)
    with plan(model, {"*": 0.25}, "path", x[:3]).applied() as applied:
        assert applied.names == ("path/fs.0",)
        applied.seed({"path/fs.0": 7})
        share = (model(x) - skip) / branch
        assert torch.equal(model.eval()(x), skip + branch)
    each = share.mean(1)
    assert torch.allclose(share, each[:, None].expand_as(share), atol=1e-3)
    assert set((3 * each).round().tolist()) == {0.0, 4.0}
    # 50 are expected; more than 25 from it have a probability below 1e-4
    assert 25 < int((each < 0.1).sum()) < 75


def test_it_equals_the_layer_that_drops_paths_at_the_same_key():
    torch.manual_seed(0)
    model, x = Blocks(1), torch.randn(9, 4)
    made = plan(model, 0.5, "path", x)
    with made.applied() as applied:
        applied.seed({"path/fs.0": 11})
        out = model(x)
    skip = model.stem(x)
    key = torch.tensor([11, 0])
    assert torch.equal(out, skip + drop_path(model.fs[0](skip), 0.5, key=key))


def test_a_branch_that_a_named_tuple_returns_is_dropped():
    class Mixing(nn.Linear):
        def forward(self, x):
            return Mixed(super().forward(x), None)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = Mixing(8, 8)

        def forward(self, x):
            return x + self.mix(x).hidden

    model, x = nn.Sequential(nn.Linear(8, 8), Block()), torch.randn(4, 8)
    with plan(model, 1.0, "path", x).applied():
        assert torch.equal(model(x), model[0](x))


def test_a_rate_of_zero_changes_no_bit_and_gradients_follow_the_mask():
    torch.manual_seed(0)
    model, x = nn.Sequential(Basic(4, 4), Basic(4, 6)), IMAGES
    plain = copy.deepcopy(model)(x)
    with plan(copy.deepcopy(model), 0.0, "path", x).applied() as applied:
        assert torch.equal(applied._model(x), plain)
    with plan(model, {"path/0.bn2": 1.0}, None, x).applied():
        model(x).sum().backward()
    assert not model[0].conv1.weight.grad.any()
    assert model[1].conv1.weight.grad.any()


def test_a_ramp_goes_with_depth_and_names_are_those_of_layers():
    made = plan(Blocks(3), {"fs.*": Ramp(0.0, 0.2)}, "path", ROWS)
    assert made.rates == {"path/fs.0": 0.0, "path/fs.1": 0.1, "path/fs.2": 0.2}
    assert "stochastic depth" in str(made)
    with pytest.raises(PlacementError, match=r"'fs.9' matches no site; did you mean"):
        plan(Blocks(3), {"fs.9": 0.1}, "path", ROWS)


def test_inputs_and_branches_of_one_layer_are_two_sites():
    model, both = Blocks(2), {"fs.1": 0.5, "path/fs.1": 0.25}
    with plan(model, both, None, ROWS).applied() as applied:
        assert applied.names == ("fs.1", "path/fs.1")
        model(ROWS)
        assert applied.fired == {"fs.1": 1, "path/fs.1": 1}
        assert dict(rates(model)) == both
        set_rate(model, "path/fs.1", 0.75)
        assert applied.p.tolist() == [0.5, 0.75]
        with pytest.raises(PlacementError, match=r"expected no dropout of droplab at 'path/fs.1'"):
            plan(model, {"path/fs.1": 0.5}).apply()
    assert not model.fs[1]._forward_hooks


def test_what_is_not_said_with_an_example_stays_as_it_was():
    assert [site.name for site in sites(Blocks(1), ROWS)] == ["stem", "fs.0"]
    assert plan(Blocks(2), 0.3, None, ROWS).names == ("fs.0", "fs.1")


@pytest.mark.parametrize(
    ("given", "kind", "example", "message"),
    [
        (0.3, "path", None, "only running the model shows; give an example"),
        ({"fs.0": 0.3}, "path", None, "only running the model shows; give an example"),
        ({"fs.0": 0.3}, {"fs.0": "path"}, ROWS, "'fs.0' is the input of a Linear"),
        ({"path/fs.9": 0.3}, None, ROWS, "'path/fs.9' matches no site"),
        ({"path/fs.9": 0.3}, None, None, "'path/fs.9' matches no site"),
    ],
)
def test_what_cannot_be_a_branch_is_refused(given, kind, example, message):
    with pytest.raises(PlacementError, match=message):
        plan(Blocks(2), given, kind, example)


def test_a_model_without_branches_says_so():
    with pytest.raises(PlacementError, match="adds nothing that a layer returns"):
        plan(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), 0.3, "path", ROWS)


def test_a_plan_is_saved_and_loaded_without_an_example(tmp_path):
    plan(Blocks(2), {"fs.1": 0.3}, "path", ROWS).save(tmp_path / "plan.toml")
    made = load_plan(Blocks(2), tmp_path / "plan.toml")
    assert (made.rates, [edit.kind for edit in made.edits]) == ({"path/fs.1": 0.3}, ["path"])


def test_copies_carry_their_own_and_are_cleared():
    model = Blocks(1)
    with plan(model, 0.5, "path", ROWS).applied() as applied:
        twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
        twin(ROWS)
        assert applied.fired == {"path/fs.0": 0}
    assert clear(twin) == ("path/fs.0",)
    assert torch.equal(twin(ROWS), model(ROWS))


def test_samples_of_a_prediction_drop_branches():
    torch.manual_seed(0)
    model = Blocks(1)
    with plan(model, 0.5, "path", ROWS).applied() as applied:
        applied.seed({"path/fs.0": 1})
        drawn = sample(model, ROWS, 8, seed=0)
    assert len({tuple(each.flatten().tolist()) for each in drawn}) > 1


def test_batched_calls_have_the_same_masks():
    torch.manual_seed(0)
    model = Blocks(2)
    with plan(model, 0.5, "path", ROWS).applied() as applied:
        applied.seed(dict.fromkeys(applied.names, 3))
        plain = model(ROWS)
        applied.set_step(0)
        several = torch.func.vmap(lambda p: _with(applied, p, model, ROWS))
        both = several(torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(both[0], plain, atol=1e-5)
    assert torch.allclose(both[1], model.eval()(ROWS), atol=1e-5)


def _with(applied, p, model, x):
    with applied.substituted(p):
        return model(x)
