"""IDX files: every type, and every way to be damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from droplab.data._idx import parse_idx, read_idx, unpacked
from droplab.errors import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(array: np.ndarray, code: int) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0, 3)])
def test_every_type_and_shape(code: int, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(TYPES[code])
    assert np.array_equal(parse_idx(idx(array, code), where="x"), array)


def test_gzipped_or_not(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for name, content in (("raw", idx(array, 8)), ("gz", gzip.compress(idx(array, 8)))):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_idx(tmp_path / name), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file, .* got nothing"),
        (b"PK\x03\x04", "got 50 4b 03 04"),
        (b"\0\0\x07\x01", "expected an IDX file"),
        (b"\0\0\x08\x00", "expected an IDX file"),
        (b"\0\0\x08\x02\0\0\0\1", "ends within its header"),
        (b"\0\0\x08\x01\0\0\0\3ab", r"expected 11 bytes .* \(3,\), got 10"),
        (b"\0\0\x08\x01\0\0\0\1ab", "expected 9 bytes .* got 10"),
    ],
)
def test_damage_is_told(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"x: .*{message}"):
        parse_idx(content, where="x")


def test_a_broken_gzip_is_told(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(1000))
    for content in (packed[:-3], packed[:12], packed[:15] + b"\xff\xff" + packed[17:]):
        with pytest.raises(DataError, match="x: the gzip file is truncated or damaged"):
            unpacked(content, where="x")
    with pytest.raises(DataError, match="cannot read this file: No such file"):
        read_idx(tmp_path / "none")
