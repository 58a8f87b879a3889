"""Every backend gives the bits of the reference."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from numba import cfunc

from droplab.ops import _cpu, _cpu_pool, dropout, make_key, uniform
from droplab.ops import _reference as reference
from droplab.ops._cpu import dropout_kernel
from droplab.ops.layout import BLOCK, RUN
from tests.forks import fork, needs_forks

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SIZES = [1, 2, 1021, 2047, 2048, 2049, 5003, 16383, 16384, 16385, 3 * 16384 + 7001]

ROWS = ("50", "51", "51", "51", "61", "60", "60")
"""Seeds and calls of rows, such that neighbours differ in one, the other or neither."""


@pytest.fixture
def threads(monkeypatch):
    """Sets the number of threads; tensors of a few hundred thousand elements are shared already."""
    monkeypatch.setattr(_cpu_pool, "ELEMENTS_PER_THREAD", 1 << 17)
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def special(n, dtype):
    """Return values of all magnitudes, with infinities, NaN, both zeros and subnormals."""
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, dtype=torch.float64, generator=generator)
    x *= 10.0 ** torch.randint(-9, 6, (n,), generator=generator)
    x = x.to(dtype)
    odd = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, torch.finfo(dtype).max]
    odd += [torch.finfo(dtype).smallest_normal, torch.finfo(dtype).smallest_normal / 3]
    at = torch.arange(0, n, 7)
    x[at] = torch.tensor(odd, dtype=dtype)[at // 7 % len(odd)]
    return x


def same_bits(a, b):
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    nan = a.isnan() & b.isnan()
    return bool(((a.view(whole) == b.view(whole)) | nan).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_cpu_kernel_equals_reference(n, dtype):
    x, key = special(n, dtype), make_key(seed=n)
    for p in (0.0, 1 / 65536, 0.3, 0.5, 65535 / 65536, 1.0):
        rate = torch.tensor(p)
        a = dropout(x, rate, key=key, backend="cpu")
        b = dropout(x, rate, key=key, backend="reference")
        assert same_bits(a, b)


def test_every_half_is_rounded_as_torch_rounds_it():
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    key = make_key(seed=1)
    for dtype in (torch.float16, torch.bfloat16):
        x = every.view(dtype)
        # The last three have products that lie halfway between two results, odd and even.
        for p in (0.1, 0.3, 0.77, 0.999, 942 / 65536, 1629 / 65536, 1994 / 65536):
            a = dropout(x, p, key=key, backend="cpu")
            assert same_bits(a, dropout(x, p, key=key, backend="reference"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_mask_is_the_same_in_every_dtype_and_for_every_size(dtype):
    key = make_key(seed=3)
    full = dropout(torch.ones(50_000, dtype=torch.float64), 0.4, key=key) != 0
    for n in SIZES[:-1]:
        assert torch.equal(dropout(torch.ones(n, dtype=dtype), 0.4, key=key) != 0, full[:n])


@pytest.mark.parametrize("n", [640, 2048, 5000, 16384, 40_000])
@pytest.mark.parametrize("shared", [True, False])
def test_rows_are_masked_each_by_itself(n, shared):
    rows = 7
    x = torch.randn(rows, n, generator=torch.Generator().manual_seed(1))
    key = torch.stack([make_key(int(seed), int(call)) for seed, call in ROWS])
    key = key[0] if shared else key
    rate = torch.linspace(0, 1, rows, dtype=torch.float64)
    out = dropout(x, rate, key=key)
    assert torch.equal(out, dropout(x, rate, key=key, backend="reference"))
    for row in range(rows):
        alone = dropout(x[row], rate[row], key=key if shared else key[row])
        assert torch.equal(out[row], alone)
    one = x[:1].expand(rows, n)
    assert torch.equal(
        dropout(one, rate, key=key), dropout(one.contiguous(), rate, key=key, backend="reference")
    )


@pytest.mark.parametrize("count", [2, 3, 5])
def test_number_of_threads_does_not_matter(count, threads):
    x, key = torch.randn(70 * BLOCK + 123), make_key(seed=1)
    threads(1)
    alone = dropout(x, 0.3, key=key)
    rows = dropout(x[: 70 * BLOCK].view(70, -1), torch.full((70,), 0.3), key=key)
    numbers = uniform((70 * BLOCK,), key=key)
    threads(count)
    assert torch.equal(dropout(x, 0.3, key=key), alone)
    again = dropout(x[: 70 * BLOCK].view(70, -1), torch.full((70,), 0.3), key=key)
    assert torch.equal(again, rows)
    assert torch.equal(uniform((70 * BLOCK,), key=key), numbers)
    assert _cpu_pool._workers >= count - 1


def test_work_is_cut_into_slices_that_cover_it_once(threads):
    threads(4)
    done = np.zeros(100, int)

    def work(first, last):
        done[first:last] += 1
        return 1 if first == 75 else 0

    assert _cpu_pool.run_units(100, 1 << 30, work) == 1
    assert (done == 1).all()


def test_an_element_beyond_2_to_the_33_has_its_own_mask():
    first = 2**33 // BLOCK + 5
    n = (first + 2) * BLOCK - 100
    x, out = torch.ones(2 * BLOCK - 100), torch.empty(2 * BLOCK - 100)
    key, rate = make_key(seed=1), torch.tensor([0.5], dtype=torch.float64)
    shift = first * BLOCK * x.element_size()  # the kernel only touches the units it is given
    pointers = (x.data_ptr() - shift, 0, out.data_ptr() - shift, 1, n)
    kernel = dropout_kernel("float32")
    assert kernel(*pointers, key.data_ptr(), 0, rate.data_ptr(), 0, first, first + 2) == 0
    words = reference.block_words(first * RUN, 2 * RUN, key[None], rounds=7)
    halves = torch.stack([half for word in words for half in (word & 0xFFFF, word >> 16)], dim=1)
    lanes = halves.view(8, 2, RUN).transpose(0, 1).flatten()[: out.numel()]
    assert torch.equal(out != 0, lanes >= 32768)


def test_the_reference_gives_the_same_piece_by_piece(monkeypatch):
    key = torch.stack([make_key(1), make_key(2)])
    whole = reference.lanes(5 * BLOCK + 77, key), reference.words(5 * BLOCK + 77, key)
    monkeypatch.setattr(reference, "_BLOCKS_AT_ONCE", 2)
    assert torch.equal(reference.lanes(5 * BLOCK + 77, key), whole[0])
    assert torch.equal(reference.words(5 * BLOCK + 77, key), whole[1])


def test_concurrent_callers_get_their_own_results(threads):
    threads(2)
    inputs = [torch.randn(40 * BLOCK) for _ in range(4)]
    keys = [make_key(seed=i) for i in range(4)]
    right = [dropout(x, 0.5, key=k, backend="reference") for x, k in zip(inputs, keys, strict=True)]
    wrong = []

    def call(i):
        outputs = (dropout(inputs[i], 0.5, key=keys[i]) for _ in range(10))
        wrong.extend(i for out in outputs if not torch.equal(out, right[i]))

    workers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def fork_with_a_pool(told: Path):
    torch.set_num_threads(2)
    _cpu_pool.ELEMENTS_PER_THREAD = 1 << 17
    # Only our own threads: those of torch itself do not survive a fork.
    x, key = torch.from_numpy(np.ones(64 * BLOCK, np.float32)), make_key(seed=1)
    right = dropout(x, 0.5, key=key).numpy()
    assert _cpu_pool._workers == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if (dropout(x, 0.5, key=key).numpy() == right).all() else 3)
    told.write_text(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


@needs_forks
def test_a_forked_child_makes_masks(tmp_path):
    process = fork(fork_with_a_pool, tmp_path / "told")
    process.join(60)
    process.kill()
    assert (tmp_path / "told").read_text() == "0"


def test_the_pool_is_forgotten_by_a_forked_child(threads):
    threads(2)
    _cpu_pool.run_units(64, 1 << 30, lambda first, last: 0)
    assert _cpu_pool._pool is not None
    before = _cpu_pool._pool, _cpu_pool._workers
    try:
        _cpu_pool._forget()
        assert _cpu_pool._pool is None
    finally:
        _cpu_pool._pool, _cpu_pool._workers = before


def draw(cache: Path, told: Path):
    numba.config.CACHE_DIR = str(cache)
    kernels = len(_cpu._alive)
    drawn = uniform((1000,), key=make_key(seed=1)).tolist()
    told.write_text(json.dumps([_cpu._alive[kernels].cache_hits, drawn]))


@needs_forks
def test_a_second_process_finds_a_kernel_on_disk_and_draws_the_same_numbers(tmp_path):
    """That of numbers, which is the quickest to compile; those of masks go the same way."""
    drawn = uniform((1000,), key=make_key(seed=1)).tolist()
    for hits in (0, 1):
        process = fork(draw, tmp_path / "cache", tmp_path / "told")
        process.join()
        assert json.loads((tmp_path / "told").read_text()) == [hits, drawn]


def test_without_a_directory_to_write_to_kernels_are_compiled_each_time(monkeypatch):
    tried = []

    def refusing(signature, **options):
        tried.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return cfunc(signature)

    monkeypatch.setattr(_cpu, "cfunc", refusing)
    kernel = _cpu.words_kernel.__wrapped__()
    out, key = torch.empty(5, dtype=torch.int32), make_key(seed=1)
    assert kernel(out.data_ptr(), 1, 5, key.data_ptr(), 0, 0, 1) == 0
    assert tried == [{"cache": True}, {}]
    expected = reference.word_rows(1, 5, key[None], torch.device("cpu"))[0]
    assert torch.equal(out, expected)
