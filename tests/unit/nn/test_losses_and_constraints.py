"""R-Drop and max-norm against their formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab.errors import ArgumentError
from droplab.nn import max_norm_, r_drop_loss


def _logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    return a, b, torch.tensor([0, 1, 2, 3, 4, 0])


def test_r_drop_is_cross_entropy_plus_symmetric_divergence() -> None:
    a, b, y = _logits()
    p, q = a.log_softmax(1), b.log_softmax(1)
    forward = F.kl_div(q, p, log_target=True, reduction="batchmean")
    backward = F.kl_div(p, q, log_target=True, reduction="batchmean")
    plain = 0.5 * (F.cross_entropy(a, y) + F.cross_entropy(b, y))
    for alpha in (0.0, 1.0, 5.0):
        expected = plain + alpha * 0.5 * (forward + backward)
        torch.testing.assert_close(r_drop_loss(a, b, y, alpha=alpha), expected)


def test_r_drop_is_symmetric_and_zero_divergence_for_equal_passes() -> None:
    a, b, y = _logits()
    torch.testing.assert_close(r_drop_loss(a, b, y), r_drop_loss(b, a, y))
    torch.testing.assert_close(r_drop_loss(a, a, y, alpha=9.0), F.cross_entropy(a, y))


def test_r_drop_on_sequences_leaves_padding_out() -> None:
    a, b = torch.randn(2, 3, 5, 4).unbind(0)
    y = torch.randint(0, 5, (3, 4))
    short = r_drop_loss(a[..., :2], b[..., :2], y[:, :2])
    padded = y.clone()
    padded[:, 2:] = -100
    torch.testing.assert_close(r_drop_loss(a, b, padded), short)


def test_r_drop_takes_probabilities_and_has_gradients() -> None:
    a, b, y = _logits()
    target = F.one_hot(y, 5).double()
    torch.testing.assert_close(r_drop_loss(a, b, target), r_drop_loss(a, b, y))
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: r_drop_loss(x, b, y), (a,))


@pytest.mark.parametrize(
    ("first", "second", "alpha", "words"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), 1.0, "equal shape"),
        (torch.ones(3), torch.ones(3), 1.0, "unsqueeze"),
        (torch.ones(2, 3), torch.ones(2, 3), -1.0, "alpha"),
        (torch.ones(2, 3), torch.ones(2, 3), float("nan"), "alpha"),
    ],
)
def test_r_drop_refuses(first, second, alpha, words) -> None:
    with pytest.raises(ArgumentError, match=words):
        r_drop_loss(first, second, torch.tensor([0, 1]), alpha=alpha)


@pytest.mark.parametrize(
    ("module", "incoming"),
    [
        (nn.Linear(4, 3), lambda w: w),
        (nn.Conv2d(4, 3, 3), lambda w: w.flatten(1)),
        (nn.Conv1d(4, 6, 3, groups=2), lambda w: w.flatten(1)),
        (nn.ConvTranspose1d(4, 3, 5), lambda w: w.transpose(0, 1).flatten(1)),
        (nn.Bilinear(2, 3, 4), lambda w: w.flatten(1)),
    ],
)
def test_max_norm_bounds_the_incoming_weights_of_every_unit(module, incoming) -> None:
    torch.manual_seed(0)
    module.reset_parameters()
    before = incoming(module.weight.detach().clone())
    norms = before.norm(dim=1)
    limit = float(norms.min() + norms.max()) / 2
    bias = module.bias.clone()
    assert max_norm_(module, limit) is module
    after = incoming(module.weight.detach())
    inside = before.norm(dim=1) <= limit
    assert inside.any()
    assert not inside.all()
    assert torch.equal(after[inside], before[inside])
    torch.testing.assert_close(after[~inside].norm(dim=1), torch.full(((~inside).sum(),), limit))
    torch.testing.assert_close(F.normalize(after, dim=1), F.normalize(before, dim=1))
    assert torch.equal(module.bias, bias)


def test_max_norm_of_a_grouped_transposed_convolution_looks_within_the_group() -> None:
    conv = nn.ConvTranspose1d(4, 6, 2, groups=2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[:2, 1] = 3.0  # group 0, its unit 1: four weights of 3, a norm of 6
        conv.weight[2:, 1] = 0.5  # group 1, its unit 1: a norm of 1
    max_norm_(conv, 3.0)
    assert torch.equal(conv.weight[:2, 1], torch.full((2, 2), 1.5))
    assert torch.equal(conv.weight[2:, 1], torch.full((2, 2), 0.5))


def test_max_norm_of_a_model_leaves_other_layers_alone() -> None:
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(5.0)
    max_norm_(model, 1.0)
    assert model[0].weight.eq(5.0).all()
    assert model[2].weight.eq(5.0).all()
    torch.testing.assert_close(model[1].weight, torch.full((4, 4), 0.5))


def test_max_norm_of_zero_weights_and_narrow_dtypes() -> None:
    weight = torch.zeros(3, 4, dtype=torch.bfloat16)
    weight[0] = 8.0
    max_norm_(weight, 4.0)
    assert weight[0].eq(2.0).all()
    assert not weight[1:].any()


@pytest.mark.parametrize(
    ("target", "limit", "words"),
    [
        (nn.Linear(2, 2), 0.0, "positive"),
        (nn.Linear(2, 2), float("inf"), "positive"),
        (nn.ReLU(), 3.0, "ReLU"),
        (torch.ones(3), 3.0, "two axes"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), 3.0, "_WeightNorm"),
    ],
)
def test_max_norm_refuses(target, limit, words) -> None:
    with pytest.raises(ArgumentError, match=words):
        max_norm_(target, limit)
