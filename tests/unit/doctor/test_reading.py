"""Files and folders, suppression, fixes on disk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from droplab.doctor import Settings, check, check_text
from droplab.errors import ArgumentError

BAD = "from torch import nn\ndrop = nn.Dropout(50)\n"
LSTM = "from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)\n"


def codes(findings):
    return [finding.code for finding in findings]


def test_folders_are_searched_and_the_usual_places_left_out(tmp_path):
    for name in ("a.py", "pkg/b.py", ".git/c.py", "__pycache__/d.py", "venv/e.py", "build/f.py"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(BAD)
    (tmp_path / "notes.txt").write_text(BAD)
    own = tmp_path / "env"
    own.mkdir()
    (own / "pyvenv.cfg").touch()
    (own / "g.py").write_text(BAD)
    found = [finding.path for finding in check([tmp_path]).findings]
    assert found == [str(tmp_path / "a.py"), str(tmp_path / "pkg" / "b.py")]


def test_a_named_folder_is_read_whatever_it_is_called(tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "a.py").write_text(BAD)
    assert codes(check([folder]).findings) == ["DRP011"]
    assert check([tmp_path]).files == 0


def test_a_file_is_read_once(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(BAD)
    assert check([file, tmp_path, str(file)]).files == 1


def test_links_do_not_loop_and_a_dead_link_is_a_finding(tmp_path):
    (tmp_path / "a.py").write_text(BAD)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dead.py").symlink_to(tmp_path / "gone.py")
    assert codes(check([tmp_path]).findings) == ["DRP011", "DRP000"]


def test_an_unreadable_file_is_a_finding(tmp_path, monkeypatch):
    file = tmp_path / "a.py"
    file.write_text(BAD)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "read_bytes", refuse)
    (finding,) = check([file]).findings
    assert (finding.code, finding.message) == ("DRP000", "cannot be opened: Permission denied")


def test_empty_files_and_empty_folders_are_clean(tmp_path):
    assert check([tmp_path]).findings == ()
    (tmp_path / "empty.py").touch()
    report = check([tmp_path])
    assert (report.findings, report.files) == ((), 1)


@pytest.mark.parametrize("name", ["gone", "gone.py", "a.txt", "noext"])
def test_bad_paths_are_refused(tmp_path, name):
    (tmp_path / "a.txt").touch()
    (tmp_path / "noext").touch()
    with pytest.raises(ArgumentError, match=name):
        check([tmp_path / name])


def test_a_device_is_refused():
    with pytest.raises(ArgumentError, match="got something else"):
        check(["/dev/null"])


# Suppression


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# droplab: ignore", True),
        ("# droplab: ignore[DRP011]", True),
        ("# droplab: ignore[DRP001, DRP011]", True),
        ("# droplab: ignore[impossible-rate]", True),
        ("# droplab: ignore[DRP01]", True),
        ("#droplab:ignore[drp011]", True),
        ("# noqa  # droplab: ignore[DRP011] it is a test", True),
        ("# droplab: ignore[DRP001]", False),
        ("# droplab: ignore[]", False),
        ("# droplab: ignore[DRP999]", False),
        ("# droplab ignore", False),
        ("# ignore", False),
    ],
)
def test_comments_silence_their_line(comment, silent):
    text = f"from torch import nn\ndrop = nn.Dropout(50)  {comment}\nother = nn.Dropout(70)\n"
    assert [finding.line for finding in check_text(text)] == ([3] if silent else [2, 3])


def test_the_comment_may_stand_in_the_last_line_of_a_call():
    text = "from torch import nn\nd = nn.Dropout(\n    50\n    + 0  # droplab: ignore\n)\n"
    assert check_text(text) == []
    text = "from torch import nn\nnet = nn.Sequential(nn.SELU(), nn.Dropout(\n    0.5,\n))"
    assert codes(check_text(text)) == ["DRP035"]
    assert check_text(text + "  # droplab: ignore[DRP035]\n") == []


def test_a_string_is_no_comment():
    text = 'from torch import nn\nd = nn.Dropout(50), "# droplab: ignore"\n'
    assert codes(check_text(text)) == ["DRP011"]


def test_a_whole_file_can_be_silenced():
    assert check_text("# droplab: ignore-file\n" + BAD) == []
    assert check_text("# droplab: ignore-file[DRP011]\n" + BAD + LSTM) != []
    assert codes(check_text(BAD + LSTM + "# droplab: ignore-file[DRP015]\n")) == ["DRP011"]


# Settings


def test_unreadable_files_are_reported_whatever_is_selected():
    assert codes(check_text("x = (", settings=Settings(select=frozenset({"DRP001"})))) == ["DRP000"]
    assert check_text("x = (", settings=Settings(ignore=frozenset({"DRP000"}))) == []


# Many files


def test_several_processes_find_the_same_in_the_same_order(tmp_path):
    for at in range(230):
        text = BAD if at % 3 else LSTM if at % 2 else "x = ("
        (tmp_path / f"f{at:03}.py").write_text(text)
    alone, shared = check([tmp_path]), check([tmp_path], jobs=2)
    assert (shared.findings, shared.files) == (alone.findings, 230)
    assert len(check([tmp_path], jobs=2, fix=True).fixed) == codes(alone.findings).count("DRP015")
    assert codes(check([tmp_path]).findings).count("DRP015") == 0


def test_at_least_one_process_is_needed(tmp_path):
    with pytest.raises(ArgumentError, match="jobs must be at least 1"):
        check([tmp_path], jobs=0)


def test_reading_imports_neither_torch_nor_the_code(tmp_path):
    """Static checks start fast and run nothing of what they read."""
    file = tmp_path / "a.py"
    file.write_text("raise SystemExit('it was run')\n" + BAD)
    code = (
        "import sys; from droplab.doctor import check; r = check([sys.argv[1]]);"
        "assert [f.code for f in r.findings] == ['DRP011'];"
        "assert 'torch' not in sys.modules, 'torch'; assert 'numpy' not in sys.modules, 'numpy'"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# noqa", True),
        ("# NOQA", True),
        ("# noqa: DRP011", True),
        ("# noqa:E501,DRP011", True),
        ("# noqa: E501 DRP011 for a test", True),
        ("# type: ignore  # noqa: DRP011", True),
        ("# noqa: E501", False),
        ("# noqa: DRP001", False),
        ("# noqality", False),
    ],
)
def test_noqa_is_understood(comment, silent):
    text = f"from torch import nn\ndrop = nn.Dropout(50)  {comment}\nother = nn.Dropout(70)\n"
    assert [finding.line for finding in check_text(text)] == ([3] if silent else [2, 3])


def test_what_would_be_waited_for_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.py"))
        (tmp_path / "link.py").symlink_to("pipe.py")
        assert check([tmp_path]).files == 0
        for name in ("pipe.py", "socket.py", "link.py"):
            with pytest.raises(ArgumentError, match="got something else"):
                check([tmp_path / name])


def test_deep_nesting_is_read():
    chain = "if a == 0:\n    pass\n" + "".join(f"elif a == {n}:\n    pass\n" for n in range(400))
    train = "model.train()\nfor x in data:\n    model(x).sum().backward()\n    model.eval()\n"
    both = Settings(select=frozenset({"DRP006", "DRP011"}))
    assert codes(check_text(BAD + chain + train, settings=both)) == ["DRP011", "DRP006"]
