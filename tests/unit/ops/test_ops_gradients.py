"""Derivatives: the backward mask is the forward mask, to any order, and nothing is kept for it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from droplab.ops import dropout, frozen_masks, make_key

KEY = make_key(seed=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("noise_shape", [None, (7, 1, 11)])
def test_backward_mask_equals_forward_mask(dtype, noise_shape):
    x = torch.ones(7, 500, 11, dtype=dtype, requires_grad=True)
    out = dropout(x, 0.3, noise_shape=noise_shape)
    (grad,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert torch.equal(grad, out)
    assert 0 < (grad == 0).sum() < grad.numel()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own use of it
@pytest.mark.parametrize("p", [0.3, torch.tensor(0.3), torch.tensor([0.0, 0.3, 1.0])])
def test_derivatives_are_right_to_second_order_and_forward(p):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    with frozen_masks():
        for noise_shape in (None, (4,) if isinstance(p, torch.Tensor) and p.dim() else (1, 4)):

            def f(x, noise_shape=noise_shape):
                return dropout(x, p, noise_shape=noise_shape)

            assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True, check_batched_grad=True)
            assert torch.autograd.gradgradcheck(f, (x,))


def test_nothing_of_the_size_of_x_is_kept():
    kept = []

    def pack(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    x = torch.randn(10_000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = dropout(x, torch.tensor(0.5))
    assert sum(kept) <= 32
    # Nor is x held by what the graph hangs on to.
    node = out.grad_fn
    held = [value for value in vars(node).values() if isinstance(value, torch.Tensor)]
    assert not [t for t in held if t.numel() > 2]


def test_a_gradient_with_any_strides_is_masked_by_logical_order():
    x = torch.randn(40, 50, requires_grad=True)
    out = dropout(x, 0.5, key=KEY)
    (from_sum,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    assert torch.equal(from_sum != 0, out != 0)
    (from_strided,) = torch.autograd.grad(out, x, torch.ones(50, 40).t())
    assert torch.equal(from_strided, from_sum)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_repeats_the_mask(reentrant):
    x = torch.randn(1000, requires_grad=True)
    seen = []

    def f(x):
        out = dropout(x * 1.0, 0.5)
        seen.append(out.detach() != 0)
        return out * out

    out = checkpoint(f, x, use_reentrant=reentrant)
    (grad,) = torch.autograd.grad(out.sum(), x) if not reentrant else (None,)
    if reentrant:
        out.sum().backward()
        grad = x.grad
    assert len(seen) == 2
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(grad != 0, seen[0])


def test_inference_mode_and_no_grad_build_no_graph():
    x = torch.randn(10, requires_grad=True)
    with torch.no_grad():
        assert not dropout(x, 0.5).requires_grad
    with torch.inference_mode():
        assert dropout(x, 0.5).is_inference()
    assert dropout(x, 0.5).requires_grad


def test_autocast_leaves_the_dtype_alone():
    x = torch.randn(10, 10, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert dropout(x, 0.5).dtype == torch.float32
        hidden = x @ x
        assert dropout(hidden, 0.5).dtype == torch.bfloat16
        dropout(hidden, 0.5).float().sum().backward()
    assert x.grad is not None
