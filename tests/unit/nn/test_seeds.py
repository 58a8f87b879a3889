"""Seeds, call indices, labels, and what must not depend on the layer's number."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from droplab import ops
from droplab.errors import ArgumentError, RunError
from droplab.nn import (
    ConcreteDropout,
    Dropout,
    DropPath,
    ZoneoutLSTM,
    call_indices,
    restore_call_indices,
)

X = torch.ones(64)


def test_masks_are_a_function_of_seed_and_call() -> None:
    layer = Dropout(0.5, seed=7)
    for call in range(3):
        assert torch.equal(layer(X), ops.dropout(X, 0.5, key=ops.make_key(7, call)))


def test_ranks_have_different_masks() -> None:
    layers = [Dropout(0.5, seed=7) for _ in range(2)]
    first = layers[0](X)
    try:
        ops.set_rank(1)
        assert not torch.equal(layers[1](X), first)
        assert not torch.equal(Dropout(0.5, seed=7)(X), first)
    finally:
        ops.set_rank(None)


def test_frozen_layers_differ_from_each_other() -> None:
    model = [Dropout(0.5) for _ in range(8)]
    with ops.frozen_masks(seed=1):
        outputs = [layer(X) for layer in model]
        assert all(torch.equal(layer(X), y) for layer, y in zip(model, outputs, strict=True))
    assert any(not torch.equal(outputs[0], output) for output in outputs[1:])


def test_a_stopped_run_goes_on_with_the_same_masks() -> None:
    def model() -> nn.Module:
        return nn.ModuleDict(
            {"a": Dropout(0.5, seed=1), "b": Dropout(0.5), "c": ConcreteDropout(0.5, seed=2)}
        )

    whole, part, rest = model(), model(), model()
    for _ in range(3):
        whole["a"](X), part["a"](X), whole["c"](X), part["c"](X)
    indices = call_indices(part)
    assert indices == {"a": 3, "c": 3}
    restore_call_indices(rest, indices)
    for name in indices:
        assert torch.equal(rest[name](X), whole[name](X))


def test_indices_of_recurrent_layers_are_found() -> None:
    lstm = ZoneoutLSTM(3, 2, num_layers=2, seed=1)
    lstm(torch.ones(4, 1, 3))
    assert call_indices(lstm) == {"zoneout_hidden": 2, "zoneout_cell": 2}


@pytest.mark.parametrize(
    ("indices", "words"), [({}, "got none"), ({"0": 1, "2": 1}, "no seeded layer '2'")]
)
def test_indices_must_fit_the_model(indices, words) -> None:
    with pytest.raises(RunError, match=words):
        restore_call_indices(nn.Sequential(Dropout(seed=1)), indices)


def test_seeded_checkpointing_inside_frozen_masks_is_fine() -> None:
    layer, x = Dropout(0.5, seed=1), torch.ones(64, requires_grad=True)
    with ops.frozen_masks():
        y = checkpoint(lambda v: layer(v).square(), x, use_reentrant=False)
        y.sum().backward()
    assert torch.equal(x.grad, 2 * y.detach())


def test_an_explicit_key_can_be_checkpointed() -> None:
    key, x = ops.make_key(1), torch.ones(64, requires_grad=True)
    y = checkpoint(lambda v: ops.dropout(v, 0.5, key=key).square(), x, use_reentrant=False)
    y.sum().backward()
    assert torch.equal(x.grad, 2 * y.detach())


def test_a_changed_rate_between_forward_and_backward_is_never_silent() -> None:
    layer, x = Dropout(0.5, seed=1), torch.ones(64, requires_grad=True)
    y = layer(x)
    layer.p = 0.1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_label_names_the_layer_in_errors() -> None:
    layer = DropPath(0.5)
    layer.label = "blocks.3.drop_path"
    with pytest.raises(ArgumentError, match=r"^blocks\.3\.drop_path: p: "):
        layer.p = 2.0


def test_random_numbers_of_data_and_dropout_do_not_meet_with_a_seed() -> None:
    torch.manual_seed(0)
    expected = torch.randperm(10)
    torch.manual_seed(0)
    Dropout(0.5, seed=1)(X)
    assert torch.equal(torch.randperm(10), expected)


def test_many_threads_draw_each_call_once() -> None:
    layer, calls, count = Dropout(0.5, seed=3), 400, 8
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(count) as pool:
            keys = pool.map(lambda _: int(layer.next_key()[1]), range(calls * count))
            assert sorted(keys) == list(range(calls * count))
    finally:
        sys.setswitchinterval(before)
    assert layer.calls == calls * count


class _Dropped(torch.utils.data.Dataset):
    def __init__(self, seed: int | None) -> None:
        self.drop = Dropout(0.5, seed=seed)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.drop(torch.ones(32))


def test_a_seeded_layer_in_a_worker_of_a_loader_is_refused() -> None:
    loader = DataLoader(_Dropped(1), num_workers=2, multiprocessing_context="fork")
    with pytest.raises(ArgumentError, match="each worker has a copy"):
        list(loader)
    unseeded = DataLoader(_Dropped(None), num_workers=2, multiprocessing_context="fork")
    assert len({tuple(x.flatten().tolist()) for x in unseeded}) == 4
    here = DataLoader(_Dropped(1))
    assert len({tuple(x.flatten().tolist()) for x in here}) == 4


@pytest.mark.parametrize("number", [np.float32(0.25), np.float64(0.25), np.array(0.25)])
def test_numbers_of_numpy_are_rates(number: Any) -> None:
    layer = Dropout(number, seed=np.int64(3))  # pyright: ignore[reportArgumentType]
    plain = Dropout(0.25, seed=3)
    x = torch.ones(64)
    assert repr(layer) == repr(plain)
    assert torch.equal(layer(x), plain(x))
    layer.p, plain.p = torch.tensor(0.5), 0.5  # pyright: ignore[reportAttributeAccessIssue]
    assert repr(layer) == repr(plain)
    assert torch.equal(ops.dropout(x, number, seed=np.uint8(3)), ops.dropout(x, 0.25, seed=3))
    wrong: Any
    for wrong in (np.True_, np.bool_(False), torch.tensor(True), np.array([0.5]), True):
        with pytest.raises(ArgumentError):
            Dropout(wrong)
