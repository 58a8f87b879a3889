"""Which elements share a mask, for every kind of site."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from droplab.errors import PlacementError
from droplab.placement import plan


def dropped(layer, x, p=0.5, kind=None, seed=3):
    """Return what a layer at the site "1" of a model gets to see when its input is `x`."""
    model = nn.Sequential(nn.Identity(), layer)
    seen = {}
    layer.register_forward_hook(lambda m, args, out: seen.update(x=args[0]))
    made = plan(model, {"1": p}, kind=kind)
    applied = made.apply()
    applied.seed({"1": seed})
    model(x)
    return seen["x"]


def constant_along(x, *axes):
    return all(bool((x == x.select(axis, 0).unsqueeze(axis)).all()) for axis in axes)


@pytest.mark.parametrize(
    ("layer", "shape", "shared", "own"),
    [
        (nn.Linear(6, 2), (40, 6), (), (0, 1)),
        (nn.Linear(6, 2), (40, 5, 6), (), (0, 1, 2)),
        (nn.Conv1d(6, 2, 1), (40, 6, 5), (2,), (0, 1)),
        (nn.Conv2d(6, 2, 1), (40, 6, 5, 4), (2, 3), (0, 1)),
        (nn.Conv2d(6, 2, 1), (6, 5, 4), (1, 2), (0,)),
        (nn.Conv3d(6, 2, 1), (40, 6, 2, 3, 4), (2, 3, 4), (0, 1)),
        (nn.ConvTranspose2d(6, 2, 1), (40, 6, 5, 4), (2, 3), (0, 1)),
        (nn.LSTM(6, 2), (9, 40, 6), (0,), (1, 2)),
        (nn.GRU(6, 2, batch_first=True), (40, 9, 6), (1,), (0, 2)),
        (nn.RNN(6, 2, batch_first=True), (9, 6), (0,), (1,)),
        (nn.LSTMCell(6, 2), (40, 6), (), (0, 1)),
    ],
)
def test_default_kinds_share_along_the_right_axes(layer, shape, shared, own):
    """No stated false-alarm rate: the seed is fixed, and at least six masks are independent."""
    seen = dropped(layer, torch.ones(shape))
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    assert constant_along(seen, *shared)
    for axis in own:
        assert not constant_along(seen, axis)


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "shared"),
    [
        (nn.Linear(6, 2), (40, 5, 6), "channel", (1,)),
        (nn.Linear(6, 2), (40, 6), "channel", ()),
        (nn.Linear(6, 2), (6,), "channel", ()),
        (nn.Conv2d(6, 2, 1), (40, 6, 5, 4), "element", ()),
        (nn.LSTM(6, 2), (9, 40, 6), "element", ()),
    ],
)
def test_kinds_can_be_overridden(layer, shape, kind, shared):
    seen = dropped(layer, torch.ones(shape), kind=kind)
    assert constant_along(seen, *shared)
    for axis in set(range(len(shape))) - set(shared):
        assert not constant_along(seen, axis)


def test_kinds_by_pattern_and_the_reason_in_the_plan(build):
    model = build("conv")
    made = plan(model, {"conv*": 0.1, "conv1": 0.1, "fc": 0.1}, kind={"conv1": "element"})
    assert {e.name: e.kind for e in made.edits} == {
        "conv1": "element",
        "conv2": "channel",
        "fc": "element",
    }
    assert "element, as asked" in made.edits[0].reason
    assert "whole channels" in made.edits[1].reason


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "chanel",
            "expected one of element, channel, locked, alpha, path, got 'chanel'; did you mean",
        ),
        ("locked", "needs a recurrent layer, but 'fc2' is a Linear"),
        ({"fc9": "element"}, "kind: 'fc9' matches no site; did you mean"),
        ({"fc*": "element", "*2": "channel"}, "'fc\\*' and '\\*2' both mean the site 'fc2'"),
        (0.5, "expected one of"),
        (torch.zeros(3, 2), r"got tensor\(\[\[0\.,[^\n]*\]\]\); an example goes in example=$"),
    ],
)
def test_bad_kinds_are_refused(net, kind, message):
    with pytest.raises(PlacementError, match=message):
        plan(net, {"fc2": 0.1}, kind=kind)


def test_channels_of_a_recurrent_input_are_refused(build):
    with pytest.raises(PlacementError, match="'lstm' is a LSTM; use 'locked' or 'element'"):
        plan(build("recurrent"), {"lstm": 0.1}, kind="channel")


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_packed_sequences_get_the_masks_of_the_padded_batch(enforce_sorted, batch_first):
    lengths = torch.tensor([5, 3, 1] if enforce_sorted else [1, 5, 3])
    shape = (3, 5, 32) if batch_first else (5, 3, 32)
    x = torch.rand(shape) + 1
    packed = pack_padded_sequence(
        x, lengths, batch_first=batch_first, enforce_sorted=enforce_sorted
    )
    seen = dropped(nn.LSTM(32, 2, batch_first=batch_first), packed)
    assert isinstance(seen, PackedSequence)
    unpacked, _ = pad_packed_sequence(seen, batch_first=batch_first)
    padded = dropped(nn.LSTM(32, 2, batch_first=batch_first), x)
    valid = torch.arange(5)[None, :] < lengths[:, None]
    valid = valid if batch_first else valid.T
    assert torch.equal(unpacked[valid], padded[valid])
    assert 0 < (unpacked[valid] == 0).float().mean() < 1


def test_packed_sequences_element_by_element_and_at_rate_zero():
    packed = pack_padded_sequence(torch.ones(5, 3, 32), torch.tensor([5, 3, 1]))
    seen = dropped(nn.LSTM(32, 2), packed, kind="element")
    assert not constant_along(seen.data[:3], 0)
    assert torch.equal(dropped(nn.LSTM(32, 2), packed, p=0.0).data, packed.data)


def test_packed_sequences_have_gradients():
    model = nn.Sequential(nn.Identity(), nn.LSTM(8, 4))
    with plan(model, {"1": 0.5}).applied() as applied:
        applied.seed({"1": 1})
        x = torch.rand(5, 3, 8, requires_grad=True)
        out, _ = model(pack_padded_sequence(x, torch.tensor([5, 3, 1])))
        out.data.sum().backward()
    assert constant_along(x.grad[:, 0] != 0, 0)
    assert (x.grad[0] == 0).any()


@pytest.mark.parametrize(
    ("layer", "shape", "shared"),
    [(nn.Linear(64, 2), (50, 64), ()), (nn.Conv2d(64, 2, 1), (50, 64, 3, 3), (2, 3))],
)
def test_alpha_keeps_moments_and_saturates(layer, shape, shared):
    """The mean of 3200 masks is within 5 standard errors, a false alarm in 10^6 if reseeded."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    if shared:
        x = x[:, :, :1, :1].expand(shape).contiguous()
    seen = dropped(layer, x, p=0.3, kind="alpha")
    assert constant_along(seen == seen.min(), *shared)
    assert abs(seen.mean()) < 5 / 3200**0.5
    assert abs(seen.var() - 1) < 5 * (2 / 3200) ** 0.5


def test_alpha_at_rate_zero_keeps_even_the_sign_of_zero():
    x = torch.tensor([[-0.0, 0.0, -1.5, float("inf")]])
    seen = dropped(nn.Linear(4, 2), x, p=0.0, kind="alpha")
    assert torch.equal(seen.view(torch.int32), x.view(torch.int32))


def test_alpha_at_rate_one_gives_finite_zeros():
    seen = dropped(nn.Linear(4, 2), torch.randn(3, 4), p=1.0, kind="alpha")
    assert torch.equal(seen, torch.zeros(3, 4))
