"""No data file, however damaged, ends in anything but a data set or one bounded sentence."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from droplab.data import carve, load
from droplab.recipe import DataSpec

ROWS = 12
LABELS = np.arange(ROWS) % 3
DTYPES = (
    *("u1", "i2", ">i4", "u8", "f2", ">f8", "g", "c16", "?", "S3", "U3", "M8[s]", "m8[s]", "V4"),
    *("f4,i4", "i8"),
)


def _array(rng) -> np.ndarray:
    shape = (ROWS, *rng.choice([(1, 4, 4), (4, 4), (5,), (2, 1, 3, 1), ()]))
    count = int(np.prod(shape))
    return np.zeros(count, rng.choice(DTYPES)).reshape(shape)


def _labels(rng) -> np.ndarray:
    return rng.choice([LABELS, LABELS.astype("g"), LABELS.astype("U1"), LABELS[:, None], LABELS])


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _idx(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype("u1").tobytes()


def _npz_folder(root: Path, rng) -> Path:
    file = io.BytesIO()
    save = rng.choice([np.savez, np.savez_compressed])
    save(file, x_train=_array(rng), y_train=_labels(rng))
    (root / "data.npz").write_bytes(file.getvalue())
    return root / "data.npz"


def _npy_folder(root: Path, rng) -> Path:
    (root / "x_train.npy").write_bytes(_npy(_array(rng)))
    (root / "y_train.npy").write_bytes(_npy(_labels(rng)))
    return root


def _idx_folder(root: Path, rng) -> Path:
    images = np.zeros((ROWS, 4, 4), "u1")
    pack = rng.choice([bytes, gzip.compress])
    end = "" if pack is bytes else ".gz"
    (root / f"train-images-idx3-ubyte{end}").write_bytes(pack(_idx(images)))
    (root / f"train-labels-idx1-ubyte{end}").write_bytes(pack(_idx(LABELS)))
    return root


def _image_folder(root: Path, rng) -> Path:
    ending = rng.choice(["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(3):
            Image.new("RGB", (6, 5)).save(root / name / f"{i}.{ending}")
    return root


FORMS = (_npz_folder, _npy_folder, _idx_folder, _image_folder)


def _wound(root: Path, rng) -> str:
    """Damage one of the files below a folder; return what was done."""
    file = rng.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    content = bytearray(file.read_bytes())
    kind = rng.choice(["bit", "bits", "cut", "more", "head", "number", "empty", "pipe", "name"])
    if kind in ("bit", "bits"):
        for _ in range(1 if kind == "bit" else 20):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "more":
        content += bytes(rng.randrange(1, 3000))
    elif kind == "head":
        at = rng.randrange(min(len(content), 120))
        content[at : at + rng.randrange(1, 5)] = rng.randbytes(rng.randrange(1, 5))
    elif kind == "number":  # in the text of an .npy header, and in binary sizes
        old = rng.choice([b"12", b"(12, ", b"\0\0\0\x0c", b"\x0c\0"])
        new = rng.choice([b"9" * len(old), b"9" * 900, b"-1", b"\xff" * len(old), b"(" * 300])
        content = content.replace(old, new)
    elif kind == "empty":
        content.clear()
    elif kind == "pipe":
        file.unlink()
        os.mkfifo(file)
        return kind
    elif kind == "name":
        raw = os.fsdecode(b"\xff\xfe") + file.name
        file.rename(file.with_name(raw))
        if file.parent != root and rng.random() < 0.5:
            file.parent.rename(file.parent.with_name(os.fsdecode(b"class\xff")))
        return kind
    file.write_bytes(content)
    return kind


def _use(path: Path, rng) -> None:
    few = ({"size": [8, 8]}, {"labels": "y_train"}, {"classes": ["a"]})
    arguments = rng.choice([{}, {}, {}, *few])
    memory = rng.choice(["auto", True, False])
    spec = DataSpec(path=str(path), arguments=arguments, validation=3, in_memory=memory)
    carve(load(spec), spec)


@pytest.mark.filterwarnings("ignore")  # of Pillow and numpy, about what is damaged
def test_damaged_files(count, rng, tmp_path, attempt):
    read = 0
    for i in range(count):
        root = tmp_path / str(i)
        root.mkdir()
        path = rng.choice(FORMS)(root, rng)
        done = _wound(root, rng) if rng.random() < 0.95 else "whole"
        read += attempt(lambda p=path: _use(p, rng), (path, done))
        shutil.rmtree(root)
    assert 0 < read < count
