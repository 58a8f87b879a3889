"""Files are written whole or not at all, and only what droplab made is ever removed."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from droplab.errors import RunError
from droplab.results import RunStore, load, whole_file

CHECKPOINT = "0-none-seed0-epoch1.safetensors"


def write(path, error):
    with whole_file(path) as part:
        part.write_bytes(b"half")
        if error is not None:
            raise error


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    with whole_file(path) as part:
        part.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(path, KeyboardInterrupt())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_sentence(tmp_path, code):
    with pytest.raises(RunError, match="file: the disk is full; free some space"):
        write(tmp_path / "file", OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


def test_other_refusals_say_what_the_system_said(tmp_path):
    with pytest.raises(RunError, match=r"file: cannot be written \(Input/output error\)"):
        write(tmp_path / "file", OSError(errno.EIO, os.strerror(errno.EIO)))


def test_the_file_is_synchronised_before_it_gets_its_name_and_the_folder_after(
    tmp_path, monkeypatch
):
    path, seen = tmp_path / "file", []
    real = os.fsync

    def fsync(handle):
        link = Path(f"/proc/self/fd/{handle}")
        target = str(link.readlink()) if link.is_symlink() else ""
        seen.append((target.removeprefix(str(tmp_path)), path.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_file(path) as part:
        part.write_bytes(b"x")
    assert [existed for _, existed in seen] == [False, True]
    if seen[0][0]:
        assert seen[0][0].endswith("/file")
        assert seen[1][0] == ""


def test_a_removed_folder_is_not_made_again(tmp_path, create, row):
    with pytest.raises(RunError, match="the folder is gone"):
        write(tmp_path / "gone" / "file", None)
    store = create(tmp_path / "run")
    store.commit_epoch(row())
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RunError, match=r"run.sqlite: the file is gone"):
        store.commit_epoch(row(epoch=2))
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_only_what_droplab_made_is_removed_on_resume(tmp_path, create, row):
    with create(tmp_path) as store:
        (store.checkpoints_folder / CHECKPOINT).write_bytes(b"x")
        store.commit_epoch(row(), CHECKPOINT)
    own = [
        "checkpoints/0-none-seed0-epoch2.safetensors",
        "checkpoints/1-input-0.2-seed7-epoch10.safetensors",
        "checkpoints/group0-seed0-16-epoch3.safetensors",
        "checkpoints/0-none-seed0-epoch2.safetensors.part",
        "checkpoints/.droplab-abcd1234/0-none-seed0-epoch2.safetensors",
        "weights/.droplab-abcd_234/0-none-seed0-best.safetensors",
        ".droplab-abcd1234/run.sqlite",
    ]
    others = [
        "checkpoints/notes.txt",
        "checkpoints/best.safetensors",
        "checkpoints/0-none-seed0-epoch2.safetensors.bak",
        "checkpoints/copy of 0-none-seed0-epoch2.safetensors",
        "checkpoints/mine/0-none-seed0-epoch2.safetensors",
        "checkpoints/.droplab-mine/x",
        "weights/mine.part",
        ".droplab-recipes/x.toml",
        "run.sqlite.part",
    ]
    for name in [*own, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_bytes(b"x")
    (tmp_path / "checkpoints" / ".droplab-link1234").symlink_to(elsewhere)
    RunStore.open_for_resume(tmp_path).close()
    assert [name for name in own if (tmp_path / name).exists()] == []
    assert [name for name in others if not (tmp_path / name).exists()] == []
    assert (tmp_path / "checkpoints" / CHECKPOINT).exists()
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("name", ["weights", "checkpoints"])
def test_a_folder_behind_a_link_is_left_alone(tmp_path, create, name):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "0-none-seed0-epoch9.safetensors").write_bytes(b"of another run")
    run = tmp_path / "run"
    create(run).close()
    (run / name).rmdir()
    (run / name).symlink_to(shared)
    with pytest.raises(RunError, match=f"{name}: expected a folder of this run alone"):
        RunStore.open_for_resume(run)
    (run / "run.sqlite").unlink()
    with pytest.raises(RunError, match=f"{name}: expected a folder of this run alone"):
        create(run)
    assert len(list(shared.iterdir())) == 1


def test_a_recipe_of_the_users_is_not_overwritten(tmp_path, create):
    mine = tmp_path / "recipe.toml"
    mine.write_text("# mine\n")
    with pytest.raises(RunError, match=r"recipe.toml: is there already"):
        create(tmp_path)
    assert mine.read_text() == "# mine\n"
    mine.unlink()
    create(tmp_path).close()
    (tmp_path / "run.sqlite").unlink()  # as a driver leaves it that was killed in between
    create(tmp_path).close()
    assert load(tmp_path).rows == ()


def test_a_file_where_a_folder_belongs(tmp_path, create):
    create(tmp_path).close()
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_bytes(b"")
    with pytest.raises(RunError, match="checkpoints: expected a folder that can be written to"):
        RunStore.open_for_resume(tmp_path)
