"""Closed forms of the literature, by Monte Carlo with fixed seeds.

Every comparison allows Z standard errors; Z = 6 is passed by chance once in 5e8 times for one
number, and no test looks at more than 2000 numbers: the false-alarm rate of each is below 1e-5.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from droplab import ops
from droplab.nn import AlphaDropout, DropBlock1d, DropBlock2d, Dropout, GaussianDropout
from droplab.probability import rounded

Z = 6.0
DRAWS = 4000


def _regression() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    x[:, 1] += x[:, 0]  # correlated columns, so that ridge and least squares differ in direction
    return x, x @ torch.randn(6, generator=generator, dtype=torch.float64) + 1.0


def _ridge(x: Tensor, y: Tensor, p: float) -> Tensor:
    """The minimiser of |y - Xw|^2 + p / (1 - p) |Gw|^2 with G^2 = diag(X^T X)."""
    gram = x.T @ x
    return torch.linalg.solve(gram + p / (1 - p) * gram.diag().diag(), x.T @ y)


@pytest.mark.parametrize("layer", [Dropout(0.3, seed=2), GaussianDropout(0.3, seed=2)])
def test_expected_loss_of_linear_regression_is_the_ridge_loss(layer: nn.Module) -> None:
    """Srivastava et al. (2014), section 9.1, in inverted scaling."""
    x, y = _regression()
    p = rounded(0.3)
    for w in (torch.ones(6, dtype=torch.float64), _ridge(x, y, p)):
        losses = (y - layer(x.expand(DRAWS, *x.shape)) @ w).square().sum(1)
        expected = (y - x @ w).square().sum() + p / (1 - p) * (x.square().sum(0) @ w.square())
        assert abs(losses.mean() - expected) < Z * losses.std() / DRAWS**0.5


@pytest.mark.parametrize("layer", [Dropout(0.3, seed=3), GaussianDropout(0.3, seed=3)])
def test_the_minimiser_is_the_ridge_solution_and_not_least_squares(layer: nn.Module) -> None:
    """The expected gradient vanishes at the one and not at the other."""
    x, y = _regression()
    solutions = {"ridge": _ridge(x, y, rounded(0.3)), "plain": _ridge(x, y, 0.0)}
    worst = {}
    for name, solution in solutions.items():
        w = solution.expand(DRAWS, -1).clone().requires_grad_()
        noisy = layer(x.expand(DRAWS, *x.shape))
        loss = (y - (noisy @ w[..., None])[..., 0]).square().sum()
        (gradients,) = torch.autograd.grad(loss, w)  # of each draw for its own weights
        errors = gradients.mean(0).abs() / (gradients.std(0) / DRAWS**0.5)
        worst[name] = float(errors.max())
    assert worst["ridge"] < Z
    assert worst["plain"] > 10 * Z


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_gaussian_and_bernoulli_dropout_share_two_moments(p: float) -> None:
    """Both are compared with 1 and p / (1 - p), the one by the error of the other."""
    count = 200_000
    noises = [
        ops.dropout(torch.ones(count, dtype=torch.float64), p, seed=4),
        ops.gaussian_dropout(torch.ones(count, dtype=torch.float64), p, seed=4),
    ]
    variance = rounded(p) / (1 - rounded(p))
    for noise in noises:
        squares = (noise - 1.0).square()
        assert abs(noise.mean() - 1.0) < Z * noise.std() / count**0.5
        assert abs(squares.mean() - variance) <= Z * squares.std() / count**0.5 + 1e-12
    assert noises[0].unique().numel() == 2
    assert noises[1].unique().numel() > count // 2


@pytest.mark.parametrize("p", [0.05, 0.5])
@pytest.mark.parametrize("activation", [nn.Identity(), nn.SELU()])
def test_alpha_dropout_keeps_mean_zero_and_variance_one(p: float, activation: nn.Module) -> None:
    """SELU of a standard normal has mean 0 and variance 1 again: its fixed point."""
    count = 400_000
    x = torch.randn(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    y = AlphaDropout(p, seed=5)(activation(x))
    assert abs(y.mean()) < Z * y.std() / count**0.5
    squares = y.square()
    assert abs(squares.mean() - 1.0) < Z * squares.std() / count**0.5
    plain = Dropout(p, seed=5)(activation(x)).square()  # which does not keep the variance
    assert abs(plain.mean() - 1.0) > Z * plain.std() / count**0.5


@pytest.mark.parametrize("block", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("p", [0.1, 0.4])
def test_drop_block_keeps_every_position_at_one_rate(block: int, p: float) -> None:
    """Also at edges and corners; 4000 channels are 4000 independent maps."""
    keep = 1 - rounded(p)
    allowed = Z * (keep * (1 - keep) / 4000) ** 0.5
    for layer, shape in (
        (DropBlock2d(p, block, seed=6), (40, 100, 7, 9)),
        (DropBlock1d(p, block, seed=6), (40, 100, 11)),
    ):
        kept = (layer(torch.ones(shape)) != 0).double().mean((0, 1))
        assert (kept - keep).abs().max() < allowed


def test_drop_block_of_one_is_dropout_in_distribution() -> None:
    """Positions of one map are uncorrelated then, and correlated for larger blocks."""
    worst = {}
    for block in (1, 3):
        dropped = (DropBlock2d(0.3, block, seed=7)(torch.ones(40, 100, 4, 4)) == 0).double()
        flat = dropped.flatten(0, 1).flatten(1)
        correlation = torch.corrcoef(flat.T) - torch.eye(16, dtype=torch.float64)
        worst[block] = float(correlation.abs().max())
    assert worst[1] < Z / 4000**0.5
    assert worst[3] > 0.4
