"""What the CUDA kernels are told, as far as it can be known without a GPU."""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.ops import make_key
from droplab.ops._cuda_plan import make_plan
from droplab.probability import threshold

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_plan_holds_key_and_level_of_every_row():
    keys = make_key(1, torch.arange(3))
    rate = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    plan = make_plan(keys, rate, CPU)
    assert plan.dtype == torch.int64
    assert torch.equal(plan[:, :2], keys)
    assert plan[:, 2].tolist() == [0, threshold(0.3), 65536]
    assert make_plan(keys[:1], rate, CPU)[:, :2].tolist() == [keys[0].tolist()] * 3
    assert make_plan(keys[:1], rate[1:2], CPU).shape == (1, 3)


def test_a_rate_that_is_none_gets_the_level_that_gives_nan():
    bad = torch.tensor([float("nan"), -0.1, 1.1, 1e-9, 1 - 1e-9, 0.5], dtype=torch.float64)
    assert make_plan(make_key(1)[None], bad, CPU)[:, 2].tolist() == [-1, -1, -1, -1, -1, 32768]


def test_a_key_on_the_cpu_is_refused_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    rate = torch.tensor([0.5], dtype=torch.float64)
    with pytest.raises(ArgumentError, match="key: expected a tensor on cuda while a CUDA graph"):
        make_plan(make_key(1)[None], rate, CUDA)
    on_device = torch.empty(1, 2, dtype=torch.int64, device="meta")  # stands for a GPU
    with pytest.raises(ArgumentError, match="p: expected a tensor on cuda while a CUDA graph"):
        make_plan(on_device, rate.expand(3), CUDA)
    assert make_plan(on_device, rate, torch.device("meta")).shape == (1, 3)
