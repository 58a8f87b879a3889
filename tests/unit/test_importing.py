"""Finding a user's function or class by its import path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from droplab.errors import ArgumentError
from droplab.importing import import_object


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text("class Net:\n    def make(self): ...\n    size = 3\n")
    (package / "broken.py").write_text("1 / 0\n")
    (package / "needy.py").write_text("import their_missing_thing\n")
    (package / "lazy.py").write_text("raise ModuleNotFoundError('cannot load Bert, see the log')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("their_"):
            del sys.modules[name]


def test_found_in_the_working_directory() -> None:
    net = import_object("their_package.nets:Net", where="here")
    assert net.__name__ == "Net"
    assert import_object("their_package.nets:Net.size", where="here") == 3


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("their_package.nets", "here: expected an import path such as 'my_package.nets:Net'"),
        ("their_package.nets:", "here: expected an import path"),
        ("their_pakcage.nets:Net", "here: no module 'their_pakcage' in the working directory"),
        ("their_package.mets:Net", "here: no module 'their_package.mets' in the working"),
        ("their_package.nets:Nets", "module 'their_package.nets' has no 'Nets'; did you .*'Net'"),
        ("their_package.nets:Net.sise", "has no 'sise'; did you mean 'size'"),
        ("their_package.broken:x", "'their_package.broken' fails on import with ZeroDivision"),
        ("their_package.lazy:x", "fails on import with ModuleNotFoundError: cannot load Bert, see"),
        ("their_package.needy:x", "needs the module 'their_missing_thing', which is missing"),
        ("math:pi.x", "has no 'x'"),
    ],
)
def test_what_goes_wrong_is_told(path: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        import_object(path, where="here")
