from __future__ import annotations

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from droplab.data._sources import KnownFile, SourceError

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


class Tiny:
    """A data set of 12 + 6 images in the four files of MNIST."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.arrays = {
            NAMES[0]: rng.integers(0, 256, (12, 4, 4)),
            NAMES[1]: np.arange(12) % 3,
            NAMES[2]: rng.integers(0, 256, (6, 4, 4)),
            NAMES[3]: np.arange(6) % 3,
        }
        self.contents = {name: idx(array) for name, array in self.arrays.items()}
        self.gz = {f"{name}.gz": gzip.compress(c) for name, c in self.contents.items()}
        self.files = tuple(
            KnownFile(
                name,
                hashlib.sha256(content).hexdigest(),
                hashlib.md5(self.gz[f"{name}.gz"]).hexdigest(),
            )
            for name, content in self.contents.items()
        )

    def write(self, folder: Path, *, gz: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (self.gz if gz else self.contents).items():
            (folder / name).write_bytes(content)
        return folder


@dataclass
class Given:
    """A source that gives what it is told to, and counts how often it is asked."""

    contents: dict[str, bytes]
    label: str = "a given source"
    failure: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: object) -> None:
        self.asked.append(tuple(file.name for file in files))
        for file in files:
            if file.name in self.contents:
                (into / file.name).write_bytes(self.contents[file.name])
        if self.failure:
            raise SourceError(self.failure)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def given() -> type[Given]:
    return Given


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DROPLAB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Server:
    """A web server on this machine that serves a table of contents, and can break off."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.requests: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                content = server.contents.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: server.break_after])

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()
