"""`droplab check` as a subprocess: exit codes, formats, fixes, settings, bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from droplab.doctor import CODES

BAD = (
    "import torch.nn.functional as F\nfrom torch import nn\n\n\n"
    "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(x, 0.5)\n"
)
GOOD = BAD.replace("0.5", "0.5, training=self.training")


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", "from droplab.cli import main; main()", "check", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(BAD)
    return tmp_path


def test_findings_exit_with_1(folder):
    done = run("net.py", cwd=folder)
    assert done.returncode == 1
    assert "net.py:7:16: DRP001 [untied-functional]" in done.stdout
    assert "return F.dropout(x, 0.5)" in done.stdout
    assert "fix: pass training=self.training  (--fix does it)" in done.stdout
    assert "1 finding in 1 file, 1 of them with a safe fix (--fix)." in done.stdout
    assert done.stderr == ""


def test_a_clean_folder_exits_with_0(folder):
    (folder / "net.py").write_text(GOOD)
    done = run(cwd=folder)
    assert (done.returncode, done.stdout.strip()) == (0, "Nothing found in 1 file.")


def test_fix_then_clean(folder):
    done = run("--fix", cwd=folder)
    assert (done.returncode, done.stdout.strip()) == (0, "1 fixed. Nothing found in 1 file.")
    assert (folder / "net.py").read_text() == GOOD
    assert run("--fix", cwd=folder).stdout.strip() == "Nothing found in 1 file."


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_documents_are_alone_on_stdout(folder, form):
    done = run("--format", form, cwd=folder)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    if form == "json":
        assert [finding["code"] for finding in document["findings"]] == ["DRP001"]
        assert document["files"] == 1
    else:
        assert document["runs"][0]["results"][0]["ruleId"] == "DRP001"


def test_workflow_commands(folder):
    done = run("--format", "github", cwd=folder)
    assert done.stdout.startswith("::error file=net.py,line=7,endLine=7,col=16,title=DRP001::")


def test_selection_and_settings(folder):
    assert run("--select", "DRP002,DRP03", cwd=folder).returncode == 0
    assert run("--ignore", "untied-functional", cwd=folder).returncode == 0
    assert run("--exclude", "net.py", cwd=folder).returncode == 0
    (folder / "pyproject.toml").write_text("[tool.droplab.check]\nignore = ['DRP001']\n")
    assert run(cwd=folder).returncode == 0
    assert run("--select", "DRP001", cwd=folder).returncode == 0


def test_a_model_is_run(folder):
    done = run("net.py:Net", "--example", "16x8", cwd=folder)
    assert done.returncode == 1
    assert "net.py:7:1: DRP004 [active-in-eval]" in done.stdout
    assert "measured: largest difference between two passes" in done.stdout
    (folder / "net.py").write_text(GOOD)
    done = run("net.py:Net", "--example", "16x8", cwd=folder)
    assert (done.returncode, done.stdout.strip()) == (0, "Nothing found in net.py:Net.")


def test_a_model_in_json(folder):
    document = json.loads(
        run("net.py:Net", "--example", "16x8", "--format", "json", cwd=folder).stdout
    )
    assert document["model"] == "net.py:Net"
    assert document["findings"][0]["found_by"] == "running"


def test_syntax_errors_are_findings(folder):
    (folder / "broken.py").write_text("def (\n")
    done = run("broken.py", cwd=folder)
    assert done.returncode == 1
    assert "broken.py:1:5: DRP000 [unreadable] syntax error" in done.stdout


def test_the_list_of_checks(folder):
    done = run("--list", cwd=folder)
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
        (["--nonsense"], "No such option"),
    ],
)
def test_bad_input_exits_with_2(folder, arguments, message):
    (folder / "notes.txt").touch()
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_settings_exit_with_2(folder):
    (folder / "pyproject.toml").write_text("[tool.droplab.check]\nselekt = []\n")
    done = run(cwd=folder)
    assert done.returncode == 2
    assert "did you mean 'select'" in done.stderr
