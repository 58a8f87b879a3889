"""Dropout that a model has of its own: how its rates are changed, and that its masks have keys."""

from __future__ import annotations

import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import droplab.nn
from droplab import ops
from droplab.errors import PlacementError
from droplab.placement import OwnDropout, clear, plan
from droplab.rng import stream_key

WIDTH, BATCH = 8, 6


class Called(nn.Module):
    """Something that drops, called in its own way on (B, T, WIDTH)."""

    def __init__(self, call, **layers):
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.call(self, x)


class Literal(nn.Module):
    def __init__(self, function, p):
        super().__init__()
        self.function, self.p = function, p

    def forward(self, x):
        return self.function(x, self.p, self.training)


class Path(nn.Module):
    """As stochastic depth is written in several libraries; at rate 0 it draws nothing."""

    def __init__(self, p, draw):
        super().__init__()
        self.drop_prob, self.draw = p, draw

    def forward(self, x):
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        return x * self.draw(x, keep) / keep


def in_place(x, keep):
    return x.new_empty((len(x), 1, 1)).bernoulli_(keep)


def floored(x, keep):
    return (keep + torch.rand((len(x), 1, 1), dtype=x.dtype, device=x.device)).floor()


def compared(x, keep):
    return (torch.rand_like(x) < keep).to(x.dtype)


def bernoulli(x, keep):
    return torch.bernoulli(torch.full((len(x), 1, 1), keep))


def uniform(x, keep):
    return (torch.empty(len(x), 1, 1).uniform_(0, 1) < keep).to(x.dtype)


class Attends(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.drop = nn.Dropout(p)

    def forward(self, x):  # as timm does: the layer has the rate and is never called
        p = self.drop.p if self.training else 0.0
        return F.scaled_dot_product_attention(x, x, x, dropout_p=p)


def attention(p, weights):
    layer = nn.MultiheadAttention(WIDTH, 2, dropout=p, batch_first=True)
    return Called(lambda own, x: own.layer(x, x, x, need_weights=weights)[0], layer=layer)


def recurrent(kind, p, **options):
    layer = kind(WIDTH, WIDTH, num_layers=2, dropout=p, batch_first=True, **options)
    return Called(lambda own, x: own.layer(x)[0], layer=layer)


def packed(p):
    def call(own, x):
        sequences = pack_padded_sequence(x, torch.arange(len(x), 0, -1).clamp(max=3), True)
        return own.layer(sequences)[0].data

    return Called(call, layer=nn.LSTM(WIDTH, WIDTH, 2, dropout=p, batch_first=True))


KINDS = {
    "Dropout": nn.Dropout,
    "Dropout in place": partial(nn.Dropout, inplace=True),
    "Dropout1d": nn.Dropout1d,
    "Dropout2d": lambda p: Called(
        lambda own, x: own.layer(x[:, :, None])[:, :, 0], layer=nn.Dropout2d(p)
    ),
    "Dropout3d": lambda p: Called(
        lambda own, x: own.layer(x[:, :, None, None])[:, :, 0, 0], layer=nn.Dropout3d(p)
    ),
    "AlphaDropout": nn.AlphaDropout,
    "FeatureAlphaDropout": nn.FeatureAlphaDropout,
    "F.dropout": partial(Literal, F.dropout),
    "torch.dropout": partial(Literal, torch.dropout),
    "torch.feature_dropout": partial(Literal, torch.feature_dropout),
    "droplab": droplab.nn.Dropout,
    "bernoulli_": lambda p: Path(p, in_place),
    "rand": lambda p: Path(p, floored),
    "rand_like": lambda p: Path(p, compared),
    "bernoulli": lambda p: Path(p, bernoulli),
    "uniform_": lambda p: Path(p, uniform),
    "attention": Attends,
    "MultiheadAttention": lambda p: attention(p, False),
    "with weights": lambda p: attention(p, True),
    "LSTM": lambda p: recurrent(nn.LSTM, p),
    "both ways": lambda p: recurrent(nn.LSTM, p, bidirectional=True),
    "projected": lambda p: recurrent(nn.LSTM, p, proj_size=3),
    "GRU": lambda p: recurrent(nn.GRU, p),
    "RNN": lambda p: recurrent(nn.RNN, p),
    "packed": packed,
}


class Pair(nn.Module):
    """Two that drop, one after the other, each of which sees the same input."""

    def __init__(self, kind, p):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = kind(p), kind(p)

    def forward(self, x):
        return self.first(x.clone()), self.second(x.clone())


def example():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(BATCH, 5, WIDTH, generator=generator) + 0.5


def outputs(kind, first, second=0.5, *, seed=3, step=0):
    model = Pair(kind, 0.5)
    own = OwnDropout.of(model, example())
    names = own.rates
    changes = own.changes(
        {f"{side}*": p for side, p in (("first", first), ("second", second)) if names}
    )
    own.write(model, changes)
    applied = plan(model, {}).apply(own=own.drawing([changes, {}]))
    applied.seed({name: stream_key(seed, name) for name in applied.streams})
    applied.set_step(step)
    before = torch.random.get_rng_state()
    found = [y.detach() for y in model(example())]
    assert torch.equal(before, torch.random.get_rng_state()), "a draw from torch's generator"
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_layer_drops_does_not_depend_on_the_rate_of_another(kind):
    make = KINDS[kind]
    usual = outputs(make, 0.5)
    assert not torch.equal(usual[0], usual[1])
    for rate in (0.0, 0.25, 1.0):
        other = outputs(make, rate)
        assert torch.equal(other[1], usual[1]), rate
        assert not torch.equal(other[0], usual[0]), rate
    assert not torch.equal(outputs(make, 0.5, step=1)[1], usual[1])
    assert not torch.equal(outputs(make, 0.5, seed=4)[1], usual[1])
    assert torch.equal(outputs(make, 0.5)[0], usual[0])


@pytest.mark.parametrize("kind", KINDS)
def test_at_rate_zero_a_layer_is_what_it_is_in_eval_mode(kind):
    model = Pair(KINDS[kind], 0.5).eval()
    expected = model(example())
    for one, two in zip(outputs(KINDS[kind], 0.0, 0.0), expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["Dropout", "F.dropout", "rand", "bernoulli_", "uniform_"])
def test_elements_are_kept_as_often_as_the_rate_says(kind):
    # 1500 steps of at least 6 masks: 9000 draws; six standard deviations of 0.3 are 0.03
    model = KINDS[kind](0.3)
    own = OwnDropout.of(model, example())
    applied = plan(model, {}).apply(own=own.drawing([{}]))
    applied.seed(dict.fromkeys(applied.streams, 7))
    kept = []
    for step in range(1500):
        applied.set_step(step)
        kept.append((model(torch.ones(BATCH, 1, 1)) > 0).float().mean())
    assert torch.stack(kept).mean() == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_keyed_attention_is_that_of_torch_but_for_the_mask(mask):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 5, 3, generator=generator) for _ in range(3))
    allowed = torch.rand(5, 5, generator=generator) < 0.6
    allowed[2] = False  # a place that sees nothing
    options = {
        "none": {},
        "bool": {"attn_mask": allowed},
        "float": {"attn_mask": torch.where(allowed, 0.3, float("-inf"))},
        "causal": {"is_causal": True, "scale": 0.7},
    }[mask]
    p = 2.0**-15  # so rare that no element of this mask is dropped
    model = Called(lambda own, x: F.scaled_dot_product_attention(x, k, v, dropout_p=p, **options))
    own = OwnDropout.of(model, q)
    applied = plan(model, {}).apply(own=(".",))
    applied.seed({"own/.": 5})
    assert own.shown.functions
    key = applied.keys[0]
    assert ops.keep_mask((2, 4, 5, 5), p, key=key).all()
    expected = F.scaled_dot_product_attention(q, k, v, **options) / (1 - p)
    torch.testing.assert_close(model(q), expected)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both_ways", [False, True])
def test_layers_one_after_another_are_the_recurrent_layer(kind, both_ways):
    torch.manual_seed(0)
    model = kind(WIDTH, 4, num_layers=3, bidirectional=both_ways, batch_first=True, bias=False)
    expected = model(example())
    model.dropout = 2.0**-15
    applied = plan(model, {}).apply(own=(".",))
    applied.seed({"own/.": 5})
    found = model(example())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert applied._draws.counts == [2]


def test_a_layer_called_twice_in_a_step_has_two_masks():
    layer = nn.Dropout(0.5)
    model = Called(lambda own, x: torch.stack([own.layer(x), own.layer(x)]), layer=layer)
    applied = plan(model, {}).apply(own=("layer",))
    applied.seed({"own/layer": 1})
    one, two = model(torch.ones(100))
    assert not torch.equal(one, two)


def test_what_a_checkpoint_computes_again_has_the_same_mask():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    applied = plan(model, {}).apply(own=("1",))
    applied.seed({"own/1": 1})
    x = torch.ones(4, 8, requires_grad=True)
    (expected,) = torch.autograd.grad(model(x).sum(), x)
    applied.set_step(0)
    (found,) = torch.autograd.grad(checkpoint(model, x, use_reentrant=False).sum(), x)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_mask_within_a_checkpoint_of_the_modules_own_is_repeated_as_well(reentrant):
    def call(own, x):
        return checkpoint(lambda h: F.dropout(h.sin(), 0.5), x, use_reentrant=reentrant)

    model = Called(call)
    applied = plan(model, {}).apply(own=(".",))
    applied.seed({"own/.": 1})
    x = torch.ones(40, 8, requires_grad=True)
    y = model(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2 * x.cos()))


def test_a_forward_that_fails_leaves_nothing_behind():
    def fail(own, x):
        own.layer(x)
        raise RuntimeError("oh")

    model = Called(fail, layer=nn.Dropout(0.5))
    applied = plan(model, {}).apply(own=(".", "layer"))
    applied.seed({"own/.": 1, "own/layer": 2})
    with pytest.raises(RuntimeError, match="oh"):
        model(torch.ones(3))
    assert torch._C._len_torch_function_stack() == 0
    assert applied._draws.running == []


def test_without_a_seed_and_after_revert_masks_come_from_torchs_generator():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    torch.manual_seed(0)
    expected = model(torch.ones(4, 8))
    applied = plan(model, {}).apply(own=("1",))
    torch.manual_seed(0)
    assert torch.equal(model(torch.ones(4, 8)), expected)
    applied.seed({"own/1": 1})
    assert not torch.equal(model(torch.ones(4, 8)), expected)
    applied.revert()
    torch.manual_seed(0)
    assert torch.equal(model(torch.ones(4, 8)), expected)
    assert not model[1]._forward_pre_hooks
    assert not model[1]._forward_hooks


def test_clear_takes_the_keys_out_of_a_copy():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    with plan(model, {}).applied():
        pass
    applied = plan(model, {}).apply(own=("1",))
    applied.seed({"own/1": 1})
    clear(model)
    assert not model[1]._forward_pre_hooks
    assert not model[1]._forward_hooks


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.25)
        self.idle = nn.Dropout(0.9)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, dropout=0.125, batch_first=True)
        self.one = nn.GRU(WIDTH, WIDTH, dropout=0.0)
        self.last = nn.Linear(WIDTH, 3)

    def forward(self, x):
        x = F.dropout(self.drop(self.first(x)), 0.5, self.training)
        return self.last(self.one(self.lstm(x)[0])[0])


def own_of_net():
    return OwnDropout.of(Net(), example())


def test_names_and_patterns_are_those_that_rates_lists():
    own = own_of_net()
    assert own.rates == {"drop": 0.25, "lstm.dropout": 0.125, "F.dropout": 0.5}
    assert own.changes({"*": 0.0, "drop": 0.3}) == {
        **dict.fromkeys(("idle", "lstm.dropout", "one.dropout", "F.dropout"), 0.0),
        "drop": 0.3,
    }
    assert pickle.loads(pickle.dumps(own)).changes({"lstm.*": 1}) == {"lstm.dropout": 1}


def test_rates_are_written_to_another_model_of_the_architecture():
    own, model = own_of_net(), Net()
    own.write(model, {"drop": 0.0, "lstm.dropout": 0.3, "F.dropout": 0.75})
    assert (model.drop.p, model.lstm.dropout) == (0.0, 0.3)
    assert droplab.rates(model)["F.dropout"] == 0.75


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"dorp": 0.1}, r"existing: 'dorp' matches no rate; did you mean 'drop'\?"),
        ({"idle": 0.1}, "existing: 'idle' means 'idle', and nothing that the model runs"),
        ({"one.dropout": 0.1}, "a recurrent layer drops between its layers, and has one"),
        ({"d*": 0.1, "*p": 0.2}, "'\\*p' and 'd\\*' both mean 'drop'"),
        ({"": 0.1}, "matches no rate"),
    ],
)
def test_what_means_nothing_is_refused(wanted, message):
    with pytest.raises(PlacementError, match=message):
        own_of_net().changes(wanted)


def test_a_model_that_drops_nothing_says_so():
    own = OwnDropout.of(nn.Linear(4, 4), torch.ones(2, 4))
    with pytest.raises(PlacementError, match="existing: '\\*' matches nothing"):
        own.changes({"*": 0.1})
    assert own.drawing([{}]) == ()


def test_only_what_draws_in_some_arm_gets_keys():
    own = own_of_net()
    assert own.drawing([{}]) == (".", "drop", "lstm")
    off = dict.fromkeys(own.rates, 0.0)
    assert own.drawing([off]) == ()
    assert own.drawing([off, {**off, "lstm.dropout": 0.1}]) == ("lstm",)
