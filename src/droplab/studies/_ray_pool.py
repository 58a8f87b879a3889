"""Tasks in processes of a Ray cluster.

Ray carries tasks there and what they tell back; it keeps nothing, and repeats nothing by itself. A
task that is lost, with its process or its node, begins again from what the driver has written down.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from droplab.errors import ArgumentError, RunError, quote
from droplab.results import whole_file
from droplab.studies._ray_task import End, Other, Place, do, versions
from droplab.studies.cluster import RayCluster

_LOG = logging.getLogger("droplab.studies")

_LARGE = 100_000
"""Bytes from which on an argument goes to the object store, once for all tasks."""

_LOOK = 1.0
"""Seconds after which it is looked whether nodes have come or gone."""

_AWAY = 20.0
"""Seconds without an answer after which the head is taken for lost. Ray ends this process, with a
message of its own, after sixty."""

_LATE = 0.1
"""Seconds to wait for more of what lost tasks have told."""

_ANSWERED = 10.0
"""Seconds in which a task that has told all learns that it has arrived."""

T = TypeVar("T")


class RayPool(Generic[T]):
    """Processes of a cluster, as many as it has room for; each does one task after another.

    Args:
        cluster: The cluster, and what of it a process gets.
        target: What does a task: see `droplab.studies._worker_pool.WorkerPool`. Its folder is a new
            one on its node; a file that it writes there is sent with what it tells next.
        folder: Where the driver has the files.
    """

    def __init__(self, cluster: RayCluster, target: Callable[..., None], folder: Path) -> None:
        self._cluster = cluster
        self._target = target
        self._folder = folder
        self._stored: dict[int, tuple[Any, Any]] = {}

    def run(
        self,
        tasks: Sequence[T],
        *,
        arguments: Callable[[T], Sequence[Any]],
        needs: Callable[[T], Sequence[Path]],
        take: Callable[[T, Any], bool],
        lost: Callable[[T, str], Sequence[T]],
    ) -> None:
        """Do all tasks, as `droplab.studies._worker_pool.Pool` says.

        Raises:
            ArgumentError: If something cannot be sent.
            RunError: If the cluster has no room for a process, has another droplab or torch, fails,
                or loses its head.
        """
        with self._cluster.connected() as ray:
            from ray.util.queue import Queue

            here = ray.get_runtime_context().get_node_id()
            near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
            # its process loads neither torch nor droplab
            inbox: Any = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": near}).actor
            work = ray.remote(do).options(
                num_cpus=self._cluster.cpus, num_gpus=self._cluster.gpus, max_retries=0
            )
            running: dict[int, _Running[T]] = {}
            ended: list[Any] = []
            waiting, begun = list(reversed(tasks)), 0
            looked, room, head = -_LOOK, 0, _Head(self._cluster, ray)
            told = inbox.get.remote()
            try:
                while waiting or running:
                    if time.monotonic() - looked > _LOOK:
                        looked = time.monotonic()
                        room = head.room()
                    while waiting and len(running) < room:
                        task = waiting.pop()
                        sent = self._sent(ray, arguments(task), needs(task))
                        begun += 1
                        end = work.remote(self._target, inbox, begun, *sent)
                        running[begun] = _Running(task, end)
                    ends = {each.end: number for number, each in running.items() if not each.over}
                    ready, _ = ray.wait([told, *ends], timeout=_LOOK)
                    if told in ready:
                        ended += self._take(_all_told(ray, inbox, told), running, take)
                        told = inbox.get.remote()
                    for number in [ends[ref] for ref in ready if ref in ends]:
                        if number not in running:
                            continue
                        reason = _reason(ray, running[number].end)
                        if reason is None:  # what it told last is on its way
                            running[number].over = True
                            continue
                        _LOG.debug("task %d was lost: %s", number, reason)
                        while ray.wait([told], timeout=_LATE)[0]:
                            ended += self._take(_all_told(ray, inbox, told), running, take)
                            told = inbox.get.remote()
                        if number in running:
                            waiting += reversed(lost(running.pop(number).task, reason))
                if ended:
                    ray.wait(ended, num_returns=len(ended), timeout=_ANSWERED)
            except (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError) as error:
                raise RunError(
                    f"the Ray cluster has no room for the data ({_line(error)}): it is larger than "
                    "the memory of Ray's object store, and the disk that Ray then uses is full; "
                    "begin the cluster with more (ray start --object-store-memory=BYTES) or with "
                    "a folder that has room (--temp-dir), and resume: finished epochs are kept"
                ) from error
            except ray.exceptions.RayError as error:  # its inbox is gone
                raise RunError(
                    f"the Ray cluster failed ({_line(error)}); finished epochs are kept, look at "
                    "its memory and nodes (ray status) and resume"
                ) from error
            finally:
                self._stored.clear()
                if not head.lost:  # whoever asks a lost one for anything waits for it
                    for each in running.values():
                        ray.cancel(each.end, force=True)
                    ray.kill(inbox)

    def _sent(self, ray: Any, arguments: Sequence[Any], needs: Sequence[Path]) -> list[Any]:
        files = {str(name): (self._folder / name).read_bytes() for name in needs}
        folders = [each.name for each in self._folder.iterdir() if each.is_dir()]
        place = Place(str(Path.cwd()), tuple(sys.path), versions(), files, tuple(folders))
        return [ray.put(place) if files else place, *(self._put(ray, each) for each in arguments)]

    def _put(self, ray: Any, argument: Any) -> Any:
        if id(argument) in self._stored:
            return self._stored[id(argument)][1]
        try:
            size = len(ray.cloudpickle.dumps(argument))
        except Exception as error:  # whatever somebody's objects do when they are pickled
            what = getattr(argument, "__qualname__", None) or type(argument).__name__
            raise ArgumentError(
                f"executor: expected what can be sent to another machine, got {quote(what)}, which "
                f"cannot ({error}); define it at the top of a module, without locks and open files "
                "in it, or train on this machine"
            ) from error
        if size < _LARGE:
            return argument
        self._stored[id(argument)] = argument, ray.put(argument)
        return self._stored[id(argument)][1]

    def _take(
        self,
        messages: Sequence[tuple[int, int, bytes]],
        running: dict[int, _Running[T]],
        take: Callable[[T, Any], bool],
    ) -> list[Any]:
        """Take what tasks have told, in order, and return the ends of those that have told all.

        What a lost one told too late is left alone.
        """
        ended: list[Any] = []
        for number, place, sent in messages:
            if number in running:
                running[number].told[place] = sent
        for number in {number for number, _, _ in messages if number in running}:
            mine = running[number]
            while (sent := mine.told.pop(mine.taken, None)) is not None:
                mine.taken += 1
                told, files = pickle.loads(sent)
                if isinstance(told, Other):
                    raise RunError(
                        f"expected {versions()} on every node, got {told.versions} on "
                        f"{told.node}; install the same versions there"
                    )
                if isinstance(told, End):
                    ended.append(running.pop(number).end)
                    continue
                for name, content in files.items():
                    (self._folder / name).parent.mkdir(exist_ok=True)
                    with whole_file(self._folder / name) as part:
                        part.write_bytes(content)
                take(mine.task, told)
        return ended


class _Head:
    """The head of a cluster, of which it is asked now and then whether it still answers."""

    def __init__(self, cluster: RayCluster, ray: Any) -> None:
        self._cluster, self._ray = cluster, ray
        self._heard, self.lost = time.monotonic(), False
        self._had_room = False

    def room(self) -> int:
        """How many processes the cluster has room for now; 0 while the head does not answer.

        Raises:
            RunError: If it has none for a single one, or the head is lost.
        """
        if not self.is_there():
            return 0
        try:
            room = self._cluster.room(self._ray)
        except RunError as error:
            if not self._had_room:
                raise
            raise RunError(
                f"the Ray cluster has lost its nodes ({error}); finished epochs are kept, so "
                "resume (--resume) when it has some again, or on this machine alone, without "
                "--executor ray"
            ) from error
        self._had_room = True
        return room

    def is_there(self) -> bool:
        """Whether it answers now; a head that begins again at once is waited for.

        Raises:
            RunError: If it has not answered for long.
        """
        if self._cluster.answers(self._ray):
            self._heard = time.monotonic()
            return True
        if time.monotonic() - self._heard < _AWAY:
            return False
        self.lost = True
        raise RunError(
            f"the head of the Ray cluster is lost: no answer for {_AWAY:.0f} seconds; finished "
            "epochs are kept, so begin a cluster again and resume (--resume), or resume on this "
            "machine alone, without --executor ray"
        )


@dataclasses.dataclass
class _Running(Generic[T]):
    """A task on the cluster.

    Attributes:
        task: The task.
        end: Ray's reference to its end.
        over: Whether it has ended; the last of what it told may be on its way.
        told: What it has told out of order, by its place.
        taken: How much of it was taken.
    """

    task: T
    end: Any
    over: bool = False
    told: dict[int, bytes] = dataclasses.field(default_factory=dict[int, bytes])
    taken: int = 0


def _all_told(ray: Any, inbox: Any, first: Any) -> list[tuple[int, int, bytes]]:
    """Return what tasks have told, (number of the task, place, what): the first, and all after it.

    Nobody else takes from the inbox.
    """
    more = ray.get(inbox.qsize.remote())
    return [ray.get(first), *ray.get(inbox.get_nowait_batch.remote(more))]


def _reason(ray: Any, ref: Any) -> str | None:
    """Return why a task ended without having told all; None if it has."""
    try:
        ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        return _line(error.cause, last=True)
    except ray.exceptions.RayError as error:
        return _line(error)
    return None


def _line(error: BaseException, *, last: bool = False) -> str:
    """Return the first line of an error, or the last; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if last else 0]
