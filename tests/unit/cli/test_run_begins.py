"""What `droplab run` prints before anything slow, and how it is told to execute steps."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from droplab.cli import run as run_command
from droplab.cli import sweep as sweep_command
from droplab.errors import RunError
from droplab.studies import Observer
from droplab.train import ExecutionPlan


def test_the_title_comes_before_torch_is_imported():
    """Here, importing it fails."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from droplab.cli import main; main(['run', 'digits', '--seeds', '2'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode
    lines = done.stdout.splitlines()
    assert lines[0] == "Handwritten digits, 8x8: a network that overfits in seconds"
    assert lines[1] == "4 arms x 2 seeds x 60 epochs"
    assert lines[2].startswith("2 seeds are too few for a verdict")


@pytest.fixture
def begun(monkeypatch):
    """Runs that end before they train; returns the options that they were begun with."""
    seen = {}

    def run(recipe, out, *, observer: Observer, **options):
        seen.update(options)
        if options["plan"] is None:
            observer.planning()
        raise RunError("here it ends")

    monkeypatch.setattr("droplab.studies.run", run)
    return seen


def told(*arguments, command=run_command):
    return CliRunner().invoke(command.command, arguments)


def test_a_pipe_gets_one_line_while_steps_are_measured(begun):
    found = told("digits", "--arm", "none")
    assert found.output.splitlines() == [
        "Handwritten digits, 8x8: a network that overfits in seconds",
        "1 arm x 8 seeds x 60 epochs",
        "There is no arm to compare with the baseline.",
        "measuring how to train fastest",
    ]
    assert isinstance(found.exception, RunError)
    assert begun["measure"] is False


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_nothing_is_printed_where_nothing_is_wanted(begun, option):
    assert told("digits", option).output == ""


@pytest.mark.parametrize(
    ("command", "arguments"), [(run_command, []), (sweep_command, ["--rates", "0.5"])]
)
def test_a_plan_may_be_named_or_measured_anew(begun, tmp_path, command, arguments):
    path = tmp_path / "plan.json"
    path.write_text('{"threads": 1, "group": 4}')
    told("digits", *arguments, "--plan", str(path), command=command)
    assert begun["plan"] == ExecutionPlan(1, group=4)
    told("digits", *arguments, "--plan", "measure", command=command)
    assert (begun["plan"], begun["measure"]) == (None, True)


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plan", "nowhere"], "nowhere: expected the folder of a run"),
        (["--plan", "measure", "--resume"], "a run that is resumed keeps its own plan"),
        (["--plan", "measure", "--device", "cpu"], None),
        (["--plan", "plan.json", "--device", "cpu"], "a plan names its device"),
        (["--plan", "plan.json", "--seeds", "1", "--arm", "none"], "and this run has 1"),
    ],
)
def test_what_does_not_go_with_a_plan_is_told(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text('{"threads": 1, "group": 4}')
    found = told("digits", *arguments)
    assert (message or "here it ends") in str(found.exception)
