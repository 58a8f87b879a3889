"""What goes wrong in a snippet is an outcome that the reader is told, never an error."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from droplab import child
from droplab.errors import RunError
from droplab.practice import Runner

HANG = "import time\nwhile True:\n    time.sleep(0.01)"
LOOP = "while True:\n    pass"
LONG_SLEEP = "import time; time.sleep(1000)"
EXIT = "import os\nos._exit(3)"
SEGFAULT = "import ctypes\nctypes.string_at(0)"


def output_of(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


def happened(result):
    return [(item.holds, item.state) for item in result.outcomes]


def test_one_bad_option_leaves_the_others_alone(make, runner):
    exercise = make("good = 1", HANG, SEGFAULT, EXIT, "good = 1 / 0", "good = 2", seconds=2.0)
    result = runner.run(exercise, "a")
    assert happened(result) == [
        (True, "ran"),
        (False, "hung"),
        (False, "crashed"),
        (False, "crashed"),
        (False, "raised"),
        (False, "ran"),
    ]
    told = [item.happened for item in result.outcomes]
    assert told == [
        "seen",
        "it was stopped: not done after 2 s",
        "it crashed the process (SIGSEGV)",
        "it ended the process (exit status 3)",
        "ZeroDivisionError: division by zero",
        "seen",
    ]
    assert result.correct is True


def test_without_fork_it_is_the_same(make, runner, light):
    exercise = make("good = 1", HANG, EXIT, "print('hello')\ngood = missing", seconds=2.0)
    forked, alone = (one.run(exercise).outcomes for one in (runner, Runner(fork=False)))
    assert forked == alone
    assert forked[3].printed == "hello\n"


def test_without_fork_torch_is_the_same(make, runner):
    exercise = make("good = 1", "good = float(x)", snippet="import torch\nx = torch.rand(())")
    forked, alone = (one.run(exercise) for one in (runner, Runner(fork=False)))
    assert (forked.outcomes, forked.torch) == (alone.outcomes, alone.torch)


@pytest.mark.parametrize(
    ("snippet", "told"),
    [
        (LOOP, "the snippet was stopped: not done after 1 s"),
        (LONG_SLEEP, "the snippet was stopped: not done after 1 s"),
        (SEGFAULT, "the snippet crashed the process (SIGSEGV)"),
        (EXIT, "the snippet ended the process (exit status 3)"),
        ("import sys\nsys.exit('enough')", "the snippet: SystemExit: enough"),
        ("x = 1 +", "the snippet: SyntaxError: invalid syntax (<snippet>, line 1)"),
        ("raise KeyboardInterrupt", "the snippet: KeyboardInterrupt"),
        ("input()", "the snippet: EOFError: EOF when reading a line"),
        ("import no_such_module", "the snippet: ModuleNotFoundError: No module named"),
    ],
)
def test_a_snippet_that_fails_gives_no_verdict_and_says_why(make, runner, snippet, told):
    exercise = make("good = 1", "good = 2", snippet=snippet, seconds=1.0)
    result = runner.run(exercise, "A")
    assert [item.holds for item in result.outcomes] == [None, None]
    assert result.undecided.startswith(f"option A: {told}")
    assert (result.right, result.correct) == ((), None)


def test_a_check_that_hangs_or_fails_confirms_nothing(make, runner):
    exercise = make(
        ("it holds", "True"),
        ("it hangs", HANG),
        ("it fails", "missing"),
        ("it says nothing", "1"),
        ("it shows what is not there", "True", "{missing}"),
        seconds=1.0,
    )
    result = runner.run(exercise, "A")
    assert happened(result) == [
        (True, "ran"),
        (None, "hung"),
        (None, "raised"),
        (None, "raised"),
        (None, "raised"),
    ]
    told = [item.happened for item in result.outcomes]
    assert told[1] == "the check was stopped: not done after 1 s"
    assert told[2] == "the check: NameError: name 'missing' is not defined"
    assert "must end in True or False, not in 1" in told[3]
    assert "name 'missing'" in told[4]
    assert result.correct is None


def test_an_error_in_what_follows_an_option_is_the_options_own(make, runner):
    exercise = make("good = 1", "good = '1'", then="good = good + 0")
    result = runner.run(exercise)
    assert happened(result) == [(True, "ran"), (False, "raised")]


def test_several_or_no_right_options_are_told(make, runner):
    both = make("good = 1", "good = 1")
    assert runner.run(both, "A").undecided == "options A and B both held on this machine"
    several = make("good = 1", "good = 1", "good = 0", several=True)
    assert runner.run(several, "ba").correct is True
    assert runner.run(several, "a").correct is False
    neither = make("good = 0", "good = 2")
    assert runner.run(neither, "A").undecided == "none of the options held on this machine"


def test_memory_is_limited(make, runner):
    eats = make("good = len(bytearray(3 << 30)) and 1", "good = 1")
    result = runner.run(eats)
    assert happened(result) == [(False, "raised"), (True, "ran")]
    assert result.outcomes[0].happened == "MemoryError"


def test_what_is_printed_is_kept_up_to_a_limit(make, runner):
    exercise = make(
        "good = 1\nprint('from the option')",
        "import sys\nprint('to the other stream', file=sys.stderr)\ngood = 0",
        "while True:\n    print('x' * 100)",
        "import os\nprint('before the end')\nos._exit(0)",
        "import warnings\nwarnings.warn('careful')\ngood = 0",
        snippet="print('from the snippet')",
        seconds=1.0,
    )
    result = runner.run(exercise)
    printed = [item.printed for item in result.outcomes]
    assert result.printed == "from the snippet\n"
    assert printed[:2] == ["from the option\n", "to the other stream\n"]
    assert len(printed[2]) < 21_000
    assert printed[2].endswith("(it printed more, which is not shown)")
    assert printed[3:] == ["before the end\n", "UserWarning: careful\n"]
    assert result.outcomes[2].state == "hung"
    assert result.right == ("A",)


def test_options_see_the_snippet_and_not_each_other(make, runner):
    exercise = make(
        "box.append(1)\ngood = len(box)",
        "box.append(1)\nbox.append(2)\ngood = len(box)",
        snippet="box = []",
    )
    assert runner.run(exercise).right == ("A",)


def test_every_run_starts_from_the_same_seed(make, runner):
    exercise = make(
        ("seeded", "torch.equal(x, torch.randn(3, generator=own))"),
        ("not seeded", "not torch.equal(x, torch.randn(3, generator=own))"),
        snippet="import torch\nx = torch.randn(3)\nown = torch.Generator().manual_seed(0)",
    )
    assert [runner.run(exercise).right for _ in range(2)] == [("A",), ("A",)]


def test_threads_take_turns(make, runner):
    """Eight threads at once, and each gets the answer to its own question."""
    exercises = [make(f"good = {index % 2}", f"good = {1 - index % 2}") for index in range(8)]
    together = threading.Barrier(8)

    def work(exercise):
        together.wait()
        return [runner.run(exercise).right for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, exercises))
    assert found == [[("B",)] * 3, [("A",)] * 3] * 4


def test_a_process_that_cannot_start_is_an_error(make, monkeypatch):
    monkeypatch.setattr(child, "INTERPRETER", ["/bin/sh", "-c", "echo no torch here >&2; exit 1"])
    for fork in (True, False):
        with Runner(fork=fork) as runner, pytest.raises(RunError, match=r"ended.*no torch here"):
            runner.run(make("good = 1", "good = 2"))


def test_a_process_that_was_killed_is_started_again(make, light):
    exercise = make("good = 1", "good = 2")
    with Runner() as runner:
        runner.warm(exercise)
        runner._warm.kill()
        runner._warm._process.wait()
        assert runner.run(exercise).right == ("A",)


FORKS = """
import os, time
pid = os.fork()
if pid == 0:
    {child}
with open({file!r}, "w") as told:
    told.write(str(pid))
good = 1
"""


def ended_soon(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.wait_procs([psutil.Process(pid)], timeout=60)[1] == []
    return True


def test_the_time_limit_needs_no_help_from_python(make, runner):
    exercise = make(
        # the first hangs in C, where no Python code runs
        "import re\nre.match(r'(a+)+b', 'a' * 40)",
        "import signal\nsignal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))\n" + HANG,
        "good = 1",
        seconds=1.0,
    )
    result = runner.run(exercise)
    assert happened(result) == [(False, "hung"), (False, "hung"), (True, "ran")]


def test_what_nobody_ends_is_ended_by_the_system(light):
    """As after the death of whoever should; SIGALRM needs no help from Python."""
    code = "from droplab.practice import _worker as w; w._ORPHANED = 1; w.main()"
    check = {"option": LOOP, "then": "", "check": "True", "saw": ""}
    job = {"snippet": "", "seconds": 0.0, "fork": True, "options": [check]}  # 0: it ends nothing
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(job), capture_output=True, text=True
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"option": 0, "status": -signal.SIGALRM} in told or {"status": -signal.SIGALRM} in told


@pytest.mark.parametrize(
    ("snippet", "option"),
    [(LOOP, "good = 1"), ("", HANG), ("", FORKS.format(child=LONG_SLEEP, file=os.devnull))],
)
def test_what_is_ended_costs_the_next_answer_nothing(make, runner, snippet, option):
    runner.run(make("good = 1", "good = 2"))
    process = runner._warm.pid
    runner.run(make("good = 2", option, snippet=snippet, seconds=0.5))
    assert runner.run(make("good = 2", "good = 1")).right == ("B",)
    assert runner._warm.pid == process


def test_what_an_option_has_started_ends_with_the_answer(make, runner, tmp_path):
    file = str(tmp_path / "pid")
    loops = FORKS.format(child="while True: pass", file=file)
    assert happened(runner.run(make(loops, "good = 2"))) == [(True, "ran"), (False, "ran")]
    assert ended_soon(int((tmp_path / "pid").read_text()))
    assert runner.run(make("good = 2", "good = 1")).right == ("B",)


def test_an_option_that_forks_is_judged_once(make, runner):
    exercise = make("import os\nprint('a')\nos.fork()\ngood = 1", "good = 2")
    outcome = runner.run(exercise).outcomes[0]
    assert (outcome.holds, outcome.happened, outcome.printed) == (True, "seen", "a\n")


def test_what_leaves_its_group_and_keeps_the_output_open_is_not_waited_for(make, runner, tmp_path):
    file = str(tmp_path / "pid")
    stays = FORKS.format(child="os.setsid(), time.sleep(1000)", file=file) + HANG
    result = runner.run(make(stays, "good = 1", seconds=2.0))
    assert happened(result) == [(False, "hung"), (True, "ran")]
    assert runner.run(make("good = 2", "good = 1")).right == ("B",)
    psutil.Process(int((tmp_path / "pid").read_text())).kill()


def test_options_that_tell_much_at_once_do_not_mix(make, runner):
    """Long texts of several processes, which JSON makes twelve times as long, through one pipe."""
    letters = "\U0001f300\U0001f301\U0001f302\U0001f303\U0001f304\U0001f305"
    snippet = "import time\nstart = time.time() + 0.5"
    tells = (
        "time.sleep(start - time.time())\nprint('{0}' * 19_000)\nraise ValueError('{0}' * 1_900)"
    )
    result = runner.run(make(*[tells.format(x) for x in letters], snippet=snippet))
    for letter, outcome in zip(letters, result.outcomes, strict=True):
        assert outcome.printed == letter * 19_000 + "\n"
        assert outcome.happened == "ValueError: " + letter * 1_900


def test_closing_ends_what_still_runs(make, light, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    hang = f"import os\nopen({str(tmp_path / 'pipe')!r}, 'w').write(str(os.getpid()))\n{HANG}"
    exercise = make(hang, "good = 1", seconds=600.0)
    told = []
    with Runner() as runner:

        def work():
            with pytest.raises(RunError) as error:
                runner.run(exercise)
            told.append(str(error.value))

        thread = threading.Thread(target=work)
        thread.start()
        worker = psutil.Process(int((tmp_path / "pipe").read_text()))
        try:
            runner._warm.kill()
            thread.join(60)
            assert "ended instead" in told[0]
            assert psutil.wait_procs([worker], timeout=60)[1] == []
        finally:
            if worker.is_running():
                worker.kill()


def test_only_the_workers_import_torch():
    script = "import sys, droplab.practice, droplab.cli.practice; print('torch' in sys.modules)"
    assert output_of(script) == "False\n"
