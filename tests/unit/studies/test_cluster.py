"""Replicas and trials on a Ray cluster of this machine: what it tells is what is told here."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from droplab import results
from droplab.errors import ArgumentError, BackendError, RunError
from droplab.recipe import load, override
from droplab.results import RunResult
from droplab.searches import Asked, search
from droplab.studies import Observer, RayCluster, _ray_pool, run
from droplab.studies._ray_pool import RayPool
from droplab.train import ExecutionPlan
from tests.unit.studies import loops
from tests.unit.studies.loops import begin

PLAN = ExecutionPlan(1)
RECIPE = override(load("digits"), {"epochs": 2, "seeds": [0, 1]})


ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
rate = float(sys.argv[1])
print("rate", sys.argv[1])
if rate > 1:
    sys.exit(3)
import droplab
sys.path.append(sys.argv[2])
from tests.unit.studies import loops
mine = droplab.trial()
model = mine.place(loops.network())
optimizer = loops.Descent(model.parameters(), rate)
mine.checkpoint(model, optimizer, every=0)
loops.fit(mine, model, optimizer=optimizer)
"""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processors, which only this machine can reach; left by the last test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2}')
        patch.setenv("RAY_worker_niceness", "0")  # beside other tests it would get no turn
        found = RayCluster()
        with found.connected():
            yield found


def tell(teller, folder, number, extra):
    """A task: tells forty numbers and leaves a file; the first time, number 3 loses its process."""
    for each in range(40):
        teller.send((number, each))
    dead = Path(extra["dead"])
    if number == 3 and not dead.exists():
        dead.touch()
        teller.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    before = (folder / "kept" / str(number)).read_text()
    (folder / "kept" / f"{number}-new").write_text(before + extra["large"][:1])
    teller.send("written")


def test_everything_arrives_in_order_and_what_is_lost_begins_again(cluster, tmp_path: Path):
    place = tmp_path / "place"
    (place / "kept").mkdir(parents=True)
    for number in range(5):
        (place / "kept" / str(number)).write_text(f"old {number} ")
    extra = {"dead": str(tmp_path / "dead"), "large": "x" * 200_000}
    told: dict[int, list[object]] = {number: [] for number in range(5)}
    lost: list[int] = []

    def again(number: int, how: str) -> list[int]:
        lost.append(number)
        assert told[number] == [(3, each) for each in range(40)]  # what it told before is not lost
        assert "worker" in how
        told[number].clear()
        return [number]

    pool = RayPool[int](cluster, tell, place)
    pool.run(
        range(5),
        arguments=lambda number: (number, extra),
        needs=lambda number: (Path("kept") / str(number),),
        take=lambda number, what: told[number].append(what) or what == "written",
        lost=again,
    )
    assert lost == [3]
    for number, mine in told.items():
        assert mine == [*((number, each) for each in range(40)), "written"]
        assert (place / "kept" / f"{number}-new").read_text() == f"old {number} x"


def measured(found: RunResult) -> dict[tuple[str, int, int], dict[str, float]]:
    """What was measured, but for NaN, which nothing equals."""
    return {
        (row.arm, row.seed, row.epoch): {k: v for k, v in row.values.items() if v == v}
        for row in found.rows
    }


def test_a_run_has_the_bits_that_it_has_here(cluster, tmp_path: Path):
    there = run(RECIPE, tmp_path / "there", plan=PLAN, cluster=cluster)
    here = run(RECIPE, tmp_path / "here", plan=PLAN)

    assert measured(there) == measured(here)
    assert there.tests == here.tests
    kept = {path.name for path in (tmp_path / "here" / "weights").iterdir()}
    assert kept == {path.name for path in (tmp_path / "there" / "weights").iterdir()}


def test_a_search_finds_there_what_it_finds_here(cluster, tmp_path: Path, monkeypatch):
    pytest.importorskip("optuna")
    began: list[RayPool] = []
    whole = RayPool.run
    monkeypatch.setattr(
        RayPool, "run", lambda pool, *a, **k: began.append(pool) or whole(pool, *a, **k)
    )
    asked = Asked(trials=3, batch=2, seeds=1, confirm_seeds=1)
    recipe = override(RECIPE, {"epochs": 1, "data.train": 60})
    plan = ExecutionPlan(1, workers=2)
    there = search(recipe, asked=asked, plan=plan, cluster=cluster, out=tmp_path / "there").record
    assert len(began) == 3  # two generations and the last run
    here = search(recipe, asked=asked, plan=PLAN, out=tmp_path / "here").record

    assert replace(there, created="") == replace(here, created="")


def test_trials_of_an_own_loop_have_the_rows_that_they_have_here(cluster, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    begin(tmp_path / "a").run(loops.plain, cluster=cluster)
    begin(tmp_path / "b").run(loops.plain)
    there, here = (results.load(tmp_path / each / "study") for each in "ab")
    assert {m.state for m in there.members} == {"done"}

    assert measured(there) == measured(here)


def test_a_script_runs_there_as_it_runs_here(cluster, tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    begin(tmp_path / "there", seeds=1).run_script([str(script), "0.05", str(ROOT)], cluster=cluster)
    begin(tmp_path / "here", seeds=1).run(loops.by_hand)  # the script's loop, in this process
    there, here = (results.load(tmp_path / each / "study") for each in ("there", "here"))
    assert {member.state for member in there.members} == {"done"}
    assert measured(there) == measured(here)
    logs = sorted((there.path / "logs").iterdir())
    assert [log.read_text() for log in logs] == ["rate 0.05\n", "rate 0.05\n"]
    assert not list((there.path / "trials").iterdir())
    with pytest.raises(RunError, match=r"exit code 3 \(rate 3; .*logs"):
        begin(tmp_path / "bad", seeds=1).run_script([str(script), "3", str(ROOT)], cluster=cluster)


def test_more_than_there_is_and_what_cannot_be_sent_is_refused(cluster, tmp_path: Path):
    nothing = {"needs": lambda _: (), "take": lambda *_: True, "lost": lambda *_: ()}
    with pytest.raises(RunError, match="1 CPUs and 1 GPUs for each process, got 2 CPUs and 0"):
        RayPool(RayCluster(gpus=1), tell, tmp_path).run([1], arguments=lambda _: (), **nothing)
    pool, unsendable = RayPool(cluster, tell, tmp_path), (each for each in "ab")
    with pytest.raises(ArgumentError, match=r"another machine, got .*<genexpr>', which cannot"):
        pool.run([1], arguments=lambda _: (unsendable,), **nothing)
    with (
        pytest.raises(RunError, match=r"at 10\.0\.0\.1:6379, got a process that is connected to"),
        RayCluster("10.0.0.1:6379").connected(),
    ):
        pass


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"address": "ray://a:1"}, "host:port, or auto"),
        ({"address": "a"}, "host:port, or auto"),
        ({"cpus": 0}, "at least 1"),
        ({"gpus": -1}, "a share of a GPU"),
        ({"gpus": 1.5}, "a share of a GPU"),
    ],
)
def test_an_impossible_cluster_is_refused(how, said):
    with pytest.raises(ArgumentError, match=said):
        RayCluster(**how)


def test_where_nobody_answers_it_is_said(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with (
            pytest.raises(RunError, match=f"Ray cluster at {address}, got no answer"),
            RayCluster(address).connected(),
        ):
            pass


class OtherName:
    """A Ray that calls its head by another address than it was asked by."""

    gcs_address = "192.0.2.7:6379"

    def __init__(self):
        self.on = False

    def is_initialized(self):
        return self.on

    def init(self, **_):
        self.on = True

    def shutdown(self):
        self.on = False

    def get_runtime_context(self):
        return self


def test_a_head_that_has_another_name_for_itself_is_the_same(monkeypatch):
    ray, cluster = OtherName(), RayCluster("127.0.0.1:6379")
    monkeypatch.setattr(RayCluster, "_package", lambda _: ray)
    monkeypatch.setattr(RayCluster, "_knock", lambda _: None)
    with cluster.connected(), cluster.connected() as found:
        assert found is ray
        with pytest.raises(RunError, match="connected to"), RayCluster("10.0.0.1:1").connected():
            pass
    assert not ray.on
    ray.on = True
    with pytest.raises(RunError, match="connected to"), cluster.connected():
        pass


def test_an_old_ray_is_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "__version__", "2.9.3")
    with (
        pytest.raises(BackendError, match=r"Ray 2\.40 or newer, got 2\.9\.3"),
        RayCluster().connected(),
    ):
        pass


class Address:
    """A Ray that knows where the head of its cluster is."""

    def __init__(self, port):
        self.gcs_address = f"127.0.0.1:{port}"

    def get_runtime_context(self):
        return self


def test_a_head_that_is_lost_is_waited_for_and_then_said(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as there:
        head = _ray_pool._Head(RayCluster(), Address(there.getsockname()[1]))
        assert head.is_there()
    assert not head.is_there()
    assert not head.lost
    monkeypatch.setattr(_ray_pool, "_AWAY", 0.0)
    with pytest.raises(RunError, match=r"the head of the Ray cluster is lost.*resume"):
        head.is_there()
    assert head.lost


def test_a_cluster_without_nodes_says_how_to_go_on(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as there:
        ray = Address(there.getsockname()[1])
        ray.cluster_resources = dict
        with pytest.raises(RunError, match=r"^expected a cluster with 1 CPUs"):
            _ray_pool._Head(RayCluster(), ray).room()
        head = _ray_pool._Head(RayCluster(), ray)
        ray.cluster_resources = lambda: {"CPU": 2.0}
        assert head.room() == 2
        ray.cluster_resources = dict
        with pytest.raises(RunError, match=r"has lost its nodes \(.*got 0 CPUs.*--resume"):
            head.room()
    assert head.room() == 0


def test_a_full_store_says_what_to_do(cluster, tmp_path: Path, monkeypatch):
    ray = pytest.importorskip("ray")

    def full(*_):
        raise ray.exceptions.OutOfDiskError("disk is full")

    monkeypatch.setattr(ray, "put", full)
    with pytest.raises(RunError, match=r"no room for the data.*--object-store-memory"):
        run(RECIPE, tmp_path, plan=PLAN, cluster=cluster)


class Killer(Observer):
    """Kills a node when some rows have come."""

    def __init__(self, kill):
        self.kill, self.rows = kill, 0

    def epoch_done(self, row):
        self.rows += 1
        if self.rows == 3:
            self.kill()


@pytest.mark.slow
def test_a_node_that_is_killed_loses_no_row_and_changes_no_bit(tmp_path: Path, monkeypatch):
    """Two nodes of one processor each; what the dead one had not sent is done by the other.

    The last test here: it ends the cluster that the others share.
    """
    utils = pytest.importorskip("ray.cluster_utils")
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    recipe = override(RECIPE, {"epochs": 4})
    head = {"num_cpus": 1, "include_dashboard": False}
    nodes = utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        second = nodes.add_node(num_cpus=1)
        killer = Killer(lambda: nodes.remove_node(second, allow_graceful=False))
        cluster = RayCluster(nodes.address)
        there = run(recipe, tmp_path / "there", plan=PLAN, cluster=cluster, observer=killer)
    finally:
        nodes.shutdown()
    assert killer.rows >= len(there.rows)  # what was after its checkpoint came again
    assert measured(there) == measured(run(recipe, tmp_path / "here", plan=PLAN))
