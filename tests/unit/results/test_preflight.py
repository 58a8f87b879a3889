from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from droplab.errors import RunError
from droplab.results import RunStore, _preflight, check_place, environment, preflight


def test_a_good_folder_is_made_and_left_empty(tmp_path):
    folder = preflight(tmp_path / "a" / "b", needed_bytes=10)
    assert folder == tmp_path / "a" / "b"
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_one_error_before_training(tmp_path):
    with pytest.raises(RunError, match=r"needs about .* TB, the disk has .* free"):
        preflight(tmp_path, needed_bytes=10**18)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"cannot be written to .*choose another"):
            preflight(folder)


def test_an_unwritable_folder_is_one_error(open_place, unprivileged):
    open_place.chmod(0o555)
    with unprivileged():
        with pytest.raises(RunError, match=r"cannot be written to"):
            preflight(open_place / "run")
        with pytest.raises(RunError, match=r"cannot be written to"):
            RunStore.create(open_place / "run", "", "d", {}, [("none", 0)])
        with pytest.raises(RunError, match=r"cannot be written to"):
            preflight(open_place)


def test_a_place_is_looked_at_and_left_as_it_was(tmp_path, monkeypatch, create):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    check_place("~/mine")
    check_place(tmp_path / "new" / "run")
    assert not (tmp_path / "new" / "run").exists()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    create(tmp_path / "run").close()
    with pytest.raises(RunError, match="already holds a run"):
        check_place("~/run")


def test_a_place_that_cannot_be_looked_at_is_one_error(open_place, unprivileged):
    open_place.chmod(0o000)
    with unprivileged(), pytest.raises(RunError, match=r"cannot be written to"):
        check_place(open_place / "run")
    open_place.chmod(0o755)


def test_an_unwritable_run_is_not_resumed(open_place, create, unprivileged):
    create(open_place / "run").close()
    for path in (open_place / "run", *(open_place / "run").iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unprivileged(), pytest.raises(RunError, match=r"cannot be (locked|written)"):
        RunStore.open_for_resume(open_place / "run")


def test_network_file_systems_are_refused(tmp_path, monkeypatch):
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(tmp_path.resolve()), fstype="NFS4"),
    ]
    monkeypatch.setattr(_preflight.psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(RunError, match=r"network file system \(nfs4\)"):
        preflight(tmp_path / "run")


def test_environment_is_json_and_needs_no_torch():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"]
    assert found["cpu"]
    assert found["memory_bytes"] > 10**8
    code = (
        "import sys; from droplab.results import environment, load, RunStore; environment();"
        "assert not {'torch', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
