from __future__ import annotations

import random
import subprocess
import sys

from droplab.results import EpochRow, RunStore, load

WRITER = """
import sys
from droplab.results import BatchRow, EpochRow, RunStore, whole_file
store = RunStore.open_for_resume(sys.argv[1])
done = {(m.arm, m.seed): m.epochs_done for m in store.members()}
epoch = done["none", 0]
print("start", epoch, flush=True)
while True:
    epoch += 1
    name = f"group0-seed0-2-epoch{epoch}.safetensors"
    with whole_file(store.checkpoints_folder / name) as part:
        part.write_bytes(epoch.to_bytes(4, "little") * 1000)
    rows = [EpochRow({"val_loss": epoch + s / 10}, "none", s, epoch, 0.5) for s in (0, 7)]
    store.commit_epochs(rows, name, [BatchRow("none", 0, epoch, 0.5)])
    print(epoch, flush=True)
"""


def test_kill_at_any_moment_loses_tears_and_doubles_nothing(tmp_path, create):
    """A writer is killed 25 times at random moments, early, late and within a commit."""
    create(tmp_path).close()
    moments = random.Random(1)
    confirmed = 0
    for _ in range(25):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer.stdout as lines:
            assert lines.readline().split()[0] == "start"
            for _ in range(moments.randrange(12)):
                confirmed = int(lines.readline())
            for _ in range(moments.randrange(40_000)):
                pass
            writer.kill()
            for line in lines:
                if line.endswith("\n"):
                    confirmed = int(line)
        writer.wait()
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
