"""A public web server as a source."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from droplab.data._progress import Progress
from droplab.data._sources import KnownFile, SourceError, unpack_one

CONNECT_SECONDS = 3.0
READ_SECONDS = 15.0


@dataclass(frozen=True)
class Mirror:
    """A web folder that holds the files as .gz.

    Args:
        url: Of the folder, with a slash at its end.
    """

    url: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"the mirror {urlsplit(self.url).hostname}"

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        """Download the files one by one, each compared with the published checksum."""
        # Imported here: most runs find their data in the cache and need no web client.
        import pooch
        import requests

        pooch.get_logger().setLevel("ERROR")
        _probe(self.url)
        for file in files:
            name = f"{file.name}.gz"
            bar: Any = _Bar(f"{self.label}: {name}", progress)
            downloader: Any = pooch.HTTPDownloader(
                progressbar=bar,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
            known = f"md5:{file.md5_gz}" if file.md5_gz else None
            try:
                pooch.retrieve(f"{self.url}{name}", known, name, into, downloader=downloader)
            except requests.RequestException as error:
                raise SourceError(f"{name}: {_reason(error)}") from None
            except ValueError:
                raise SourceError(f"{name}: it has another checksum than published") from None
            unpack_one(into, file, into)
            (into / name).unlink()


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"the server answers {response.status_code} {response.reason}"
    return f"the connection failed ({type(error).__name__})"


def _probe(url: str) -> None:
    """Give up on a server that cannot be reached, within seconds.

    Looking up a name has no timeout of its own and can hang for half a minute on a machine without
    network, so it is done in a thread that may be left behind.
    """
    from requests.utils import get_environ_proxies

    if get_environ_proxies(url):
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    failure: list[str] = ["no answer"]

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname, port), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            failure[0] = error.strerror or str(error)
        else:
            failure.clear()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if failure:
        raise SourceError(f"cannot be reached ({failure[0]})")


class _Bar:
    """What pooch takes for a progress bar, passed on to ours."""

    def __init__(self, what: str, progress: Progress) -> None:
        self.what, self.progress = f"fetching {what}", progress
        self.done, self.total = 0, 0

    def update(self, count: int) -> None:
        self.done += count
        total = self.total or None
        self.progress(self.what, min(self.done, total) if total else self.done, total)

    def reset(self, **_: Any) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""
