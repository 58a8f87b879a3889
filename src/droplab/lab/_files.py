"""The files of the page: a fixed table, read and compressed once."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from droplab.lab._limits import Refusal

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Files that are served, with their types; what else lies there (licences) is not."""


@dataclass(frozen=True)
class PageFile:
    """One file, ready to be sent."""

    plain: bytes
    packed: bytes
    kind: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> PageFile:
        """Read and compress a file."""
        plain = path.read_bytes()
        packed = gzip.compress(plain, 9, mtime=0)
        tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
        return cls(plain, packed if len(packed) < len(plain) else b"", TYPES[path.suffix], tag)

    def response(self, request: Request, status: int = 200) -> Response:
        """Return the answer to a request for the file, or for another that is not there."""
        headers = {"etag": self.tag, "cache-control": "no-cache", "vary": "accept-encoding"}
        known = request.headers.get("if-none-match", "")
        if status == 200 and self.tag in (
            tag.strip().removeprefix("W/") for tag in known.split(",")
        ):
            return Response(status_code=304, headers=headers)
        body = self.plain
        accepted = request.headers.get("accept-encoding", "")
        if self.packed and "gzip" in (
            part.partition(";")[0].strip() for part in accepted.split(",")
        ):
            body = self.packed
            headers["content-encoding"] = "gzip"
        return Response(body, status, headers={**headers, "content-type": self.kind})


class PageFiles:
    """Every file of the page by its name; a request can only choose among them.

    Args:
        folder: Where they are read from, once.
    """

    def __init__(self, folder: Path = PAGE) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): PageFile.read(path)
            for path in sorted(folder.rglob("*"))
            if path.suffix in TYPES and path.is_file()
        }

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files."""
        return tuple(self._files)

    def get(self, name: str) -> PageFile:
        """Return the file called `name`.

        Raises:
            Refusal: There is none.
        """
        if name not in self._files:
            raise Refusal(404, "there is no such file")
        return self._files[name]
