"""The CUDA kernels against the reference: on a GPU, and as far as triton's interpreter goes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from droplab.errors import ArgumentError, BackendError
from droplab.ops import dropout, keep_mask, make_key, normal, selftest, uniform

pytestmark = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no triton")

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SIZES = [1, 1021, 2049, 16385, 3 * 16384 + 7001]

INTERPRETED = """
import torch
from droplab.ops import _cuda_rows as kernel, _reference as reference, make_key
cpu = torch.device("cpu")
keys = torch.stack([make_key(3), make_key(4, call=(1 << 46) + 5), make_key(5)])
rates = torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
    for n in (5, 2049, 16384 + 3000):
        x = torch.randn(3, n).to(dtype)
        for k, r, v in (
            (keys, rates, x), (keys[:1], rates, x), (keys, rates[:1], x), (keys[:1], rates[:1], x),
            (keys, rates, x[:1].expand(3, n)),
        ):
            if dtype != torch.bfloat16:  # the interpreter does not round, so halves are scaled by 2
                r = torch.where(r == 0.5, 0.3, r)
            assert torch.equal(kernel.dropout_rows(v, k, r), reference.dropout_rows(v, k, r))
for n in (5, 8193, 20000):
    assert torch.equal(
        kernel.keep_rows(3, n, keys, rates, cpu), reference.keep_rows(3, n, keys, rates, cpu)
    )
    assert torch.equal(kernel.word_rows(3, n, keys, cpu), reference.word_rows(3, n, keys, cpu))
bad = torch.tensor([float("nan"), 1.5, 1e-9], dtype=torch.float64)
assert kernel.dropout_rows(torch.ones(3, 5), keys, bad).isnan().all()
"""


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_equal_the_reference():
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@needs_gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_kernel_equals_reference(dtype, n):
    x, key = torch.randn(n, device="cuda").to(dtype), make_key(seed=n)
    x[::7] = float("nan")
    x[3::7] = float("inf")
    for p in (0.0, 1 / 65536, 0.3, 1.0):
        rate = torch.tensor(p)
        for k, r in ((key, p or rate), (key, rate), (key.cuda(), rate.cuda())):
            out = dropout(x, r, key=k, backend="cuda").cpu()
            right = dropout(x.cpu(), rate, key=key, backend="reference")
            assert torch.equal(out.nan_to_num(7.0), right.nan_to_num(7.0))
            assert torch.equal(out.isnan(), right.isnan())


@needs_gpu
@pytest.mark.parametrize("n", SIZES)
def test_masks_and_numbers_equal_the_reference(n):
    keys = make_key(1, torch.arange(3))
    for key in (keys, keys[0]):
        mask = keep_mask((n,), 0.3, key=key, device="cuda")
        assert torch.equal(mask.cpu(), keep_mask((n,), 0.3, key=key, backend="reference"))
        u = uniform((n,), key=key, device="cuda")
        assert torch.equal(u.cpu(), uniform((n,), key=key, backend="reference"))
        z = normal((n,), key=key, device="cuda")
        assert torch.allclose(z.cpu(), normal((n,), key=key, backend="reference"), atol=1e-6)


@needs_gpu
def test_rows_strides_noise_shapes_and_gradients():
    x = torch.randn(3, 40, 50, device="cuda").transpose(1, 2).requires_grad_()
    rate, keys = torch.tensor([0.1, 0.5, 0.9]), make_key(1, torch.arange(3))
    for noise_shape in (None, (50, 1)):
        out = dropout(x, rate, key=keys, noise_shape=noise_shape)
        right = dropout(x.detach().cpu(), rate, key=keys, noise_shape=noise_shape)
        assert torch.equal(out.detach().cpu(), right)
        (grad,) = torch.autograd.grad(out.sum(), x)
        assert torch.equal(grad == 0, out == 0)


@needs_gpu
def test_an_index_beyond_2_to_the_31_is_counted():
    n = (1 << 31) + 12345
    mask = keep_mask((n,), 0.5, key=make_key(seed=1), device="cuda")
    assert torch.equal(mask[:1000].cpu(), keep_mask((1000,), 0.5, key=make_key(seed=1)))
    assert abs(mask[-10_000:].float().mean().item() - 0.5) < 0.03
    assert not torch.equal(mask[1 << 31 :][:1000], mask[:1000])


@needs_gpu
def test_a_graph_follows_its_key_or_is_refused():
    x, key = torch.ones(1000, device="cuda"), make_key(1, device="cuda")
    dropout(x, 0.5, key=key)  # compile before the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = dropout(x, 0.5, key=key)
    for call in range(3):
        key.copy_(make_key(1, call))
        graph.replay()
        assert torch.equal(out.cpu(), dropout(x.cpu(), 0.5, key=make_key(1, call)))
    with (
        pytest.raises(ArgumentError, match="while a CUDA graph is captured"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        dropout(x, 0.5)


@needs_gpu
def test_a_bad_rate_on_the_device_gives_nan():
    assert dropout(torch.ones(5, device="cuda"), torch.tensor(1.5, device="cuda")).isnan().all()


@needs_gpu
def test_the_cpu_kernel_does_not_serve_cuda_tensors():
    with pytest.raises(BackendError, match="'cpu' serves cpu tensors"):
        dropout(torch.ones(3, device="cuda"), 0.5, backend="cpu")


@needs_gpu
def test_the_self_test_passes():
    assert selftest(devices=["cuda"]).passed
