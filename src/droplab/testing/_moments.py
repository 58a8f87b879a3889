"""Exact mean and variance of every layer's output, over its masks."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

Moments = tuple[Tensor, Tensor]

SATURATION = torch.selu(torch.tensor(-torch.inf, dtype=torch.float64)).item()


def of_dropout(module: nn.Module, p: float, x: Tensor, *_: Tensor) -> Moments:
    """x, and x^2 p / (1 - p): every layer that multiplies by a mask over 1 - p."""
    return x, x.square() * (p / (1.0 - p))


def of_samples(module: Any, p: float, x: Tensor) -> Moments:
    """Those of dropout, for a stack of samples."""
    mean, variance = of_dropout(module, p, x)
    shape = (module.samples, *x.shape)
    return mean.expand(shape), variance.expand(shape)


def of_alpha(module: nn.Module, p: float, x: Tensor) -> Moments:
    """Those of a mixture of x and the saturation value, scaled and shifted."""
    a = ((1.0 - p) * (1.0 + p * SATURATION**2)) ** -0.5
    b = -a * p * SATURATION
    mean = a * ((1.0 - p) * x + p * SATURATION) + b
    return mean, a**2 * p * (1.0 - p) * (x - SATURATION).square()


def of_noise(module: Any, p: float, x: Tensor) -> Moments:
    """x, and the squared standard deviation of the noise."""
    return x, torch.full_like(x, module.std**2)


def of_zoneout(module: nn.Module, p: float, previous: Tensor, current: Tensor) -> Moments:
    """Those of a mixture of the two states."""
    mean = p * previous + (1.0 - p) * current
    return mean, p * (1.0 - p) * (current - previous).square()


def of_concrete(module: Any, p: float, x: Tensor) -> Moments:
    """Those of the soft mask, by quadrature over the uniform number."""
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1e6
    logit = module.p_logit.detach().double()
    kept = 1.0 - torch.sigmoid((logit + torch.logit(u)) / module.temperature)
    factor = kept * (1.0 + logit.exp())
    return x * factor.mean().to(x.dtype), x.square() * factor.var(correction=0).to(x.dtype)


def of_recurrent_dropout(module: Any, p: float, x: Tensor) -> Moments:
    """Those of the mixture over all masks of the hidden state, one sequence a mask."""
    mean = square = torch.zeros((), dtype=torch.float64)
    for mask in itertools.product((0.0, 1.0), repeat=module.hidden_size):
        kept = int(sum(mask))
        weight = (1.0 - p) ** kept * p ** (module.hidden_size - kept)
        plain = plain_rnn(module).double()
        with torch.no_grad():
            plain.weight_hh_l0.mul_(torch.tensor(mask) / (1.0 - p))
            output = plain(x.double())[0]
        mean, square = mean + weight * output, square + weight * output.square()
    return mean, (square - mean.square()).clamp(min=0.0)


def of_zoneout_rnn(module: Any, p: float, x: Tensor) -> Moments:
    """Those of the first time step from a zero state: the mixture of zero and the new state."""
    with torch.no_grad():
        first = plain_rnn(module)(x[:1])[0]
    return of_zoneout(module, p, torch.zeros_like(first), first)


def plain_rnn(module: Any) -> Any:
    """Return a copy of a recurrent layer as torch's own, with copies of its weights."""
    kind = nn.LSTM if isinstance(module, nn.LSTM) else nn.GRU
    plain = kind(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        module.bias,
        module.batch_first,
        0.0,
        module.bidirectional,
    )
    plain.load_state_dict(module.state_dict())
    return plain.to(next(module.parameters()))
