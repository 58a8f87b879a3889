"""What comes out of dropout and keep_mask."""

from __future__ import annotations

import pytest
import torch

from droplab.ops import _reference as reference
from droplab.ops import dropout, keep_mask, make_key
from droplab.ops._reference import scaled
from droplab.probability import rounded, scale

KEY = make_key(seed=1)
BACKENDS = ["cpu", "reference"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_kept_elements_are_scaled_and_dropped_ones_are_zero(p, backend):
    x = torch.randn(5000, dtype=torch.float64)
    out = dropout(x, p, key=KEY, backend=backend)
    keep = keep_mask((5000,), p, key=KEY, backend=backend)
    assert torch.equal(out, torch.where(keep, x * scale(p), 0.0))
    assert 0 < keep.sum() < 5000


@pytest.mark.parametrize("backend", BACKENDS)
def test_rate_zero_is_the_identity_and_rate_one_gives_zeros(backend):
    x = torch.tensor([1.0, -0.0, float("nan"), float("inf"), 1e-44])
    zero = dropout(x, torch.tensor(0.0), key=KEY, backend=backend)
    assert torch.equal(zero.view(torch.int32), x.view(torch.int32))
    assert zero.data_ptr() != x.data_ptr()
    one = dropout(x, 1.0, key=KEY, backend=backend)
    assert torch.equal(one.view(torch.int32), torch.zeros(5, dtype=torch.int32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dropped_element_is_plus_zero_whatever_it_was(backend):
    x = torch.tensor([float("nan"), float("inf"), -1.0]).repeat(100)
    out = dropout(x, 0.5, key=KEY, backend=backend)
    dropped = out[~keep_mask((300,), 0.5, key=KEY)]
    assert torch.equal(dropped.view(torch.int32), torch.zeros(len(dropped), dtype=torch.int32))


def test_on_a_device_that_is_not_waited_for_a_rate_that_is_none_gives_nan():
    """The reference alone, as it runs there: on the CPU such rates are refused before."""
    bad = torch.tensor([float("nan"), -0.1, 1.5, 1e-9, 1 - 1e-9], dtype=torch.float64)
    out = reference.dropout_rows(torch.ones(5, 100), KEY[None], bad)
    assert out.isnan().all()


def test_without_training_or_with_float_rate_zero_x_comes_back_itself():
    x = torch.randn(3)
    assert dropout(x, 0.5, False) is x
    assert dropout(x, 0.0) is x
    assert dropout(x, torch.tensor(0.5), training=False) is x


def test_what_a_low_rate_drops_a_higher_rate_drops_too():
    low, high = (keep_mask((100_000,), p, key=KEY) for p in (0.3, 0.5))
    assert not (high & ~low).any()
    assert (low & ~high).any()


def test_rates_are_rounded_and_the_scale_follows_the_rounded_rate():
    out = dropout(torch.ones(100, dtype=torch.float64), 0.3, key=KEY)
    assert out.max().item() == 1 / (1 - rounded(0.3))
    assert out.max().item() != 1 / 0.7


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16])
def test_a_rate_means_the_same_as_float_and_as_tensor(kind):
    x = torch.randn(1000)
    rate = torch.tensor(0.25, dtype=kind)
    assert torch.equal(dropout(x, rate, key=KEY), dropout(x, 0.25, key=KEY))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(0, 3),
        lambda x: x[:, ::2],
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x[:1].expand(5, 4, 6, 7),
        lambda x: x[2:, 1:, :, 3],
        lambda x: torch._neg_view(x),
    ],
)
def test_strides_do_not_matter_and_are_kept(view, backend):
    x = view(torch.randn(4, 4, 6, 7))
    out = dropout(x, 0.4, key=KEY, backend=backend)
    assert torch.equal(out, dropout(x.contiguous().clone(), 0.4, key=KEY))
    assert out.stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3, 5, 7)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_shape_works(shape, backend):
    x = torch.ones(shape)
    out = dropout(x, 0.5, key=KEY, backend=backend)
    assert out.shape == x.shape
    assert set(out.flatten().tolist()) <= {0.0, 2.0}
    assert keep_mask(shape, 0.5, key=KEY, backend=backend).shape == x.shape


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("noise_shape", [(1, 5, 7), (3, 1, 7), (3, 5, 1), (1, 1, 1), (3, 5, 7)])
def test_noise_shape_shares_the_mask_along_its_ones(noise_shape, backend):
    x = torch.randn(3, 5, 7)
    out = dropout(x, 0.5, key=KEY, noise_shape=noise_shape, backend=backend)
    keep = keep_mask((3, 5, 7), 0.5, key=KEY, noise_shape=noise_shape)
    assert keep.shape == noise_shape
    assert torch.equal(keep, keep_mask(noise_shape, 0.5, key=KEY))
    assert torch.equal(out, torch.where(keep, x * 2, 0.0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_shared_mask_scales_as_a_whole_one_does(dtype):
    x = torch.randn(64, 33, generator=torch.Generator().manual_seed(1)).to(dtype)
    x[3, 4], x[5, 6] = float("nan"), float("inf")
    for rate in (0.3, torch.tensor([0.3]).expand(64)):
        rows = isinstance(rate, torch.Tensor)
        out = dropout(x, rate, key=KEY, noise_shape=(1,) if rows else (64, 1))
        keep = keep_mask((64, 1), 0.3, key=KEY) if not rows else keep_mask((1,), rate, key=KEY)
        expected = torch.where(keep, scaled(x, torch.tensor(scale(0.3), dtype=torch.float64)), 0.0)
        assert torch.equal(out.nan_to_num(7.0), expected.nan_to_num(7.0))
        assert torch.equal(dropout(x, 1.0, key=KEY, noise_shape=(64, 1)), torch.zeros_like(x))


def test_noise_shape_works_for_rows_and_strides():
    x = torch.randn(4, 3, 5, dtype=torch.float64).transpose(1, 2)
    rate, keys = torch.linspace(0, 1, 4), make_key(1, torch.arange(4))
    out = dropout(x, rate, key=keys, noise_shape=(5, 1))
    for row in range(4):
        alone = dropout(x[row], rate[row], key=keys[row], noise_shape=(5, 1))
        assert torch.equal(out[row], alone)
    assert out.stride() == torch.empty_like(x).stride()


def test_keep_mask_of_rows_is_that_of_dropout():
    rate, keys = torch.linspace(0, 1, 3), make_key(1, torch.arange(3))
    keep = keep_mask((50, 7), rate, key=keys)
    assert keep.shape == (3, 50, 7)
    assert torch.equal(keep, dropout(torch.ones(3, 50, 7), rate, key=keys) != 0)
    assert keep_mask((5,), rate, key=keys[0]).shape == (3, 5)


def test_on_the_meta_device_there_is_a_shape():
    x = torch.empty(3, 4, device="meta", dtype=torch.bfloat16)
    out = dropout(x, 0.5)
    assert (out.device.type, out.shape, out.dtype) == ("meta", x.shape, x.dtype)
    assert keep_mask((2, 3), 0.5, key=KEY, device="meta").shape == (2, 3)


def test_subclasses_keep_their_type():
    class Tagged(torch.Tensor):
        pass

    x = torch.ones(100).as_subclass(Tagged)
    out = dropout(x, 0.5, key=KEY)
    assert torch.equal(out.as_subclass(torch.Tensor), dropout(torch.ones(100), 0.5, key=KEY))


def test_large_outputs_are_right_on_huge_pages():
    x = torch.ones(9 << 20)
    out = dropout(x, 0.5, key=KEY)
    assert torch.equal(out[-1000:] != 0, keep_mask((9 << 20,), 0.5, key=KEY)[-1000:])
    assert torch.equal(out[:1000], dropout(x[:1000], 0.5, key=KEY))
