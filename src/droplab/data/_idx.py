"""The IDX format of MNIST and its relatives: magic number, shape, then the numbers."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from droplab.errors import DataError
from droplab.files import check_fits, check_ordinary
from droplab.limits import MOST_AXES

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_LONGEST_HEADER = 4 + 4 * 255


def unpacked(content: bytes, *, where: str) -> bytes:
    """Return IDX `content` without its gzip wrapping, if it has one.

    No more is unpacked than its header speaks of, so that a small file cannot fill the memory.

    Raises:
        DataError: If the gzip stream is broken, ends early, or holds more than one array.
    """
    if not content.startswith(_GZIP):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            head = file.read(_LONGEST_HEADER)
            size = _layout(head, where=where)[2]
            check_fits(size, where=where)
            return head + file.read(max(0, size + 1 - len(head)))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: the gzip file is truncated or damaged: {error}") from None


def read_idx(path: Path) -> np.ndarray:
    """Return the array of an IDX file, gzipped or not.

    Raises:
        DataError: If it cannot be read, is no IDX file, or is too short or too long.
    """
    check_ordinary(path)
    try:
        check_fits(path.stat().st_size, where=str(path))
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read this file: {error.strerror}") from None
    return parse_idx(unpacked(content, where=str(path)), where=str(path))


def parse_idx(content: bytes | bytearray | memoryview, *, where: str) -> np.ndarray:
    """Return the array in `content`, sharing its memory.

    Raises:
        DataError: If it is no IDX content, or too short or too long.
    """
    dtype, shape, expected = _layout(content, where=where)
    if len(content) != expected:
        raise DataError(
            f"{where}: expected {expected} bytes for an array of shape {shape}, got "
            f"{len(content)}; the file is truncated or damaged"
        )
    return np.frombuffer(content, dtype, offset=4 + 4 * len(shape)).reshape(shape)


def _layout(
    content: bytes | bytearray | memoryview, *, where: str
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and the size in bytes that the header of IDX `content` speaks of."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(
            f"{where}: expected an IDX file, which begins with two zero bytes, a type and a number "
            f"of dimensions, got {bytes(content[:4]).hex(' ') or 'nothing'}"
        )
    if content[3] > MOST_AXES:
        raise DataError(f"{where}: expected at most {MOST_AXES} dimensions, got {content[3]}")
    dtype = np.dtype(_DTYPES[content[2]])
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{where}: the IDX file ends within its header")
    shape = tuple(np.frombuffer(content, ">u4", content[3], 4).tolist())
    expected = start + math.prod(shape) * dtype.itemsize
    return dtype, shape, expected
