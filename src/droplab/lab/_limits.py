"""How much a request may ask for, and the error that says no."""

from __future__ import annotations

from droplab.errors import bounded

BODY = 64 * 1024
"""Bytes of a request's body."""

DOCTOR_BODY = 256 * 1024
"""Bytes of a body that carries source to be checked."""

ARMS, SEEDS, EPOCHS = 100, 64, 1000
"""Most of each in one run."""

POINTS = 20_000
"""Most of arms x epochs: the points of one curve chart."""

REPLICA_EPOCHS = 200_000
"""Most of arms x seeds x epochs: the rows of a run."""

PROBLEMS = 3
"""Problems of one request that its answer names."""

QUEUE = 20
"""Runs that may wait."""

STREAMS = 64
"""Event streams that may be open at once."""

LISTED = 500
"""Runs that are listed, the newest of them."""


class Refusal(Exception):
    """A request that is refused: the status of its answer and one sentence for people."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = one_sentence(bounded(message))
        super().__init__(self.message)


def one_sentence(message: str) -> str:
    """Return a message of several lines as one line."""
    return "; ".join(line.strip() for line in message.splitlines() if line.strip())
