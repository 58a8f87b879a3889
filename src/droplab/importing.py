"""Finding a user's function or class by its import path, "package.module:name"."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from droplab.errors import ArgumentError, BackendError, nearest, quote

_LIBRARIES = tuple(
    f"{place}{os.sep}"
    for kind in ("stdlib", "platstdlib")
    for place in (Path(sysconfig.get_path(kind)), Path(sysconfig.get_path(kind)).resolve())
)
"""Where Python's own modules lie."""


@cache
def is_installed(file: str) -> bool:
    """Whether a file is a part of Python or of an installed package, and nobody's own work.

    Example:
        >>> is_installed(importlib.__file__), is_installed("/home/me/nets.py")
        (True, False)
    """
    packages = {"site-packages", "dist-packages"}
    return not packages.isdisjoint(Path(file).parts) or file.startswith(_LIBRARIES)


def import_object(path: str, *, where: str) -> Any:
    """Return what `path` names, with the working directory on the import path.

    The working directory is put first and stays there, as it does for `python -m`: a user's module
    may import its neighbours later on.

    Args:
        path: "package.module:name", or "package.module:Class.name".
        where: What error messages begin with, e.g. "model.path".

    Raises:
        ArgumentError: If there is no colon, no such module, no such name in it, or the module
            itself fails on import.

    Example:
        >>> import_object("math:pi", where="here")
        3.14...
        >>> import_object("math:pii", where="model.path")
        Traceback (most recent call last):
        droplab.errors.ArgumentError: model.path: module 'math' has no 'pii'; did you mean 'pi'?
    """
    name, colon, attributes = path.partition(":")
    if not colon or not attributes:
        raise ArgumentError(
            f"{where}: expected an import path such as 'my_package.nets:Net', got '{path}'"
        )
    found: Any = _import_module(name, where=where)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            names = [key for key in vars(found) if not key.startswith("_")] if _open(found) else []
            what = f"module '{name}'" if isinstance(found, ModuleType) else f"'{quote(found)}'"
            hint = nearest(attribute, names) if len(names) < 500 else ""
            raise ArgumentError(f"{where}: {what} has no '{attribute}'{_short(hint)}") from None
    return found


def optional(*names: str, install: str) -> Any:
    """Return the first of some modules that is there, of a package that not everybody has.

    Args:
        names: Modules, in the order in which they are looked for.
        install: What to install if none is there, as pip is told.

    Raises:
        BackendError: If none is there.

    Example:
        >>> optional("no_such_thing", "math", install="no-such-thing").pi
        3.14...
        >>> optional("no_such_thing", install="no-such-thing")
        Traceback (most recent call last):
        droplab.errors.BackendError: expected no_such_thing ...; run: pip install 'no-such-thing'
    """
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not error.name or not (name == error.name or name.startswith(f"{error.name}.")):
                raise  # it is there, and lacks something itself
    raise BackendError(
        f"expected {' or '.join(names)} to be installed, which this needs, got none; run: "
        f"pip install '{install}'"
    )


def _import_module(name: str, *, where: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ArgumentError(
                f"{where}: no module '{error.name}' in the working directory ({here}) or among "
                "the installed packages; run in the folder that holds it, or install it"
            ) from None
        if error.name:
            raise ArgumentError(
                f"{where}: module '{name}' needs the module '{error.name}', which is missing; "
                "install it"
            ) from error
        raise _fails(error, name, where) from error  # of a package that loads itself by parts
    except Exception as error:
        raise _fails(error, name, where) from error


def _fails(error: Exception, name: str, where: str) -> ArgumentError:
    return ArgumentError(
        f"{where}: module '{name}' fails on import with {type(error).__name__}: {error}"
    )


def _open(found: Any) -> bool:
    return hasattr(found, "__dict__")


def _short(hint: str) -> str:
    """Drop a list of names that is too long to help."""
    return hint if len(hint) <= 200 else ""
