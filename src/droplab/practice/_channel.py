"""What a process that runs a snippet tells while it runs: one JSON object a line."""

from __future__ import annotations

import io
import json
import os
from typing import Any

PRINTED_AT_MOST = 20_000


class Channel:
    """Writes messages to a file descriptor, each at once, so that a crash loses none.

    Args:
        descriptor: Where they go; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def send(self, **message: Any) -> None:
        line = (json.dumps(message) + "\n").encode()
        while line:
            line = line[os.write(self.descriptor, line) :]


class Printed(io.TextIOBase):
    """Stands in for `sys.stdout` and sends what is printed, up to a limit."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left = PRINTED_AT_MOST

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        if self._left > 0 and text:
            self._channel.send(printed=text[: self._left])
            if len(text) > self._left:
                self._channel.send(printed="\n... (it printed more, which is not shown)")
            self._left -= len(text)
        return len(text)
