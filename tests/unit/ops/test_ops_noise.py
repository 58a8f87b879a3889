"""Random numbers by key."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from droplab.ops import _noise, keep_mask, make_key, normal, uniform

KEY = make_key(seed=1)
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2047, 2049, 8191, 8193, 30_001])
def test_cpu_kernel_equals_reference(dtype, n):
    keys = torch.stack([make_key(1), make_key(2), make_key(2, 3)])
    for function in (uniform, normal):
        for key in (KEY, keys):
            a = function((n,), key=key, dtype=dtype, backend="cpu")
            b = function((n,), key=key, dtype=dtype, backend="reference")
            assert torch.equal(a, b)
    rows = uniform((n,), key=keys, dtype=dtype)
    assert rows.shape == (3, n)
    assert torch.equal(rows[2], uniform((n,), key=keys[2], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_stays_inside_the_open_interval_and_is_a_coarser_view_of_one_word(dtype):
    u = uniform((200_000,), key=KEY, dtype=dtype)
    assert u.dtype == dtype
    assert u.min() > 0
    assert u.max() < 1
    finest = uniform((200_000,), key=KEY, dtype=torch.float64)
    bits = {torch.float64: 32, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}[dtype]
    assert (u.double() - finest).abs().max() <= 2.0**-bits / 2


def test_shapes_do_not_change_the_numbers():
    flat = uniform((60,), key=KEY)
    assert torch.equal(uniform((3, 4, 5), key=KEY).flatten(), flat)
    assert torch.equal(uniform((50,), key=KEY), flat[:50])
    assert uniform((), key=KEY) == flat[0]
    assert uniform((3, 0), key=KEY).shape == (3, 0)
    assert normal((2, 2), key=KEY, device="meta").shape == (2, 2)


def test_numbers_and_masks_of_one_key_are_independent():
    """Correlation of two unrelated samples of 2^18: within 5 standard deviations, 6e-7."""
    n = 1 << 18
    u = uniform((n,), key=KEY, dtype=torch.float64) - 0.5
    keep = keep_mask((n,), 0.5, key=KEY).double() - 0.5
    score = float((u * keep).sum() / (n * (1 / 12) * (1 / 4)) ** 0.5)
    assert abs(score) < 5


class Seen(TorchDispatchMode):
    """Keeps the names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_eager_calls_spare_the_dispatcher_which_has_them_where_something_listens(monkeypatch):
    """Its way to a custom operator costs more than a small tensor, and loads the compiler."""
    with Seen() as seen:
        heard = keep_mask((5,), 0.5, key=KEY), normal((5,), key=KEY)
    assert {"droplab::keep_mask", "droplab::words"} <= {*seen.names}
    for op in ("keep_mask_op", "words_op"):
        monkeypatch.delattr(_noise, op)
    assert torch.equal(keep_mask((5,), 0.5, key=KEY), heard[0])
    assert torch.equal(normal((5,), key=KEY), heard[1])


def test_numbers_under_vmap_and_compile():
    keys = make_key(1, torch.arange(3))
    batched = torch.func.vmap(lambda key: uniform((5,), key=key))(keys)
    assert torch.equal(batched, uniform((5,), key=keys))
    nested = torch.func.vmap(torch.func.vmap(lambda key: normal((5,), key=key)))(keys.view(3, 1, 2))
    assert torch.equal(nested[:, 0], normal((5,), key=keys))
    compiled = torch.compile(
        lambda key: uniform((5,), key=key), fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(KEY), uniform((5,), key=KEY))
    masks = torch.func.vmap(lambda key, p: keep_mask((5,), p, key=key))(keys, torch.rand(3))
    assert masks.shape == (3, 5)
