"""What a trial costs beyond its training: in processes of this machine, and on a Ray cluster.

Trials that train nothing are carried to two processes at a time and tell one row each, or a
thousand; processes have begun before. Then trials that multiply matrices for a second go to one
node of one processor, and to two. Verified before: every trial tells what it has to.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from _harness import Benchmark
from _trials import empty, multiply, tells

from droplab.studies import RayCluster
from droplab.studies._ray_pool import RayPool
from droplab.studies._worker_pool import Pool, WorkerPool

HERE = Path(__file__).parent


def seconds(pool: Pool[int], count: int) -> float:
    """Return what a trial takes, of so many."""
    told: list[int] = []

    def take(number: int, row: dict[str, Any]) -> bool:
        told.append(row["trial"])
        return True

    def lost(number: int, how: str) -> tuple[int, ...]:
        raise RuntimeError(f"trial {number}: {how}")

    began = perf_counter()
    pool.run(
        range(count),
        arguments=lambda number: (number,),
        needs=lambda _: (),
        take=take,
        lost=lost,
    )
    assert sorted(set(told)) == list(range(count)), told
    return (perf_counter() - began) / count


def main() -> None:
    """Measure both cases."""
    bench, _ = Benchmark.from_command_line("bench_cluster", __doc__ or "")
    # the server that worker processes are forked from imports them from here
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.getenv("PYTHONPATH")]))
    count, rounds = (20, 2) if bench.quick else (100, 5)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with RayCluster().connected():
            for case, target, many in (
                ("an empty trial on Ray", empty, count),
                ("a trial of a thousand rows on Ray", tells, 4),
            ):
                ours, theirs = [], []
                for turn in range(rounds + 1):
                    there = seconds(RayPool[int](RayCluster(), target, folder), many)
                    local = seconds(WorkerPool[int](target, folder, 2), many)
                    if turn:
                        ours.append(there)
                        theirs.append(local)
                bench.add(case, "worker processes", ours, theirs)
        ours, theirs = nodes(folder, 8, 1 if bench.quick else 3)
        bench.add("a trial of a second, two nodes", "one node", ours, theirs)
    bench.finish()


def nodes(folder: Path, count: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return what a trial takes on two nodes of one processor each, and on one."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    both: list[float] = []
    alone: list[float] = []
    try:
        with RayCluster(cluster.address).connected():
            for _ in range(rounds):
                alone.append(_after_one(cluster, folder, count))
                second = cluster.add_node(num_cpus=1)
                both.append(_after_one(cluster, folder, count))
                cluster.remove_node(second)
    finally:
        cluster.shutdown()
    return both, alone


def _after_one(cluster: Any, folder: Path, count: int) -> float:
    cluster.wait_for_nodes()
    pool = RayPool[int](RayCluster(cluster.address), multiply, folder)
    seconds(pool, 4)  # processes begin
    return seconds(pool, count)


if __name__ == "__main__":
    main()
