"""Layers on a GPU: the masks of the CPU, CUDA graphs, cuDNN."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.nn import Dropout, weight_drop
from droplab.testing import LAYERS, Layer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_outputs_are_those_of_the_cpu(layer: Layer) -> None:
    inputs = layer.inputs()
    host = layer.build(0.5, 1)
    device = copy.deepcopy(host).cuda()
    for _ in range(2):
        expected, output = host(*inputs), device(*(x.cuda() for x in inputs))
        if not isinstance(output, torch.Tensor):
            expected, output = expected[0], output[0]
        torch.testing.assert_close(output.cpu(), expected, rtol=1e-4, atol=1e-5)
        if layer.support:
            assert torch.equal(output.cpu() == 0, expected == 0)


def test_a_captured_layer_with_a_seed_has_a_new_mask_in_every_replay() -> None:
    layer, eager = Dropout(0.5, seed=1).cuda(), Dropout(0.5, seed=1).cuda()
    x = torch.ones(4096, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        layer(x), eager(x)  # warm up: kernels are compiled outside the graph
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x)
    for _ in range(3):
        graph.replay()
        assert torch.equal(y, eager(x))
    layer.p = 1.0
    graph.replay()
    assert not y.any()


def test_capturing_a_layer_without_a_seed_is_refused() -> None:
    layer, x = Dropout(0.5).cuda(), torch.ones(4096, device="cuda")
    layer(x)
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(ArgumentError, match="captured"), torch.cuda.graph(graph):
        layer(x)


@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")
def test_dropped_recurrent_weights_work_in_cudnn() -> None:
    lstm = nn.LSTM(8, 8)
    host = weight_drop(copy.deepcopy(lstm), 0.5, seed=1)
    device = weight_drop(lstm, 0.5, seed=1).cuda()
    x = torch.randn(5, 3, 8)
    for _ in range(2):
        expected, output = host(x)[0], device(x.cuda())[0]
        torch.testing.assert_close(output.cpu(), expected, rtol=1e-4, atol=1e-5)
        expected.sum().backward()
        output.sum().backward()
    weights = (m.parametrizations.weight_hh_l0.original for m in (host, device))
    ours, theirs = (weight.grad.cpu() for weight in weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
