"""The time loop gives torch's results, and its dropout acts where it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from droplab.errors import ArgumentError
from droplab.nn import (
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    ZoneoutGRU,
    ZoneoutLSTM,
)

KINDS = [RecurrentDropoutLSTM, RecurrentDropoutGRU, ZoneoutLSTM, ZoneoutGRU]
SHAPES = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False},
]


def _off(kind: Any, **arguments: Any) -> Any:
    names = {"zoneout_hidden": 0.0, "zoneout_cell": 0.0, "recurrent_dropout": 0.0}
    if "Dropout" in kind.__name__:
        names = {"recurrent_dropout": 0.0}
    elif "GRU" in kind.__name__:
        names = {"zoneout_hidden": 0.0}
    else:
        del names["recurrent_dropout"]
    return kind(4, 3, **arguments, **names)


def _plain(layer: Any, **arguments: Any) -> Any:
    plain = (nn.LSTM if isinstance(layer, nn.LSTM) else nn.GRU)(4, 3, **arguments)
    plain.load_state_dict(layer.state_dict())
    return plain


def _states(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else list(state)


@pytest.mark.parametrize("arguments", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_is_torchs_layer_bit_for_bit(kind: Any, arguments: Any) -> None:
    layer = _off(kind, **arguments)
    x = torch.randn(5, 2, 4)
    ours, theirs = layer(x), _plain(layer, **arguments)(x)
    assert torch.equal(ours[0], theirs[0])
    assert all(map(torch.equal, _states(ours[1]), _states(theirs[1])))


@pytest.mark.parametrize("arguments", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_computes_what_torchs_does(
    kind: Any, arguments: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "is_off", lambda self: False)
    layer = _off(kind, **arguments)
    plain = _plain(layer, **arguments)
    lines = layer.num_layers * (2 if layer.bidirectional else 1)
    parts = 2 if isinstance(layer, nn.LSTM) else 1
    start = [torch.randn(lines, 3, 3) for _ in range(parts)]
    hx = tuple(start) if parts == 2 else start[0]
    sequences = [torch.randn(length, 4) for length in (2, 5, 3)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    alone = [part[:, 0] for part in start]
    for x, state in (
        (torch.randn(3, 3, 4), hx),
        (torch.randn(3, 3, 4), None),
        (packed, hx),
        (packed, None),
        (torch.randn(5, 4), tuple(alone) if parts == 2 else alone[0]),
    ):
        ours, theirs = layer(x, state), plain(x, state)
        output = [item if isinstance(item, Tensor) else item.data for item in (ours[0], theirs[0])]
        torch.testing.assert_close(*output)
        torch.testing.assert_close(_states(ours[1]), _states(theirs[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_loop_are_torchs(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "is_off", lambda self: False)
    layer = _off(kind, num_layers=2)
    plain = _plain(layer, num_layers=2)
    x = torch.randn(5, 2, 4)
    for module in (layer, plain):
        module(x)[0].square().sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("kind", [RecurrentDropoutLSTM, RecurrentDropoutGRU])
def test_one_mask_serves_all_time_steps(kind: Any) -> None:
    """A mask over the state is a mask over the columns of the recurrent weight."""
    layer = kind(4, 3, recurrent_dropout=0.5, seed=1)
    x = torch.randn(6, 1, 4)
    output = layer(x)[0]
    plain = _plain(layer)
    matches = 0
    for bits in range(8):
        mask = torch.tensor([bits >> i & 1 for i in range(3)])
        with torch.no_grad():
            plain.load_state_dict(layer.state_dict())
            plain.weight_hh_l0.mul_(mask * 2.0)
        matches += torch.allclose(plain(x)[0], output, atol=1e-6)
    assert matches == 1


def test_zoneout_of_one_never_moves() -> None:
    layer = ZoneoutLSTM(4, 3, zoneout_hidden=1.0, zoneout_cell=1.0)
    start = torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    output, state = layer(torch.randn(5, 2, 4), start)
    assert torch.equal(output, start[0].expand(5, 2, 3))
    assert all(map(torch.equal, state, start))


def test_zoneout_takes_the_expectation_when_evaluating() -> None:
    layer = ZoneoutGRU(4, 3, zoneout_hidden=0.25).eval()
    x, start = torch.randn(1, 2, 4), torch.randn(1, 2, 3)
    expected = 0.25 * start + 0.75 * _plain(layer)(x, start)[0]
    torch.testing.assert_close(layer(x, start)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_are_independent_of_their_padding(kind: Any) -> None:
    layer = kind(4, 3, num_layers=2, bidirectional=True, seed=1)
    again = kind(4, 3, num_layers=2, bidirectional=True, seed=1)
    again.load_state_dict(layer.state_dict())
    sequences = [torch.randn(length, 4) for length in (2, 5, 3)]
    output, state = layer(pack_sequence(sequences, enforce_sorted=False))
    padded, lengths = pad_packed_sequence(output)
    assert lengths.tolist() == [2, 5, 3]
    assert not padded[2:, 0].any()
    changed = [sequences[0] + 1.0, *sequences[1:]]
    other, _ = again(pack_sequence(changed, enforce_sorted=False))
    assert torch.equal(pad_packed_sequence(other)[0][:, 1:], padded[:, 1:])
    assert _states(state)[0].shape == (4, 3, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_taking_over_a_layer_shares_its_parameters(kind: Any) -> None:
    source = _plain(_off(kind), num_layers=1)
    layer = kind.from_torch(source, seed=1)
    pairs = zip(layer.parameters(), source.parameters(), strict=True)
    assert all(ours is theirs for ours, theirs in pairs)
    assert list(layer.state_dict()) == list(source.state_dict())
    assert layer(torch.randn(5, 2, 4))[0].isfinite().all()
    wrong = nn.GRU(4, 3) if isinstance(layer, nn.LSTM) else nn.LSTM(4, 3)
    with pytest.raises(ArgumentError, match="without proj_size"):
        kind.from_torch(wrong)


def test_dropout_between_layers_follows_the_seed() -> None:
    x = torch.randn(5, 2, 4)
    first, second = (
        RecurrentDropoutLSTM(4, 3, 2, dropout=0.5, recurrent_dropout=0.25, seed=1) for _ in range(2)
    )
    second.load_state_dict(first.state_dict())
    before = torch.get_rng_state()
    output = first(x)[0]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(output, second(x)[0])
    second.dropout = 0.0
    assert not torch.equal(first(x)[0], second(x)[0])


@pytest.mark.parametrize("kind", [RecurrentDropoutLSTM, ZoneoutLSTM])
def test_projections_are_refused(kind: Any) -> None:
    for arguments in ({"proj_size": 2},):
        with pytest.raises(ArgumentError, match="proj_size"):
            kind(4, 3, **arguments)
    with pytest.raises(ArgumentError, match="proj_size"):
        kind(4, 3, 1, True, False, 0.0, False, 2)


@pytest.mark.parametrize(
    ("x", "hx", "words"),
    [
        (torch.ones(5, 2, 3), None, "4 input features"),
        (torch.ones(4), None, "packed"),
        (torch.ones(5, 2, 4), torch.ones(1, 3, 3), "initial state"),
        (torch.ones(5, 2, 4), (torch.ones(1, 2, 3),) * 2, "1 initial state"),
    ],
)
def test_wrong_shapes_are_refused(x: Tensor, hx: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        ZoneoutGRU(4, 3)(x, hx)
