"""Placed dropout in a model on a GPU: the same masks as on the CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from droplab.placement import plan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.SELU(), nn.Linear(64, 5)
    )


def outputs(network, x, **how):
    network = copy.deepcopy(network).to(x.device)
    applied = plan(network, {"2": 0.3, "5": 0.4}).apply()
    applied.seed({"2": 1, "5": 2})
    run = torch.compile(network, **how) if how else network
    found = []
    for step in range(3):
        applied.set_step(step)
        applied.p[0] = 0.1 * step
        found.append(run(x).cpu())
    return found


@pytest.mark.parametrize("how", [{}, {"fullgraph": True}])
def test_masks_are_those_of_the_cpu(how):
    x = torch.randn(8, 1, 8, 8)
    network = model()
    with torch.backends.cudnn.flags(allow_tf32=False):
        there = outputs(network, x.cuda(), **how)
    for one, other in zip(outputs(network, x), there, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_rate_of_zero_is_the_identity_bit_for_bit():
    network, x = model().cuda(), torch.randn(8, 1, 8, 8).cuda()
    with torch.backends.cudnn.flags(deterministic=True):
        want = network(x)
        with plan(network, {"2": 0.0, "5": 0.0}).applied():
            assert torch.equal(network(x), want)
