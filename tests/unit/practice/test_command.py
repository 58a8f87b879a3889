"""`droplab practice`, called in this process."""

from __future__ import annotations

import json
import re

import pytest
from rich.console import Console

from droplab import practice
from droplab.cli import main
from droplab.cli._practice_session import Session
from droplab.errors import RunError
from droplab.practice import Progress, Result, exercises, find


@pytest.fixture
def command(capsys):
    """Run `droplab practice ARGUMENTS`; return its exit code, output and error output."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["practice", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return stop.value.code, out, err

    return call


@pytest.fixture
def one_runner(runner, monkeypatch):
    """Let every command use the process that is there already."""
    monkeypatch.setattr(practice, "Runner", lambda: runner)
    monkeypatch.setattr("droplab.cli._practice_session.Runner", lambda: runner)
    monkeypatch.setattr(type(runner), "__exit__", lambda *args: None)


def test_without_a_terminal_it_lists_and_says_how_to_go_on(command):
    for arguments in ((), ("--list",)):
        code, out, err = command(*arguments)
        assert (code, err) == (0, "")
        for item in exercises():
            assert re.search(rf"^ *{item.number}  {re.escape(item.title)}", out, re.MULTILINE)
        assert f"0 of {len(exercises())} solved" in out
        assert "droplab practice --show 1" in out


def test_the_list_narrows(command):
    _, out, _ = command("--list", "--topic", "batch-order")
    assert "0 of 2 solved" in out
    _, out, _ = command("--level", 3, "--json")
    document = json.loads(out)
    assert {item["level"] for item in document["exercises"]} == {3}
    assert document["topics"] == list(practice.topics())


def test_show_and_hint(command):
    code, out, _ = command("--show", 2)
    assert code == 0
    assert "nn.Dropout(rate=0.3)" in out
    assert "...  # one of the options goes here" in out
    assert "holds" not in out
    assert json.loads(command("--show", "eval-mode", "--json")[1]) == find(3).to_dict()
    _, out, _ = command("--hint", "thirty-percent")
    assert out.count("Hint: ") == len(find(2).hints)
    document = json.loads(command("--hint", 2, "--json")[1])
    assert document["hints"] == list(find(2).hints)


def test_answer_as_json(command, one_runner, progress_file):
    code, out, err = command("--answer", "2=A", "--answer", "eval-mode=c", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    first, second = document["answers"]
    assert (first["exercise"]["number"], first["answer"], first["correct"]) == (2, ["A"], False)
    assert [item["holds"] for item in first["options"]].count(True) == 1
    states = {item["text"]: item["state"] for item in first["options"]}
    assert states["layer = nn.Dropout(rate=0.3)"] == "raised"
    assert "unexpected keyword argument 'rate'" in first["options"][0]["happened"]
    assert second["correct"] is True
    assert second["printed"].startswith("x: [1.0")
    assert second["undecided"] is None
    assert document["progress"]["solved"] == ["eval-mode"]
    assert document["progress"]["file"] == str(progress_file)
    assert Progress().records["thirty-percent"].answer == "A"
    listed = json.loads(command("--list", "--json")[1])["exercises"]
    assert [item["name"] for item in listed if item["solved"]] == ["eval-mode"]
    assert listed[1]["progress"]["tries"] == 1


def test_answer_in_words(command, one_runner):
    code, out, _ = command("--answer", "2=B")
    assert code == 0
    assert "B: not right. It is E." in out
    assert re.search(r"A  no   TypeError: .* 'rate'", out)
    assert re.search(r"E  yes  30\.\d% of 100 000", out)
    assert "Common mistakes" in out
    code, out, _ = command("--answer", "5=DA")
    assert "A and D: right." in out
    code, out, _ = command("--answer", "3=C")
    assert "The code printed" in out
    assert out.count("Seen: 8 of the 8 numbers") == 1  # the same for all: said once
    assert "1 of 1 solved" in command("--list", "--topic", "on-and-off", "--level", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--answer", "99=A"), "expected a number from 1 to"),
        (("--answer", "evalmode=A"), "did you mean 'eval-mode'?"),
        (("--answer", "3=Z"), "exercise 3: expected an option, A to D, got 'Z'"),
        (("--answer", "3="), "exercise 3: expected an option, A to D, and got none"),
        (("--answer", "3=AB"), "expected one option"),
        (("--answer", "3"), "such as 3=B, got '3'"),
        (("--answer", "=B"), "such as 3=B, got '=B'"),
        (("--answer", "3=C", "--answer", "3=Z", "--json"), "got 'Z'"),
        (("--show", "0"), "got '0'"),
        (("--hint", "x"), "got 'x'"),
        (("--topic", "eval"), "no exercise is about 'eval'"),
        (("--level", "7"), "got 7"),
        (("--level", "x"), "not a valid integer"),
        (("--list", "--show", "3"), "do not go together"),
        (("--show", "3", "--level", "1"), "leave one of them out"),
    ],
)
def test_bad_input(arguments, message, command, progress_file):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not progress_file.exists()


def test_a_damaged_progress_file_is_told_and_the_answer_counts(command, one_runner, progress_file):
    progress_file.parent.mkdir()
    progress_file.write_text("{")
    code, out, err = command("--answer", "3=C", "--json")
    assert code == 0
    assert "warning: " in err
    assert "is damaged" in err
    assert json.loads(out)["progress"]["solved"] == ["eval-mode"]
    assert command("--list", "--json")[2] == ""


def test_an_unwritable_progress_file_is_told_and_the_answer_is_shown(
    command, one_runner, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DROPLAB_PROGRESS", str(tmp_path / "file" / "practice.json"))
    code, out, err = command("--answer", "3=C", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["answers"][0]["correct"] is True
    assert "cannot be kept" in document["progress"]["warning"]
    assert "cannot be kept" in err


def test_an_outcome_without_a_verdict_is_told(command, monkeypatch, make, one_runner):
    hangs = make("good = 1", "good = 2", snippet="while True: pass", seconds=1.0)
    monkeypatch.setattr(practice, "find", lambda key: hangs)
    code, out, _ = command("--answer", "99=A")
    assert code == 0
    assert "A could not be judged: option A: the snippet was stopped: not done after 1 s" in out
    assert not Progress().records


def test_a_machine_that_cannot_run_anything(command, monkeypatch, one_runner, runner):
    def fail(*args):
        raise RunError("practice: no process")

    monkeypatch.setattr(type(runner), "run", fail)
    code, _, err = command("--answer", "3=C")
    assert (code, err) == (2, "error: practice: no process\n")


@pytest.fixture
def visit(monkeypatch, one_runner):
    """Practise with these words typed in; the input ends after them. Return what was shown."""

    def session(chosen, *words):
        typed = iter(words)

        def read(prompt=""):
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr("builtins.input", read)
        console = Console(width=100, force_terminal=True, color_system=None, record=True)
        Session(chosen, console).run()
        return console.export_text()

    return session


def test_a_visit(visit, progress_file):
    chosen = [find("thirty-percent"), find("on-and-off"), find("eval-mode")]
    shown = visit(chosen, "h", "h", "h", "x", "a", "", "s", "C", "", "e", "")
    assert shown.count("Hint: ") == 3
    assert "that was all" in shown
    assert "expected an option, A to E, got 'x'" in shown
    assert "A: not right. It is E." in shown
    assert "Once more what was not right:" in shown
    assert shown.index("C: right.") < shown.index("Once more") < shown.index("E: right.")
    assert "2 of 3 solved" in shown
    assert str(progress_file) in shown
    # next time, what is solved does not come again
    shown = visit(chosen, "q")
    assert "1 of 1" in shown
    assert "The switch" in shown
    assert "2 of 3 solved" in shown


def test_a_visit_with_all_solved_begins_again(visit):
    chosen = [find("eval-mode")]
    visit(chosen, "c", "")
    assert "You have solved all of these." in visit(chosen)


def test_a_visit_warns_once_of_a_progress_file_that_cannot_be_kept(visit, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DROPLAB_PROGRESS", str(tmp_path / "file" / "practice.json"))
    shown = visit([find("eval-mode"), find("extremes")], "c", "", "b", "")
    assert shown.count("cannot be kept") == 1
    assert "2 of 2 solved" in shown


def test_backticks_are_for_files_only(visit, command):
    assert "`" not in visit([find("thirty-percent")], "q")
    assert "`rate`" in command("--hint", 2)[1]


def test_a_result_without_an_answer_has_no_verdict(make):
    result = Result(make("good = 1", "good = 2"), (), (), "", "2", 0.0)
    assert result.correct is None
