"""Files and folders, suppression, settings, fixes on disk."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys

import pytest

from droplab.doctor import Settings, check, check_text
from droplab.doctor._edit import apply, mend
from droplab.doctor._finding import Edit, Finding
from droplab.doctor._settings import load_settings
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


def write(folder, text):
    (folder / "pyproject.toml").write_text(text)


def test_settings_of_pyproject(tmp_path):
    write(
        tmp_path,
        """
        [tool.droplab.check]
        select = ["DRP01"]
        ignore = ["idle-rate"]
        exclude = ["old/*", "gen_*.py"]
        per-file-ignores = { "tests/*" = ["DRP011"] }
        """,
    )
    for name in ("a.py", "old/b.py", "gen_c.py", "tests/d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BAD + "e = nn.Dropout(0)\n" + LSTM)
    (tmp_path / "sub").mkdir()
    settings = load_settings(tmp_path / "sub")
    found = [
        (f.path.rpartition("/")[2], f.code) for f in check([tmp_path], settings=settings).findings
    ]
    assert found == [("a.py", "DRP011"), ("a.py", "DRP015"), ("d.py", "DRP015")]


def test_the_nearest_pyproject_counts_and_none_is_fine(tmp_path):
    write(tmp_path, "[tool.droplab.check]\nselect = ['DRP001']\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert load_settings(inner).select == {"DRP001"}
    write(inner, "[project]\nname = 'x'\n")
    assert len(load_settings(inner).select) > 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.droplab.check]\nselekt = []\n", "did you mean 'select'"),
        ("[tool.droplab.check]\nselect = 'DRP001'\n", "expected a list of strings"),
        ("[tool.droplab.check]\nignore = [1]\n", "expected a list of strings"),
        ("[tool.droplab.check]\nselect = ['DRP999']\n", "expected codes"),
        ("[tool.droplab.check]\nexclude = 3\n", "expected a list of strings"),
        ("[tool.droplab.check]\nper-file-ignores = []\n", "expected a table"),
        ("[tool.droplab.check]\nper-file-ignores = {'a' = ['X']}\n", "expected codes"),
        ("[tool.droplab]\ncheck = 3\n", "expected a table"),
        ("[tool.droplab.check\n", "expected valid TOML"),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(ArgumentError, match=message):
        load_settings(tmp_path)


def test_the_command_line_overrides():
    settings = Settings(select=frozenset({"DRP001"}), ignore=frozenset({"DRP002"}))
    assert settings.override(select=["DRP03"]).select == {f"DRP03{n}" for n in range(1, 7)}
    assert settings.override(ignore=["DRP014"]).ignore == {"DRP002", "DRP014"}


def test_unreadable_files_are_reported_whatever_is_selected():
    assert codes(check_text("x = (", settings=Settings(select=frozenset({"DRP001"})))) == ["DRP000"]
    assert check_text("x = (", settings=Settings(ignore=frozenset({"DRP000"}))) == []


# Fixes


def test_a_fix_keeps_mode_and_link(tmp_path):
    real = tmp_path / "real.py"
    real.write_text(LSTM)
    real.chmod(0o754)
    link = tmp_path / "link.py"
    link.symlink_to(real)
    check([link], fix=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o754
    assert "dropout" not in real.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.py", "real.py"]


def test_a_fix_leaves_everything_else_alone(tmp_path):
    text = (
        "import torch.nn.functional as F\n\n\n"
        "class Net(torch.nn.Module):   # a  comment\n"
        "\tdef forward( self,x ) :\n"
        "\t\treturn F.dropout( x,\t0.5  ,  # half\n\t\t)   # end\n"
    )
    file = tmp_path / "a.py"
    file.write_text("import torch\n" + text)
    report = check([file], fix=True)
    assert codes(report.fixed) == ["DRP001"]
    assert file.read_text() == "import torch\n" + text.replace("0.5", "0.5, training=self.training")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("F.dropout(x)", "F.dropout(x, training=self.training)"),
        ("F.dropout((x))", "F.dropout((x), training=self.training)"),
        ("F.dropout(x, p=(0.5))", "F.dropout(x, p=(0.5), training=self.training)"),
        ("F.dropout(x, 0.5,)", "F.dropout(x, 0.5, training=self.training,)"),
        ("F.dropout(x, 0.5, True)", "F.dropout(x, 0.5, True)"),
        (
            "F.dropout(F.dropout(x))",
            "F.dropout(F.dropout(x, training=self.training), training=self.training)",
        ),
        ("F.dropout(x, self.training)", "F.dropout(x, training=self.training)"),
        ("nn.Dropout(0.5)(x)", "nn.functional.dropout(x, 0.5, training=self.training)"),
        ("nn.Dropout(keep_prob=0.5)", "nn.Dropout(keep_prob=0.5)"),
        ("nn.Dropout(rate=0.5).eval()", "nn.Dropout(p=0.5).eval()"),
    ],
)
def test_fixes_one_by_one(tmp_path, before, after):
    frame = (
        "import torch.nn.functional as F\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return {}\n"
    )
    file = tmp_path / "a.py"
    file.write_text(frame.format(before))
    check([file], fix=True, unsafe_fixes=True)
    assert file.read_text() == frame.format(after)
    written = file.stat().st_mtime_ns
    assert check([file], fix=True, unsafe_fixes=True).fixed == ()
    assert file.stat().st_mtime_ns == written


IMPORTS = (
    "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
    "from torch.utils.checkpoint import checkpoint\n"
)
MODULE = "class Net(nn.Module):\n    def forward(self, x):\n        {}\n        return x\n"


@pytest.mark.parametrize(
    ("line", "unsafe"),
    [
        ("x = F.dropout(x, 0.5)", False),  # eval mode alone is mended
        ("x = F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)", False),
        ("x = nn.Dropout(0.5)(x)", False),
        ("x = nn.LSTM(8, 16, dropout=0.5)(x)[0]", False),  # an argument that does nothing
        ("x = nn.Dropout(rate=0.5).eval()(x)", False),  # it raises
        ("x = F.dropout(torch.relu(x), 0.5, True, True)", False),  # its backward pass raises
        ("x = F.alpha_dropout(x, 0.5)", True),  # from now on it drops
        ("x = F.dropout(x, self.training)", True),
        ("F.dropout(x, 0.5, self.training)", True),
        ("y = F.dropout(x, 0.5, self.training, True)\n        x = x + y", True),
        ("x = checkpoint(F.dropout, x, preserve_rng_state=False)\n        nn.Dropout()", True),
    ],
)
def test_a_fix_that_changes_training_is_unsafe(tmp_path, line, unsafe):
    file = tmp_path / "a.py"
    file.write_text(IMPORTS + MODULE.format(line))
    found = [finding for finding in check([file]).findings if finding.edits]
    assert [finding.unsafe for finding in found] == [unsafe]
    assert [finding.fixable for finding in found] == [not unsafe]
    assert len(check([file], fix=True).fixed) == (not unsafe)
    assert len(check([file], fix=True, unsafe_fixes=True).fixed) == unsafe


def test_a_fix_that_would_not_parse_is_left_out():
    good = Finding("DRP001", "", "", edits=(Edit(0, 1, "y"),))
    bad = Finding("DRP001", "", "", edits=(Edit(4, 5, "("),))
    text, done = mend("x = 1", [bad, good])
    assert (text, done) == ("y = 1", [good])


def test_fixes_that_overlap_wait_for_the_next_round():
    one = Finding("DRP001", "", "", edits=(Edit(0, 3, "abc"),))
    two = Finding("DRP001", "", "", edits=(Edit(2, 5, "xyz"),))
    assert mend("aaaaaa", [one, two]) == ("abcaaa", [one])


def test_edits_are_applied_from_the_end():
    assert apply("abcdef", [Edit(0, 1, "AA"), Edit(3, 4, "")]) == "AAbcef"


def test_findings_of_one_file_refuted_by_another_are_dropped(tmp_path):
    (tmp_path / "base.py").write_text(
        "from torch import nn\nclass Base(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.drop = nn.Dropout(0.5)\n"
        "    def forward(self, x):\n        return x\n"
    )
    assert codes(check([tmp_path]).findings) == ["DRP022"]
    (tmp_path / "child.py").write_text(
        "from torch import nn  # Dropout\nfrom base import Base\nclass Child(Base):\n"
        "    def forward(self, x):\n        return self.drop(x)\n"
    )
    assert check([tmp_path]).findings == ()


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


def test_a_read_only_file_is_not_rewritten(tmp_path, monkeypatch):
    file = tmp_path / "net.py"
    file.write_text(LSTM)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    report = check([file], fix=True)
    assert (codes(report.findings), report.fixed) == (["DRP015"], ())
    assert file.read_text() == LSTM


def test_deep_nesting_is_read():
    chain = "if a == 0:\n    pass\n" + "".join(f"elif a == {n}:\n    pass\n" for n in range(400))
    train = "model.train()\nfor x in data:\n    model(x).sum().backward()\n    model.eval()\n"
    assert codes(check_text(BAD + chain + train)) == ["DRP011", "DRP006"]
