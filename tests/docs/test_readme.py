"""Every command and every piece of Python in the README runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from droplab.cli import main
from droplab.recipe import load, override
from droplab.train import ExecutionPlan

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def shell_lines():
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def run(arguments, cwd, **kwargs):
    done = subprocess.run(
        arguments,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **kwargs,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_droplab_commands_run_in_this_order(tmp_path, monkeypatch, capsys, keep_plan):
    """In this process, which has torch; tests/e2e starts processes of its own."""
    digits, seeds = load("digits"), list(range(6))
    plan = ExecutionPlan(1, captured=True, group=6 * len(digits.arms))
    for changes in ({}, {"seeds": seeds}, {"seeds": seeds, "epochs": 40}):
        keep_plan(override(digits, changes), plan)
    lines = [line for line in shell_lines() if line.startswith("droplab ")]
    lines.remove("droplab lab")  # serves until Ctrl-C: see tests/e2e/test_lab_process.py
    commands = [shlex.split(line) for line in lines]
    assert len(commands) >= 5
    monkeypatch.chdir(tmp_path)
    for _, *arguments in commands:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        printed, errors = capsys.readouterr()
        assert end.value.code == 0, printed + errors
        assert printed


def test_the_other_commands_do_what_they_say():
    others = [line for line in shell_lines() if not line.startswith("droplab ")]
    assert others == ["pip install -e .", "make demo", "make test"]
    # make test is what runs this test, and has installed it so; -n shows what the two would do
    installed = json.loads(distribution("droplab").read_text("direct_url.json") or "{}")
    assert installed["dir_info"] == {"editable": True}
    assert "droplab demo" in run(["make", "-n", "demo"], ROOT)
    assert "pytest" in run(["make", "-n", "test"], ROOT)


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_runs(number, tmp_path, monkeypatch, capsys, keep_plan):
    digits = override(load("digits"), {"epochs": 20, "seeds": [0, 1, 2, 3, 4, 5]})
    keep_plan(digits, ExecutionPlan(1, captured=True, group=6 * len(digits.arms)))
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[number], {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_python_in_eight_lines():
    code = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(code) <= 8


def test_every_link_leads_somewhere():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", TEXT)
    assert targets
    assert not [target for target in targets if not (ROOT / target).exists()]


def test_its_figures_are_generated():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import update_readme
    finally:
        sys.path.pop(0)
    assert update_readme.filled(TEXT) == TEXT
