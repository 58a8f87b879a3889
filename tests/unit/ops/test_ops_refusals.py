"""Bad input is refused, with words that say what to do."""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError, BackendError
from droplab.ops import (
    _backends,
    dispatch,
    dropout,
    keep_mask,
    make_key,
    normal,
    set_rank,
    uniform,
)

KEY = make_key(seed=1)
X = torch.ones(4, 3)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("backend", [None, "reference"])
def test_a_rate_outside_the_interval_is_refused(p, as_tensor, backend):
    rate = torch.tensor(p) if as_tensor else p
    with pytest.raises(ArgumentError, match=r"dropout: p: expected a drop probability"):
        dropout(X, rate, backend=backend)
    with pytest.raises(ArgumentError, match=r"keep_mask: p: expected a drop probability"):
        keep_mask((3,), rate, key=KEY, backend=backend)


def test_a_bad_rate_among_rows_is_refused():
    with pytest.raises(ArgumentError, match="expected a drop probability"):
        dropout(X, torch.tensor([0.1, 0.2, 1.5, 0.3]))


@pytest.mark.parametrize("p", [30, 30.0, torch.tensor(30.0)])
def test_a_percentage_is_recognised(p):
    with pytest.raises(ArgumentError, match=r"looks like a percentage; did you mean 0\.3"):
        dropout(X, p)


@pytest.mark.parametrize("p", [1e-6, 1 - 1e-6])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_rate_that_would_round_to_zero_or_one_is_refused(p, as_tensor):
    rate = torch.tensor(p, dtype=torch.float64) if as_tensor else p
    with pytest.raises(ArgumentError, match="would round to"):
        dropout(X, rate)


@pytest.mark.parametrize("p", [True, "0.5", None])
def test_a_rate_that_is_no_number_is_refused(p):
    with pytest.raises(ArgumentError, match="expected a drop probability, a number"):
        dropout(X, p)


def test_a_rate_tensor_of_integers_or_of_two_axes_is_refused():
    with pytest.raises(ArgumentError, match="p: expected a float tensor, got"):
        dropout(X, torch.tensor(1))
    with pytest.raises(ArgumentError, match=r"p: expected a rate, or shape \(K,\)"):
        dropout(X, torch.full((4, 3), 0.5))


@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_rate_tensor_of_the_wrong_length_is_refused(length):
    with pytest.raises(ArgumentError, match=f"one for each of the 4 rows .* of x, got {length}"):
        dropout(X, torch.full((length,), 0.5))
    with pytest.raises(ArgumentError, match=f"key: expected one for each .* got {length}"):
        dropout(X, 0.5, key=make_key(1, torch.arange(length)))


def test_rows_of_a_scalar_are_refused():
    with pytest.raises(ArgumentError, match="expected x to have rows"):
        dropout(torch.tensor(1.0), torch.tensor([0.5]))


def test_a_rate_with_a_gradient_is_refused():
    with pytest.raises(ArgumentError, match="ConcreteDropout"):
        dropout(X, torch.tensor(0.5, requires_grad=True))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.ones(3, dtype=torch.int64), r"got int64; use x\.float"),
        (torch.ones(3, dtype=torch.bool), r"got bool; use x\.float"),
        (torch.ones(3, dtype=torch.complex64), "got complex64; mask x.real and x.imag"),
        (torch.ones(3).to(torch.float8_e4m3fn), "got float8_e4m3fn; use x.bfloat16"),
        (torch.eye(3).to_sparse(), "dense tensor, got a sparse_coo one"),
        ([1.0, 2.0], "expected a tensor, got list"),
    ],
)
def test_what_has_no_dropout_is_refused(x, words):
    for p in (0.5, 0.0, torch.tensor(0.5)):
        with pytest.raises(ArgumentError, match=words):
            dropout(x, p)
    with pytest.raises(ArgumentError, match=words):
        dropout(x, 0.5, training=False)


def test_a_ragged_tensor_is_refused():
    x = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    with pytest.raises(ArgumentError, match="got a nested one"):
        dropout(x, 0.5)


@pytest.mark.parametrize("shape", [(3,), (4, 3, 1), (2, 3), (4, 0), (1, 4)])
def test_a_noise_shape_that_does_not_broadcast_is_refused(shape):
    with pytest.raises(ArgumentError, match="noise_shape: expected 2 sizes, each 1 or that of x"):
        dropout(X, 0.5, noise_shape=shape)
    with pytest.raises(ArgumentError, match="noise_shape"):
        keep_mask((4, 3), 0.5, key=KEY, noise_shape=shape)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "1"])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ArgumentError, match="seed: expected an integer"):
        dropout(X, 0.5, seed=seed)
    with pytest.raises(ArgumentError, match="seed: expected an integer"):
        make_key(seed, torch.tensor(3))


@pytest.mark.parametrize("call", [-1, 2**47, 0.5, True, torch.tensor(0.5)])
def test_a_call_index_out_of_range_is_refused(call):
    with pytest.raises(ArgumentError, match="call: expected"):
        make_key(1, call)


def test_seed_and_key_together_are_refused():
    with pytest.raises(ArgumentError, match="a seed or a key, got both"):
        dropout(X, 0.5, seed=1, key=KEY)


@pytest.mark.parametrize(
    "key", [7, torch.ones(2), torch.ones(3, dtype=torch.int64), torch.ones(1, 1, 2).long()]
)
def test_what_is_no_key_is_refused(key):
    for function in (
        lambda: dropout(X, 0.5, key=key),
        lambda: keep_mask((3,), 0.5, key=key),
        lambda: uniform((3,), key=key),
        lambda: normal((3,), key=key),
    ):
        with pytest.raises(ArgumentError, match="key: expected"):
            function()


@pytest.mark.parametrize("rank", [-1, 65536, 0.5, "0"])
def test_a_rank_out_of_range_is_refused(rank):
    with pytest.raises(ArgumentError, match="set_rank: expected a rank"):
        set_rank(rank)


def test_other_dtypes_and_shapes_of_numbers_are_refused():
    for function in (uniform, normal):
        with pytest.raises(ArgumentError, match="dtype: expected float64"):
            function((3,), key=KEY, dtype=torch.int64)
        with pytest.raises(ArgumentError, match="shape: expected sizes of at least 0"):
            function((-3,), key=KEY)


def test_an_unknown_backend_is_refused():
    with pytest.raises(BackendError, match="got 'gpu'; did you mean 'cpu'"):
        dropout(X, 0.5, backend="gpu")


def test_a_backend_for_another_device_is_refused():
    with pytest.raises(BackendError, match="'cuda' serves cuda tensors, got one on cpu"):
        dropout(X, 0.5, backend="cuda")


def test_a_backend_that_cannot_be_imported_does_not_fall_back(monkeypatch):
    monkeypatch.setattr(_backends, "load", lambda name: ImportError("No module named 'numba'"))
    with pytest.raises(BackendError, match=r"'cpu' needs numba, .*No module named 'numba'"):
        dropout(X, 0.5, backend="cpu", noise_shape=(1, 3))


def test_unnamed_the_reference_stands_in_and_says_so(monkeypatch):
    load = _backends.load
    broken = ImportError("No module named 'numba'")
    monkeypatch.setattr(_backends, "load", lambda name: broken if name == "cpu" else load(name))
    monkeypatch.setattr(dispatch, "_dense", {})
    _backends._warn_slow.cache_clear()
    with pytest.warns(RuntimeWarning, match="reference in plain torch, which gives the same bits"):
        out = dropout(X, 0.5, key=KEY)
    _backends._warn_slow.cache_clear()
    assert torch.equal(out, dropout(X, 0.5, key=KEY, backend="reference"))
