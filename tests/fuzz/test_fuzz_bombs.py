"""Small inputs that ask for much: each ends within its memory, in one sentence."""

from __future__ import annotations

import contextlib
import gzip
import io
import multiprocessing
import os
import resource
import struct
import threading
import zipfile
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from droplab.cli import main
from droplab.limits import MESSAGE
from droplab.recipe import dumps, load
from tests.forks import fork, needs_forks

pytestmark = needs_forks

GIGABYTE = 2**30


def answer(asked: Connection) -> None:
    """Call the command line with half a gigabyte of memory beyond what torch takes.

    What comes is a folder and calls; each is answered by its exit code and what it says.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTE // 2, -1))
    while True:
        folder, commands = asked.recv()
        os.chdir(folder)
        found = []
        for arguments in commands:
            told = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
                try:
                    main(list(arguments))
                except SystemExit as stop:
                    found.append([stop.code, told.getvalue()])
        asked.send(found)


@pytest.fixture(scope="module")
def small():
    """A process with little memory, and the pipe on which it answers."""
    asks, asked = multiprocessing.Pipe()
    process = fork(answer, asked)
    asked.close()
    yield process, asks
    process.kill()
    process.join()
    asks.close()


@pytest.fixture
def refused(small, tmp_path):
    """Call the command line with little memory; each call is refused in a sentence."""
    process, asks = small

    def call(*commands: tuple[str, ...]) -> list[str]:
        limit = threading.Timer(120, process.kill)
        limit.start()
        asks.send((tmp_path, commands))
        found = asks.recv()  # or there is nobody any more who could answer
        limit.cancel()
        assert len(found) == len(commands)
        for code, told in found:
            assert code == 2, told
            assert told.startswith("error: ")
            assert len(told) <= MESSAGE + 20
        return [told for _, told in found]

    return call


@pytest.fixture
def with_data(tmp_path):
    """Write the recipe of digits with another source of data; return the command that runs it."""

    def write(path: str, *more: str) -> tuple[str, str]:
        head, _, tail = dumps(load("digits")).partition("[data]")
        rest = tail[tail.index("\n[", 1) :]
        lines = [f'path = "{path}"', "validation = 3", *more]
        file = tmp_path / f"{path.replace('/', '-')}.toml"
        file.write_text("\n".join([head, "[data]", *lines, rest]), encoding="utf-8")
        return ("run", str(file))

    return write


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zeros(count: int) -> bytes:
    """Return a gzip file of so many zero bytes, made in little memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(bytes(2**20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def test_headers_that_claim_terabytes(refused, with_data, tmp_path):
    commands: list[tuple[str, ...]] = []
    for number, shape in enumerate(["(10000000000000, 4)", "(99999, 99999, 999)", "(" * 99]):
        folder = tmp_path / f"npy{number}"
        folder.mkdir()
        for name in ("x_train", "y_train"):
            (folder / f"{name}.npy").write_bytes(header(shape) + bytes(64))
        with zipfile.ZipFile(tmp_path / f"{number}.npz", "w") as archive:
            for name in ("x_train", "y_train"):
                archive.writestr(f"{name}.npy", header(shape) + bytes(64))
        commands += [with_data(folder.name), with_data(f"{number}.npz")]
    assert all("x_train" in told for told in refused(*commands))


def test_archives_that_unpack_to_gigabytes(refused, with_data, tmp_path):
    labels = io.BytesIO()
    np.save(labels, np.arange(12) % 2)
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y_train.npy", labels.getvalue())
        with archive.open("x_train.npy", "w", force_zip64=True) as file:
            file.write(header(f"(12, {200 * GIGABYTE})"))
            for _ in range(8):
                file.write(bytes(2**20))
    big = b"\0\0\x08\x03" + struct.pack(">III", 12, 2**31, 2**31)
    for name, content in {
        "no": zeros(GIGABYTE // 2),
        "big": gzip.compress(big + bytes(99)),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-images-idx3-ubyte.gz").write_bytes(content)
        (tmp_path / name / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(20)))
    told = refused(with_data("data.npz"), with_data("no"), with_data("big"))
    assert "x_train" in told[0]
    assert "IDX" in told[1]
    assert "bytes" in told[2]


def test_images_of_gigapixels(refused, with_data, tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "1.png").write_bytes(image + chunk(b"IEND", b""))
    assert "pixels" in refused(with_data("images"))[0]


def test_pipes_are_not_waited_for(refused, with_data, tmp_path):
    for name in ("pipe.npz", "pipe.toml", "pipe-idx"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "folder").mkdir()
    for name in ("x_train.npy", "y_train.npy"):
        os.mkfifo(tmp_path / "folder" / name)
    data = [with_data(name) for name in ("pipe.npz", "pipe-idx", "folder")]
    patch = ("patch", "pipe.toml:Net", "--rates", "a=0.5")
    told = refused(*data, ("run", "pipe.toml"), patch)
    assert all("ordinary file" in text for text in told[:3])


def test_texts_without_an_end(refused, tmp_path):
    commands: list[tuple[str, ...]] = []
    texts = ("x = " + "[" * 100_000, "a." * 100_000 + "a = 1", "# " + "x" * 2**24)
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.toml").write_text(text, encoding="utf-8")
        commands.append(("run", f"{number}.toml"))
    texts = ("x = " + "(" * 9000, "x = " + "-" * 9000 + "1", "x = a" + ".b" * 9000)
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.py").write_text(text, encoding="utf-8")
        commands.append(("patch", f"{number}.py:Net", "--rates", "a=0.5"))
    refused(*commands)


def test_networks_and_examples_that_fill_the_memory(refused, tmp_path):
    net = "from torch import nn\nclass Net(nn.Identity):\n    pass\n"
    (tmp_path / "net.py").write_text(net, encoding="utf-8")
    target = ("net.py:Net", "--example", "99999x99999x9")
    wide = ("run", "digits", "--set", "model.hidden=[1000000, 1000000]")
    told = refused(wide, ("sites", *target), ("check", *target))
    assert "weights" in told[0]
    assert "elements" in told[1]
    assert "elements" in told[2]
