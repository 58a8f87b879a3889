"""Masks written out: by `docs/masks.md`, and by a second implementation in plain integers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from droplab.ops import dropout, keep_mask, make_key, normal, uniform

LOW = 0xFFFFFFFF
KEY = (0x0123456789ABCDEF, 0x0003000000000005)  # rank 6, call 5
PAGE = Path(__file__).parents[2] / "docs" / "masks.md"
PLACES = (0, 1, 2, 3, 2047, 2048, 4096, 14336, 16383, 16384, 2**33 + 1)


def philox(counter, key, rounds=7):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & LOW, (p0 >> 32) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


def words(index, key, domain=0):
    stream, call = key
    counter = (index & LOW, index >> 32, call & LOW, (call >> 32) | domain)
    return philox(counter, (stream & LOW, stream >> 32))


def lane(element, key=KEY):
    block, inside = divmod(element, 16384)
    number, j = divmod(inside, 2048)
    return (words(block * 2048 + j, key)[number // 2] >> (16 * (number % 2))) & 0xFFFF


def word(element, key=KEY):
    block, inside = divmod(element, 8192)
    number, j = divmod(inside, 2048)
    return words(block * 2048 + j, key, 1 << 31)[number]


def documented(name):
    """Return the rows of a table of the page: lists of cells."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"<!-- golden: {name} -->")[1].split("<!-- end -->")[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if "|" in line]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


def test_page_states_the_lanes():
    rows = documented("lanes")
    assert [(int(row[0]), row[1]) for row in rows] == [
        (place, f"{lane(place):#06x}") for place in PLACES
    ]


def test_page_states_the_words():
    rows = documented("words")
    assert [(int(row[0]), row[1]) for row in rows] == [
        (place, f"{word(place):#010x}") for place in PLACES
    ]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_masks_are_those_of_the_page(backend):
    n, key = 40_000, torch.tensor(KEY)
    expected = torch.tensor([lane(i) >= 19661 for i in range(n)])
    mask = keep_mask((n,), 0.3, key=key, backend=backend)
    assert torch.equal(mask, expected)
    x = torch.arange(1.0, n + 1)
    out = dropout(x, 0.3, key=key, backend=backend)
    assert torch.equal(out, torch.where(expected, x * (65536 / (65536 - 19661)), 0.0))
    digest = hashlib.sha256(mask.numpy().tobytes()).hexdigest()
    assert re.search(rf"\b{digest}\b", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_numbers_are_those_of_the_page(backend):
    n, key = 20_000, torch.tensor(KEY)
    expected = [word(i) for i in range(n)]
    wide = uniform((n,), key=key, dtype=torch.float64, backend=backend)
    assert wide.tolist() == [(w + 0.5) / 2**32 for w in expected]
    single = uniform((n,), key=key, backend=backend)
    assert single.tolist() == [((w >> 9) + 0.5) / 2**23 for w in expected]
    narrow = uniform((n,), key=key, dtype=torch.bfloat16, backend=backend)
    assert narrow.tolist() == [((w >> 25) + 0.5) / 2**7 for w in expected]
    t = torch.tensor([(w - 2**31 + 0.5) / 2**31 for w in expected], dtype=torch.float64)
    z = normal((n,), key=key, dtype=torch.float64, backend=backend)
    assert torch.equal(z, torch.erfinv(t) * 2.0**0.5)


def test_key_of_a_seed_is_that_of_the_page():
    rows = documented("keys")
    assert rows
    for seed, call, site, stream, second in rows:
        key = make_key(int(seed), call=int(call), site=site)
        assert key.tolist() == [int(stream, 16), int(second, 16)]
