from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from droplab.results import EpochRow, RunStore, load

WRITER = """
store = RunStore.open_for_resume(sys.argv[1])
done = {(m.arm, m.seed): m.epochs_done for m in store.members()}
epoch = done["none", 0]
print("start", os.getpid(), flush=True)
while True:
    epoch += 1
    name = f"group0-seed0-2-epoch{epoch}.safetensors"
    with whole_file(store.checkpoints_folder / name) as part:
        part.write_bytes(epoch.to_bytes(4, "little") * 1000)
    rows = [EpochRow({"val_loss": epoch + s / 10}, "none", s, epoch, 0.5) for s in (0, 7)]
    store.commit_epochs(rows, name, [BatchRow("none", 0, epoch, 0.5)])
    print(f"{epoch}\\n", end="", flush=True)  # in one piece, also where nothing is buffered
"""

FORKS = f"""
import os, sys
from droplab.results import BatchRow, EpochRow, RunStore, whole_file
for _ in sys.stdin:
    if not os.fork():
        exec({WRITER!r})
    os.wait()
    print("gone", flush=True)
"""
"""Forks a writer a line of its input: by itself, one would import for longer than it lives."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_kill_at_any_moment_loses_tears_and_doubles_nothing(tmp_path, create):
    """A writer is killed 25 times at random moments, early, late and within a commit."""
    create(tmp_path).close()
    moments = random.Random(1)
    confirmed = 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FORKS, str(tmp_path)], **pipes) as forks:
        for _ in range(25):
            forks.stdin.write("\n")
            forks.stdin.flush()
            start, writer = forks.stdout.readline().split()
            assert start == "start"
            for _ in range(moments.randrange(12)):
                confirmed = int(forks.stdout.readline())
            for _ in range(moments.randrange(40_000)):
                pass
            os.kill(int(writer), signal.SIGKILL)
            while (line := forks.stdout.readline()) != "gone\n":
                confirmed = int(line)
            check(tmp_path, confirmed)
    assert confirmed > 50
    with RunStore.open_for_resume(tmp_path) as store:
        path = store.checkpoint("none", 0)
        assert path == store.checkpoint("none", 7)
    assert list((tmp_path / "checkpoints").iterdir()) == [path]
    assert not (tmp_path / "run.sqlite-wal").exists()


def check(folder, confirmed: int) -> None:
    result = load(folder)
    for seed in (0, 7):
        mine = [r for r in result.rows if r.seed == seed]
        # One more than was said may have been committed; never one fewer.
        assert confirmed <= len(mine) <= confirmed + 1
        for epoch, found in enumerate(mine, start=1):
            assert found == EpochRow({"val_loss": epoch + seed / 10}, "none", seed, epoch, 0.5)
    last = result.rows[-1].epoch if result.rows else 0
    assert len(result.batches) == last
    assert [m.epochs_done for m in result.members[:2]] == [last, last]
    with RunStore.open_for_resume(folder) as store:
        path = store.checkpoint("none", 0)
    if last:
        assert path is not None
        assert path.read_bytes() == last.to_bytes(4, "little") * 1000
