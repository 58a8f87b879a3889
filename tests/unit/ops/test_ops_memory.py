"""Memory for large outputs is used again, and only when nothing looks at it any more."""

from __future__ import annotations

import gc
import sys
import threading

import pytest
import torch

from droplab.ops import _cpu_memory as memory
from droplab.ops import dropout, keep_mask, make_key

N = memory.SMALLEST // 4
KEY = make_key(seed=1)


@pytest.fixture(autouse=True)
def _no_blocks():
    gc.collect()
    memory.release()
    yield
    gc.collect()
    memory.release()


def place(tensor):
    return tensor.untyped_storage().data_ptr()


def test_memory_is_used_again_when_the_tensor_is_gone():
    x = torch.ones(N)
    first = dropout(x, key=KEY)
    where = place(first)
    second = dropout(x, key=KEY)
    assert place(second) != where
    del first
    assert place(dropout(x, key=KEY)) == where
    assert torch.equal(second, dropout(x, key=KEY, backend="reference"))


@pytest.mark.parametrize(
    "look",
    [
        lambda out: out[5:],
        lambda out: out.view(2, -1),
        lambda out: out.detach(),
        lambda out: out.numpy(),
        lambda out: out.untyped_storage(),
        lambda out: torch.from_dlpack(out),
    ],
)
def test_memory_is_not_used_again_while_something_looks_at_it(look):
    x = torch.ones(N)
    out = dropout(x, key=KEY)
    where, before = place(out), out.clone()
    alias = look(out)
    del out
    others = [dropout(x, 1.0, key=KEY) for _ in range(3)]
    assert where not in [place(other) for other in others]
    if isinstance(alias, torch.Tensor):
        assert torch.equal(alias.flatten(), before[-alias.numel() :])
    del alias
    gc.collect()
    assert place(dropout(x, key=KEY)) == where


def test_memory_held_by_the_graph_is_not_used_again():
    x = torch.ones(N, requires_grad=True)
    squared = dropout(x, key=KEY).square()  # keeps the output of dropout for its derivative
    for _ in range(3):
        dropout(x.detach(), 1.0, key=KEY)
    (grad,) = torch.autograd.grad(squared.sum(), x)
    assert torch.equal(grad, 8.0 * (dropout(x.detach(), key=KEY) != 0))


def test_outputs_are_ordinary_tensors():
    x = torch.randn(N, requires_grad=True)
    out = dropout(x, key=KEY)
    assert not out._is_view()
    assert out.is_contiguous()
    assert place(out) % 64 == 0
    torch.relu_(out)
    out.sum().backward()
    right = dropout(x.detach(), key=KEY, backend="reference")
    assert torch.equal(x.grad != 0, right > 0)
    image = torch.randn(4, 64, 33, 63).contiguous(memory_format=torch.channels_last)
    assert dropout(image, key=KEY).is_contiguous(memory_format=torch.channels_last)
    mask = keep_mask((2 * memory.SMALLEST,), 0.5, key=KEY)
    assert mask.dtype == torch.bool


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int32, torch.bool]
)
def test_outputs_have_the_shape_and_strides_of_the_input(dtype):
    for x in (
        torch.empty(4, 5, N // 4, dtype=dtype),
        torch.empty(2 * N, 1, 3, dtype=dtype).as_strided((2 * N, 1, 3), (3, 7, 1)),
    ):
        out, plain = memory.empty_like(x), memory.empty(x.shape, dtype)
        assert out.shape == x.shape == plain.shape
        assert out.dtype is dtype is plain.dtype
        assert out.stride() == x.stride()
        assert plain.is_contiguous()
        assert out.data_ptr() != plain.data_ptr()
        assert not out._is_view()
        assert not out.untyped_storage().resizable()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("offset", [0, 16, 1000])
def test_an_output_begins_half_a_page_away_from_its_source(dtype, offset):
    x = torch.empty(4 * N + offset, dtype=dtype)[offset:]
    for _ in range(3):  # also when the source is such an output itself
        out = memory.empty_like(x)
        apart = (out.data_ptr() - x.data_ptr()) % memory._PAGE
        assert abs(apart - memory._PAGE // 2) < memory._LINE
        assert out.data_ptr() % memory._LINE == 0
        out.fill_(1)
        x = out


def test_little_is_kept_and_all_of_it_can_be_given_back(monkeypatch):
    x = torch.ones(N)
    monkeypatch.setattr(memory, "IDLE_LIMIT", 2 * memory._HUGE_PAGE + 1000)
    outs = [dropout(x, key=KEY) for _ in range(5)]
    assert memory._idle_bytes == 0
    outs.clear()
    assert memory._idle_bytes == 2 * memory._HUGE_PAGE
    memory.release()
    assert memory._idle_bytes == 0


@pytest.mark.parametrize("bound", ["SMALLEST", "LARGEST"])
def test_small_and_very_large_outputs_come_from_torch(monkeypatch, bound):
    monkeypatch.setattr(memory, "LARGEST", 2 * memory.SMALLEST)
    n = N // 2 if bound == "SMALLEST" else 3 * N
    out = dropout(torch.ones(n), key=KEY)
    assert out.untyped_storage().resizable()
    assert not dropout(torch.ones(N), key=KEY).untyped_storage().resizable()


def test_the_memory_works_without_huge_pages(monkeypatch):
    monkeypatch.setattr(memory, "_madvise", None)
    x = torch.ones(N)
    assert torch.equal(dropout(x, key=KEY), dropout(x, key=KEY, backend="reference"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert memory._find_madvise() is None


def test_threads_share_the_memory():
    x = torch.ones(N)
    right = dropout(x, key=KEY, backend="reference")
    wrong = []

    def work():
        outputs = (dropout(x, key=KEY) for _ in range(30))
        wrong.extend(1 for out in outputs if not torch.equal(out, right))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    gc.collect()
    kept = sum(
        block.size - memory._SLACK for blocks in memory._idle.values() for block, _ in blocks
    )
    assert 0 < kept == memory._idle_bytes <= 8 * memory._HUGE_PAGE
