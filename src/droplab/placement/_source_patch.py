"""`source_patch`: a plan as a diff of the user's own file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from droplab.errors import PlacementError
from droplab.placement._walk import inner

if TYPE_CHECKING:
    from droplab.placement._source._patch import SourcePatch


def patch_file(
    path: str | Path,
    class_name: str,
    rates: Mapping[Any, Any],
    kind: str | Mapping[Any, str] | None = None,
    *,
    keep_names: bool = False,
) -> SourcePatch:
    """Return the change that writes dropout into a class in a file; `write()` makes it.

    The file is read, not run.

    Args:
        path: The file.
        class_name: The class, "Outer.Inner" for a nested one.
        rates: Sites, or patterns, to rates, as in `plan`.
        kind: As in `plan`.
        keep_names: Whether a Sequential that gets dropout is written with names, so that
            `state_dict` keys stay.

    Returns:
        The change, with its `diff`, `edits` and `notes`.

    Raises:
        PlacementError: If a change cannot be made there, with file, line and reason.
    """
    from droplab.placement._source._patch import make_patch  # LibCST takes a while to load

    return make_patch(Path(path), class_name, rates, kind, keep_names=keep_names)


def source_patch(
    model: nn.Module | type[nn.Module],
    rates: Mapping[Any, Any],
    kind: str | Mapping[Any, str] | None = None,
    *,
    keep_names: bool = False,
) -> str:
    """Return the diff that writes dropout into a model's own source as plain torch layers.

    `x = self.fc2(x)` becomes `x = self.fc2(self.fc2_dropout(x))`, and `__init__` gets the line
    `self.fc2_dropout = nn.Dropout(p=0.3)`. Nothing is written.

    Args:
        model: A model or its class, defined in a file.
        rates: Sites, or patterns, to rates, as in `plan`.
        kind: As in `plan`.
        keep_names: Whether a Sequential that gets dropout is written with names, so that
            `state_dict` keys stay.

    Returns:
        A unified diff, empty if there is nothing to change.

    Raises:
        PlacementError: If the source cannot be found, or a change cannot be made there, with file,
            line and reason.
    """
    cls = model if isinstance(model, type) else type(inner(model))
    if cls.__module__.partition(".")[0] == "torch":
        raise PlacementError(
            f"source_patch: expected a class of your own, got torch's {cls.__name__}; where you "
            "make it in a function or variable NAME of FILE.py, `droplab patch FILE.py:NAME` can "
            "write the change"
        )
    try:
        path = inspect.getsourcefile(cls)
    except TypeError:
        path = None
    if path is None or not Path(path).is_file() or "<locals>" in cls.__qualname__:
        raise PlacementError(
            f"source_patch: expected a class that a file defines at its top, got "
            f"{cls.__qualname__} of module {cls.__module__}"
        )
    shown = Path(path)
    if shown.is_relative_to(Path.cwd()):
        shown = shown.relative_to(Path.cwd())
    return patch_file(shown, cls.__qualname__, rates, kind, keep_names=keep_names).diff
