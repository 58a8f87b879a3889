"""`droplab check` from the outside: exit codes, formats, fixes, settings, bad input."""

from __future__ import annotations

import json
import sys

import pytest

from droplab.doctor import CODES

BAD = (
    "import torch.nn.functional as F\nfrom torch import nn\n\n\n"
    "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(x, 0.5)\n"
)
GOOD = BAD.replace("0.5", "0.5, training=self.training")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(BAD)
    return tmp_path


@pytest.fixture
def run(folder, command):
    """Check in this process; two tests start one of their own."""
    return lambda *arguments: command("check", *arguments, check=False)


@pytest.mark.usefixtures("folder")
def test_findings_exit_with_1(droplab):
    done = droplab("check", "net.py", check=False)
    assert done.returncode == 1
    assert "net.py:7:16: DRP001 [untied-functional]" in done.stdout
    assert "return F.dropout(x, 0.5)" in done.stdout
    assert "fix: pass training=self.training  (--fix does it)" in done.stdout
    assert "1 finding in 1 file, 1 of them with a safe fix (--fix)." in done.stdout
    assert done.stderr == ""


def test_a_clean_folder_exits_with_0(run, folder):
    (folder / "net.py").write_text(GOOD)
    done = run()
    assert (done.returncode, done.stdout.strip()) == (0, "Nothing found in 1 file.")
    assert done.stderr.startswith("Not looked for: DRP007, DRP041, ")
    assert "of DRP006, DRP008 all that is not proven" in done.stderr
    assert run("--select", "ALL").stderr == ""


def test_fix_then_clean(run, folder):
    done = run("--fix")
    assert (done.returncode, done.stdout.strip()) == (0, "1 fixed. Nothing found in 1 file.")
    assert (folder / "net.py").read_text() == GOOD
    assert run("--fix").stdout.strip() == "Nothing found in 1 file."


UNSAFE = BAD.replace("x, 0.5", "x, self.training")


def test_unsafe_fixes_are_counted_and_left_until_asked_for(run, folder):
    (folder / "net.py").write_text(UNSAFE)
    (folder / "rnn.py").write_text("from torch import nn\nrnn = nn.LSTM(8, 8, dropout=0.5)\n")
    done = run()
    assert "fix: pass it by name: training=  (--fix --unsafe-fixes does it)" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "2 findings in 2 files, 1 of them with a safe fix (--fix), "
        "1 of them with an unsafe fix (--fix --unsafe-fixes)."
    )
    done = run("--fix")
    assert done.stdout.splitlines()[-1] == (
        "1 fixed. 1 finding in 2 files, 1 of them with an unsafe fix (--fix --unsafe-fixes)."
    )
    assert (folder / "net.py").read_text() == UNSAFE
    done = run("--fix", "--unsafe-fixes")
    assert done.stdout.splitlines() == ["1 fixed. Nothing found in 2 files."]
    assert "training=self.training" in (folder / "net.py").read_text()


def test_results_are_kept_at_the_project_unless_refused(run, folder):
    (folder / "pyproject.toml").touch()
    (folder / "src").mkdir()
    (folder / "net.py").rename(folder / "src" / "net.py")
    assert run("--no-cache", "src").returncode == 1
    assert not (folder / ".droplab_cache").exists()
    first = run("src").stdout
    assert (folder / ".droplab_cache" / "check.json").is_file()
    assert run("src").stdout == first
    (folder / "src" / "net.py").write_text(GOOD)
    assert run("src").returncode == 0


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_documents_are_alone_on_stdout(run, form):
    done = run("--format", form)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    if form == "json":
        assert [finding["code"] for finding in document["findings"]] == ["DRP001"]
        assert document["files"] == 1
    else:
        assert document["runs"][0]["results"][0]["ruleId"] == "DRP001"


def test_workflow_commands(run):
    done = run("--format", "github")
    assert done.stdout.startswith("::error file=net.py,line=7,endLine=7,col=16,title=DRP001::")


def test_selection_and_settings(run, folder):
    assert run("--select", "DRP002,DRP03").returncode == 0
    assert run("--ignore", "untied-functional").returncode == 0
    assert run("--exclude", "net.py").returncode == 0
    (folder / "pyproject.toml").write_text("[tool.droplab.check]\nignore = ['DRP001']\n")
    assert run().returncode == 0
    assert run("--select", "DRP001").returncode == 0


def test_a_model_is_run(run, folder):
    done = run("net.py:Net", "--example", "16x8")
    assert done.returncode == 1
    assert "net.py:7:1: DRP004 [active-in-eval]" in done.stdout
    assert "measured: largest difference between two passes" in done.stdout
    (folder / "net.py").write_text(GOOD)
    done = run("net.py:Net", "--example", "16x8")
    assert (done.returncode, done.stdout.strip()) == (0, "Nothing found in net.py:Net.")


@pytest.mark.usefixtures("folder")
def test_a_model_in_json(droplab):
    arguments = ("net.py:Net", "--example", "16x8", "--format", "json")
    document = json.loads(droplab("check", *arguments, check=False).stdout)
    assert document["model"] == "net.py:Net"
    assert document["findings"][0]["found_by"] == "running"


def test_syntax_errors_are_findings(run, folder):
    (folder / "broken.py").write_text("def (\n")
    done = run("broken.py")
    assert done.returncode == 1
    assert "broken.py:1:5: DRP000 [unreadable] syntax error" in done.stdout


def test_the_list_of_checks(run):
    done = run("--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CODES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.py"], "no such file or folder"),
        (["notes.txt"], "expected a folder, a .py file or a notebook"),
        (["--select", "DRP999"], "expected codes"),
        (["--ignore", "nope"], "expected codes"),
        (["--format", "xml"], "is not one of"),
        (["net.py:Net"], "expected --example"),
        (["--example", "4x8"], "expected exactly one model"),
        (["net.py", "--example", "4x8"], "expected exactly one model"),
        (["net.py:Net", "net.py:Net", "--example", "4x8"], "expected exactly one model"),
        (["net.py:Net", "--example", "4xx8"], "expected a shape"),
        (["net.py:Nett", "--example", "4x8"], "did you mean 'Net'"),
        (["gone.py:Net", "--example", "4x8"], "gone.py: expected a Python file, found none there"),
        (["net.py:Net", "--example", "4x8", "--fix"], "expected files to mend"),
        (["net.py:Net", "--example", "4x8", "--arguments", "{"], "expected a JSON object"),
        (["--unsafe-fixes"], "expected --fix beside it"),
        (["--nonsense"], "No such option"),
    ],
)
def test_bad_input_exits_with_2(run, folder, arguments, message):
    (folder / "notes.txt").touch()
    done = run(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_settings_exit_with_2(run, folder):
    (folder / "pyproject.toml").write_text("[tool.droplab.check]\nselekt = []\n")
    done = run()
    assert done.returncode == 2
    assert "did you mean 'select'" in done.stderr


def test_a_language_server_needs_pygls(run, monkeypatch):
    for name in ("pygls", "lsprotocol"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "droplab.doctor.server", raising=False)
    done = run("--lsp")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'droplab[lsp]'" in done.stderr


NOTE = "from torch import nn\ndrop = nn.Dropout(0.0)\n"


def test_notes_do_not_fail_unless_asked(run, folder):
    (folder / "net.py").write_text(NOTE)
    done = run()
    assert (done.returncode, "DRP014" in done.stdout) == (0, True)
    assert run("--fail-on", "note").returncode == 1
    (folder / "net.py").write_text(BAD)
    assert run("--fail-on", "error").returncode == 1


def test_a_baseline_leaves_only_what_is_new(run, folder):
    assert run("--baseline", "base.json", "--update-baseline").returncode == 0
    (folder / "net.py").write_text("# one line more\n" + BAD)
    assert run("--baseline", "base.json").returncode == 0
    (folder / "net.py").write_text(BAD + "\n    def again(self, x):\n        return F.dropout(x)\n")
    done = run("--baseline", "base.json")
    assert (done.returncode, done.stdout.count("DRP001")) == (1, 1)
    # The same line a second time is new as well.
    (folder / "net.py").write_text(BAD + BAD.partition("\n\n\n")[2])
    assert run("--baseline", "base.json").stdout.count("DRP001") == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1, "findings": [3]}'])
def test_a_bad_baseline_is_refused(run, folder, text):
    assert run("--update-baseline").returncode == 2
    assert run("--baseline", "gone.json").returncode == 2
    (folder / "base.json").write_text(text)
    done = run("--baseline", "base.json")
    assert done.returncode == 2
    assert "expected a baseline" in done.stderr


def test_a_check_is_explained(run):
    done = run("--explain", "eval-not-undone")
    assert done.returncode == 0
    assert done.stdout.startswith("# DRP006 eval-not-undone")
    assert run("--explain", "DRP999").returncode == 2


def test_text_from_stdin_has_the_name_that_is_given(droplab):
    done = droplab("check", "--stdin-filename", "src/net.py", check=False, input=BAD)
    dashed = droplab("check", "--stdin-filename", "src/net.py", "-", check=False, input=BAD)
    assert (dashed.stdout, dashed.returncode) == (done.stdout, done.returncode)
    assert (done.returncode, done.stdout.partition(" ")[0]) == (1, "src/net.py:7:16:")
