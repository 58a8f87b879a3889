"""`source_patch`: a plan as a diff of the user's own file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch import nn

from droplab.errors import PlacementError
from droplab.importing import is_installed
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
    model: nn.Module | Callable[..., nn.Module],
    rates: Mapping[Any, Any],
    kind: str | Mapping[Any, str] | None = None,
    *,
    keep_names: bool = False,
) -> str:
    """Return the diff that writes dropout into a model's own source as plain torch layers.

    `x = self.fc2(x)` becomes `x = self.fc2(self.fc2_dropout(x))`, and `__init__` gets the line
    `self.fc2_dropout = nn.Dropout(p=0.3)`. Nothing is written.

    Args:
        model: A model, its class, or the function that makes it, defined in a file of yours.
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
    made_by: Any = model
    if not isinstance(made_by, (type, FunctionType)):
        made_by = type(inner(made_by))
    try:
        path = inspect.getsourcefile(made_by)
    except TypeError:
        path = None
    name, where = made_by.__qualname__, f"{made_by.__qualname__} of module {made_by.__module__}"
    if path is None or not Path(path).is_file() or "<locals>" in name:
        raise PlacementError(
            "source_patch: expected a class or function that a file defines at its top, got "
            f"{where}"
        )
    if is_installed(path):
        raise PlacementError(
            f"source_patch: expected a class or function of your own, got {where}, which is "
            "installed here and not yours to change; where you make it in a function or variable "
            "NAME of FILE.py, droplab patch FILE.py:NAME can write the change"
        )
    shown = Path(path)
    if shown.is_relative_to(Path.cwd()):
        shown = shown.relative_to(Path.cwd())
    return patch_file(shown, name, rates, kind, keep_names=keep_names).diff
