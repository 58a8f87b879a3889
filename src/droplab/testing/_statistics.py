"""Mean, variance and independence against what is known exactly."""

from __future__ import annotations

from abc import abstractmethod
from statistics import NormalDist

import torch
from torch import Tensor, nn

from droplab.probability import rounded
from droplab.testing._case import LayerCase


class LayerStatistics(LayerCase):
    """Moments of every output element over many calls, and which elements share a mask.

    Every test has a false-alarm rate of at most `false_alarm` for one layer and one rate (normal
    approximation; union bound over elements or pairs, which may depend on each other). The seed is
    fixed, so that an alarm that is not there today is not there tomorrow.

    Attributes:
        draws: Number of calls.
        rates: Drop probabilities to be tested.
        false_alarm: Bound on the probability of an alarm about a right layer.
    """

    draws: int = 2000
    rates: tuple[float, ...] = (0.1, 0.5)
    false_alarm: float = 1e-6

    @abstractmethod
    def moments(self, module: nn.Module, p: float, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exact mean and variance of the output at rate p.

        They may be those of its first slices alone, if only these have a closed form.
        """

    def groups(self, output: Tensor, *inputs: Tensor) -> Tensor:
        """Return a number for every output element, up to broadcasting.

        Elements of one number may depend on each other, those of two numbers are independent. By
        default every element decides for itself.
        """
        return torch.arange(output.numel()).view(output.shape)

    def sample(self, p: float) -> Tensor:
        """Return the outputs of many calls of a new layer, (draws, ...), in float64.

        Two tests look at those of `rate`: a test class may keep them.
        """
        layer, inputs = self.build(p, 11), self.inputs()
        with torch.no_grad():
            draws = [self.run(layer, *inputs) for _ in range(self.draws)]
        return torch.stack(draws).double()

    def test_mean_and_variance(self) -> None:
        for p in self.rates:
            layer, inputs = self.build(p, 11), self.inputs()
            mean, variance = (m.double() for m in self.moments(layer, rounded(p), *inputs))
            samples = self.sample(p)[:, : len(mean)]
            bound, root = self._bound(2 * mean.numel()), self.draws**0.5
            # Room for float32 rounding, where a distribution has no spread at all.
            noise = 1e-5 * (1.0 + mean.abs() + variance)
            _within(f"mean at p = {p}", samples, mean, bound * variance.sqrt() / root + noise)
            squares = (samples - mean).square()
            spread = squares.std(0)
            _within(f"variance at p = {p}", squares, variance, bound * spread / root + noise)

    def test_elements_of_different_groups_and_calls_are_independent(self) -> None:
        samples, inputs = self.sample(self.rate), self.inputs()
        groups = self.groups(samples[0], *inputs).expand_as(samples[0]).flatten()
        centred = (samples - samples.mean(0)).flatten(1)
        spread = centred.std(0)
        live = spread > 1e-4
        standard = centred[:, live] / spread[live]
        count = standard.shape[1]
        assert count, "no output element ever changes"
        between = groups[live][:, None] != groups[live][None, :]
        correlation = (standard.T @ standard / self.draws).abs() * between
        allowed = self._bound(count**2) / self.draws**0.5
        assert correlation.max() <= allowed, (
            f"elements that should be independent have correlation {correlation.max():.3f}, "
            f"allowed {allowed:.3f}"
        )
        lagged = (standard[1:].T @ standard[:-1] / self.draws).abs().max()
        allowed = self._bound(2 * count**2) / (self.draws - 1) ** 0.5
        assert lagged <= allowed, f"calls have correlation {lagged:.3f}, allowed {allowed:.3f}"

    def test_elements_of_one_group_share_their_mask(self) -> None:
        if not self.shares:
            return
        inputs = self.inputs()
        for seed in range(20):
            output = self.run(self.example(seed=seed), *inputs)
            dropped = (output == 0).flatten()
            groups = self.groups(output, *inputs).expand_as(output).flatten()
            for group in groups.unique():
                assert dropped[groups == group].unique().numel() == 1

    shares: bool = False
    """Whether all elements of a group are dropped together."""

    def _bound(self, tests: int) -> float:
        """Return the number of standard errors that none of so many tests exceeds by chance."""
        return NormalDist().inv_cdf(1.0 - self.false_alarm / (2 * tests))


def _within(what: str, samples: Tensor, expected: Tensor, allowed: Tensor) -> None:
    error = (samples.mean(0) - expected).abs()
    worst = (error - allowed).argmax()
    assert (error <= allowed).all(), (
        f"{what}: off by {error.flatten()[worst]:.4g}, allowed {allowed.flatten()[worst]:.4g}"
    )
