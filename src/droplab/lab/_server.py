"""Serving the lab: on this machine only, and gone within two seconds when it is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType

import uvicorn

from droplab.errors import RunError
from droplab.lab._app import create_app

LATEST = 1.8
"""Seconds after which the server ends at any price, once it was told to."""

ADDRESS = "127.0.0.1"


def serve(
    runs: Path,
    *,
    port: int = 8765,
    open_browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the lab until it is told to end by Ctrl-C, SIGTERM or a closed terminal.

    Args:
        runs: The folder whose folders are the runs.
        port: Where it listens on 127.0.0.1; 0 for any free port.
        open_browser: Whether to show the page.
        say: Told the address.

    Raises:
        RunError: The port is taken.
    """
    listener = listen(port)
    with listener:
        port = listener.getsockname()[1]
        closing = threading.Event()
        app = create_app(runs, port=port, warm=True, closing=closing)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=32 * 1024,
            http="h11",
        )
        address = f"http://{ADDRESS}:{port}/"
        server = LabServer(config, begin_close=lambda: app.state.begin_close())

        def ready() -> None:
            say(f"droplab lab: {address}")
            say(f"Runs are kept in {runs.absolute()}. Ctrl-C ends the lab.")
            if open_browser:
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        server.ready = ready
        server.run([listener])


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine only.

    Raises:
        RunError: The port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise RunError(
            f"lab: port {port} of {ADDRESS} cannot be used ({error.strerror or error}); another "
            "lab may be open there, or choose one with --port (0: any free one)"
        ) from None
    return listener


class LabServer(uvicorn.Server):
    """A server whose event streams end when it is told to, so that it does.

    Args:
        config: The configuration.
        begin_close: Called once when it is told to end.
    """

    def __init__(self, config: uvicorn.Config, *, begin_close: Callable[[], None]) -> None:
        super().__init__(config)
        self._begin_close = begin_close
        self.ready: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ask everything to end, then wait for it."""
        self._begin_close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGINT, SIGTERM and SIGHUP (unless nohup has it ignored) as the wish to end."""
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        hangup = getattr(signal, "SIGHUP", None)
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN:
            numbers.remove(hangup)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; a second signal, or two seconds, end it at any price."""
        if self.should_exit:
            self.force_exit = True
            return
        self.should_exit = True
        timer = threading.Timer(LATEST, os._exit, args=(1,))
        timer.daemon = True
        timer.start()
