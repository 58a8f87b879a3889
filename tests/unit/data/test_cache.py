"""The cache: what is handed out was verified, and is written whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from droplab.data import _cache
from droplab.data._cache import cache_folder, obtain
from droplab.data._progress import Progress, silent
from droplab.data._sources import KnownFile, LocalFolder
from droplab.errors import DataError
from tests.forks import fork, needs_forks


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_the_first_source_that_works_fills_the_cache(tiny: Any, given: Any, tmp_path: Path) -> None:
    broken = given({}, label="first", failure="it is closed")
    good, unused = given(dict(tiny.contents), label="second"), given({}, label="third")
    got = obtain("tiny", tiny.files, [broken, good, unused], tmp_path, silent)
    assert {name: array.tobytes() for name, array in got.contents.items()} == tiny.contents
    assert got.source == f"second, now in the cache {tmp_path}"
    assert len(broken.asked) == len(good.asked) == 1
    assert not unused.asked
    assert names(tmp_path) == set(tiny.contents)


def test_a_full_cache_asks_nobody(tiny: Any, given: Any, tmp_path: Path) -> None:
    tiny.write(tmp_path)
    source = given({})
    got = obtain("tiny", tiny.files, [source], tmp_path, silent)
    assert got.source == f"the cache {tmp_path}"
    assert not source.asked
    assert not (tmp_path / ".lock").exists()


def test_a_read_only_full_cache_is_enough(tiny: Any, tmp_path: Path) -> None:
    """Nothing is written when everything is there: not even a lock."""
    folder = tiny.write(tmp_path / "shared")
    before = {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    obtain("tiny", tiny.files, [], folder, silent)
    assert {path.name: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before


@pytest.mark.parametrize("damage", ["truncated", "tampered", "empty", "longer"])
def test_a_damaged_file_is_refused_and_fetched_again(
    tiny: Any, given: Any, tmp_path: Path, damage: str
) -> None:
    tiny.write(tmp_path)
    victim = tiny.files[0].name
    content = bytearray(tiny.contents[victim])
    if damage == "tampered":
        content[100] ^= 1
    damaged = {"truncated": content[:-7], "empty": b"", "longer": content + b"x"}
    (tmp_path / victim).write_bytes(damaged.get(damage, content))
    source = given(dict(tiny.contents))
    got = obtain("tiny", tiny.files, [source], tmp_path, silent)
    assert source.asked == [(victim,)]
    assert got.contents[victim].tobytes() == tiny.contents[victim]
    assert (tmp_path / victim).read_bytes() == tiny.contents[victim]


def test_a_damaged_file_is_never_handed_out(tiny: Any, tmp_path: Path) -> None:
    tiny.write(tmp_path)
    victim = tiny.files[2].name
    (tmp_path / victim).write_bytes(tiny.contents[victim][:-1])
    with pytest.raises(DataError, match=f"{victim} is truncated or changed"):
        obtain("tiny", tiny.files, [], tmp_path, silent)


def test_a_source_that_gives_other_data_is_refused(tiny: Any, given: Any, tmp_path: Path) -> None:
    other = dict(tiny.contents)
    other[tiny.files[1].name] = b"other"
    with pytest.raises(DataError, match=r"liar: .*labels-idx1-ubyte is truncated or changed"):
        obtain("tiny", tiny.files, [given(other, label="liar")], tmp_path, silent)
    assert tiny.files[1].name not in names(tmp_path)


def test_what_a_broken_source_gave_is_kept_if_it_verifies(
    tiny: Any, given: Any, tmp_path: Path
) -> None:
    half = {file.name: tiny.contents[file.name] for file in tiny.files[:2]}
    first = given(half, failure="the line broke")
    second = given(dict(tiny.contents))
    obtain("tiny", tiny.files, [first, second], tmp_path, silent)
    assert second.asked == [tuple(file.name for file in tiny.files[2:])]
    assert names(tmp_path) == set(tiny.contents)


def test_when_all_fail_one_error_lists_every_source(tiny: Any, given: Any, tmp_path: Path) -> None:
    sources = [
        given({}, label="the mirror a", failure="no answer"),
        given({}, label="apt-get download b", failure="there is no apt-get on this machine"),
        given({}, label="silent c"),
    ]
    with pytest.raises(DataError) as caught:
        obtain("tiny", tiny.files, sources, tmp_path, silent)
    said = str(caught.value)
    for part in (
        "expected tiny from one of its sources",
        f"the cache {tmp_path}: its files are not there",
        "the mirror a: no answer",
        "apt-get download b: there is no apt-get on this machine",
        "silent c: its files are not there",
        "Use the data set 'digits'",
        str(tmp_path),
    ):
        assert part in said
    assert names(tmp_path) == set()


def test_what_a_killed_process_left_is_removed(tiny: Any, given: Any, tmp_path: Path) -> None:
    left = tmp_path / ".fetching-old"
    left.mkdir()
    (left / tiny.files[0].name).write_bytes(b"half")
    obtain("tiny", tiny.files, [given(dict(tiny.contents))], tmp_path, silent)
    assert names(tmp_path) == set(tiny.contents)


def test_an_interrupt_leaves_no_half_file(tiny: Any, tmp_path: Path) -> None:
    class Interrupted:
        label = "interrupted"

        def fetch(self, files: Any, into: Path, progress: object) -> None:
            (into / files[0].name).write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain("tiny", tiny.files, [Interrupted()], tmp_path, silent)
    assert names(tmp_path) == set()


def test_an_unwritable_folder_names_the_remedy(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="set DROPLAB_DATA to a folder that you can write to"):
        obtain("tiny", tiny.files, [], tmp_path / "file" / "tiny", silent)


def test_a_full_disk_is_told_as_what_it_is(tiny: Any, tmp_path: Path) -> None:
    class Full:
        label = "a source"

        def fetch(self, files: Any, into: Path, progress: object) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="a source: cannot write what it gave: No space left"):
        obtain("tiny", tiny.files, [Full()], tmp_path, silent)


def test_a_lock_that_is_never_given_back(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cache, "LOCK_SECONDS", 0.01)
    holder = _cache.FileLock(tmp_path / ".lock", thread_local=False)
    with holder, pytest.raises(DataError, match="another process has been fetching tiny"):
        obtain("tiny", tiny.files, [], tmp_path, silent)


def test_the_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DROPLAB_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("DROPLAB_DATA", "~/x")
    assert cache_folder() == Path.home() / "x"
    monkeypatch.delenv("DROPLAB_DATA")
    assert cache_folder().parts[-2:] == ("droplab", "data")


class Slow(LocalFolder):
    """Writes halves first, which another process that did not wait would see, and a log."""

    def __init__(self, origin: Path, log: Path) -> None:
        super().__init__(str(origin))
        self._origin, self._log = origin, log

    def fetch(self, files: Sequence[KnownFile], into: Path, progress: Progress) -> None:
        with self._log.open("a") as log:
            log.write(f"begin {into.name}\n")
        for file in files:
            (into / file.name).write_bytes((self._origin / file.name).read_bytes()[:5])
            time.sleep(0.05)
        super().fetch(files, into, progress)
        with self._log.open("a") as log:
            log.write(f"end {into.name}\n")


def fetch(files: Sequence[KnownFile], folder: Path, origin: Path, log: Path) -> None:
    got = obtain("tiny", files, [Slow(origin, log)], folder, silent)
    assert len(got.contents) == 4


@needs_forks
def test_two_processes_may_fetch_at_once(tiny: Any, tmp_path: Path) -> None:
    """One fetches, the other waits for it and takes what it got."""
    origin, log = tiny.write(tmp_path / "origin"), tmp_path / "log"
    running = [fork(fetch, tiny.files, tmp_path / "cache", origin, log) for _ in range(2)]
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    lines = log.read_text().split()
    assert lines[::2] == ["begin", "end"]
    assert names(tmp_path / "cache") == set(tiny.contents)


@needs_forks
def test_a_process_that_was_killed_while_fetching_does_no_harm(tiny: Any, tmp_path: Path) -> None:
    """kill -9 in the middle; the next one cleans up, fetches and verifies."""
    how = (tiny.files, tmp_path / "cache", tiny.write(tmp_path / "origin"), tmp_path / "log")
    victim = fork(fetch, *how)
    while not list(tmp_path.glob("cache/.fetching-*/*")):
        assert victim.is_alive()
    victim.kill()
    victim.join()
    assert list(tmp_path.glob("cache/.fetching-*"))
    fetch(*how)
    assert names(tmp_path / "cache") == set(tiny.contents)
