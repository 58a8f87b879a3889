"""The IDX format of MNIST and its relatives: magic number, shape, then the numbers."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from droplab.errors import DataError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def unpacked(content: bytes, *, where: str) -> bytes:
    """Return `content` without its gzip wrapping, if it has one.

    Raises:
        DataError: If the gzip stream is broken or ends early.
    """
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: the gzip file is truncated or damaged: {error}") from None


def read_idx(path: Path) -> np.ndarray:
    """Return the array of an IDX file, gzipped or not.

    Raises:
        DataError: If it cannot be read, is no IDX file, or is too short or too long.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read this file: {error.strerror}") from None
    return parse_idx(unpacked(content, where=str(path)), where=str(path))


def parse_idx(content: bytes | bytearray | memoryview, *, where: str) -> np.ndarray:
    """Return the array in `content`, sharing its memory.

    Raises:
        DataError: If it is no IDX content, or too short or too long.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(
            f"{where}: expected an IDX file, which begins with two zero bytes, a type and a number "
            f"of dimensions, got {bytes(content[:4]).hex(' ') or 'nothing'}"
        )
    dtype = np.dtype(_DTYPES[content[2]])
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{where}: the IDX file ends within its header")
    shape = tuple(np.frombuffer(content, ">u4", content[3], 4).tolist())
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{where}: expected {expected} bytes for an array of shape {shape}, got "
            f"{len(content)}; the file is truncated or damaged"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
