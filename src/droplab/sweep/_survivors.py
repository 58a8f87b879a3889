"""What a run comes to whose every replica failed."""

from __future__ import annotations

from droplab.errors import RunError
from droplab.results import RunStore


def check_survivors(store: RunStore, name: str) -> None:
    """Check that the loss of at least one replica stayed finite.

    Args:
        store: The run, after training.
        name: Name of its recipe.

    Raises:
        RunError: If every replica was stopped by a NaN.
    """
    members = store.members()
    if members and all(member.state == "nan" for member in members):
        first = members[0]
        raise RunError(
            f"{name}: no replica could be trained; arm '{first.arm}', seed {first.seed}: "
            f"{first.message}"
        )
