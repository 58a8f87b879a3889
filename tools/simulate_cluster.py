"""What a study of many trials asks of its driver: `python -m tools.simulate_cluster`.

Trials run on nodes that fail now and then, in virtual time. The events are those of the executor: a
row an epoch, a checkpoint every minute that is sent with it, and a trial of a lost node that
goes on from its last checkpoint elsewhere. Prints the table of docs/cluster.md, or puts it there
with `--write docs/cluster.md`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from tools.calibrate import fill, row

BEGIN = "<!-- cluster: made by python -m tools.simulate_cluster, do not edit -->"
END = "<!-- end of cluster -->"
EXPERIMENTS = 10
"""Simulations of each setting."""
ROW_BYTES = 570
"""A row of eight metrics with its blocks in SQLite, in a run of the recipe digits."""
STATE = 3
"""Times the weights that a checkpoint takes, with the two moments of Adam."""


@dataclass(frozen=True)
class Setting:
    """What runs where.

    Args:
        trials: Arms times seeds.
        nodes: Nodes, each with one trial at a time.
        epochs: Epochs of a trial.
        epoch: Seconds of an epoch.
        weights: Bytes of the weights of a model.
        life: Mean hours until a node fails; it is back at once.
        every: Seconds between two checkpoints of a trial.
    """

    trials: int = 1000
    nodes: int = 100
    epochs: int = 50
    epoch: float = 12.0
    weights: int = 10_000_000
    life: float = 24.0
    every: float = 60.0


@dataclass
class Found:
    """What came of it.

    Attributes:
        seconds: Until the last trial was done.
        rows: Rows that were told, those that were told again among them.
        checkpoints: Checkpoints that were sent.
        failures: Nodes that failed while they trained.
        lost: Seconds of training that were done twice.
    """

    seconds: float = 0.0
    rows: int = 0
    checkpoints: int = 0
    failures: int = 0
    lost: float = 0.0


def simulate(setting: Setting, seed: int = 0) -> Found:
    """Run a study in virtual time."""
    chosen, found = random.Random(seed), Found()
    waiting = [setting.epochs] * setting.trials  # epochs that are left
    free: list[tuple[float, int]] = [(0.0, node) for node in range(setting.nodes)]
    fails = [chosen.expovariate(1 / (3600 * setting.life)) for _ in free]
    while waiting:
        now, node = heapq.heappop(free)
        left = waiting.pop()
        done, kept, saved = 0, 0, now
        while done < left:
            now += setting.epoch
            if fails[node] < now:
                break
            done += 1
            found.rows += 1
            if done in (1, left) or now - saved > setting.every:
                found.checkpoints += 1
                kept, saved = done, now
        else:
            found.seconds = max(found.seconds, now)
            heapq.heappush(free, (now, node))
            continue
        found.failures += 1
        began = now - setting.epoch - (done - kept) * setting.epoch
        found.lost += fails[node] - began
        waiting.append(left - kept)
        heapq.heappush(free, (fails[node], node))
        fails[node] += chosen.expovariate(1 / (3600 * setting.life))
    return found


def tables(experiments: int, say: Callable[[str], None] = lambda line: None) -> str:
    """Return the table of the page, of means over so many simulations."""
    head = ("trials", "nodes", "an epoch", "hours", "rows a second", "checkpoints, MB a second")
    head = (*head, "run.sqlite, MB", "nodes that failed", "training done twice")
    lines = [row(*head), row(*["---:"] * len(head))]
    for setting in (
        Setting(100, 10),
        Setting(1000, 100),
        Setting(1000, 100, epoch=1.0),
        Setting(1000, 100, epoch=0.1),
        Setting(10_000, 1000),
    ):
        found = [simulate(setting, seed) for seed in range(experiments)]
        seconds, rows, sent, failures, lost = (
            mean(getattr(each, name) for each in found)
            for name in ("seconds", "rows", "checkpoints", "failures", "lost")
        )
        lines.append(
            row(
                setting.trials,
                setting.nodes,
                f"{setting.epoch:g} s",
                f"{seconds / 3600:.2g}",
                f"{rows / seconds:.3g}",
                f"{sent * STATE * setting.weights / seconds / 1e6:.3g}",
                f"{rows * ROW_BYTES / 1e6:.3g}",
                f"{failures:.3g}",
                f"{100 * lost / (setting.trials * setting.epochs * setting.epoch):.2g} %",
            )
        )
        say(lines[-1])
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    fill("python -m tools.simulate_cluster", __doc__, tables, (BEGIN, END), EXPERIMENTS, arguments)


if __name__ == "__main__":
    main()
