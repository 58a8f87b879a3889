"""DRP042: every rank of a distributed run is seeded alike."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from droplab.doctor import _depends, _validation
from droplab.doctor._finding import Code, Finding
from droplab.doctor._module import Module
from droplab.doctor._script import Script
from droplab.doctor.checks.repeated_mask import is_seed

if TYPE_CHECKING:
    from droplab.doctor.live._loop import Loop
    from droplab.doctor.live._masks import Mask

CODE = Code("DRP042", "shared-by-ranks", "all ranks draw the same masks", "warning")

_DISTRIBUTED = frozenset(
    {"torch.nn.parallel.DistributedDataParallel", "torch.nn.DistributedDataParallel"}
    | {"torch.distributed.init_process_group"}
    | {"torch.distributed.fsdp.FullyShardedDataParallel", "torch.distributed.fsdp.fully_shard"}
)
_SHARES = re.compile(
    r"DistributedDataParallel|\bDDP\b|FullySharded|\bFSDP\b|fully_shard|DistributedSampler|"
    r"data_parallel|all_reduce|reduce_scatter"
)
"""What shares the samples among the ranks; where the model alone is shared, all draw the same."""
_TESTING = ("pytest", "unittest", "torch.testing")
"""A test seeds all ranks alike to compare what they compute."""
_RANK = re.compile(r"rank|process_index|worker|gpu_id|device_id|local_id|get_rank|gpu$|node")


def reading(module: Module) -> Iterator[Finding]:
    """Find a seed without the rank in a file that trains with DistributedDataParallel."""
    if not any(module.resolve(call.func) in _DISTRIBUTED for call in module.calls):
        return
    script = Script.of(module)
    if not _validation.trains(module, script) or not _depends.may_drop(module):
        return
    if any(name.startswith(_TESTING) for name in module.imported):
        return
    if not _SHARES.search(module.source.text):
        return
    seeds = [call for call in module.calls if is_seed(module, call) and not _tests(module, call)]
    if not seeds or any(_depends_on_rank(module, call) for call in seeds):
        return
    if any(_depends_on_rank(module, call) for call in _seeders(module)):
        return
    call = seeds[0]
    yield module.finding(
        CODE,
        call,
        "all ranks get this seed, so they draw the same masks for different samples",
        "add the rank after the model is built: torch.manual_seed(seed + rank)",
    )


def _tests(module: Module, call: ast.Call) -> bool:
    """Whether a call stands in a test, by the names around it."""
    return any(
        isinstance(above, ast.FunctionDef | ast.ClassDef)
        and above.name.lower().startswith(("test", "check_"))
        for above in module.ancestors(call)
    )


def _seeders(module: Module) -> Iterator[ast.Call]:
    """Yield calls of the file's own functions that seed."""
    for call in module.calls:
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if "seed" in name.lower():
            yield call


def _depends_on_rank(module: Module, call: ast.Call) -> bool:
    if any(_RANK.search(name) for name in _validation.names_in(call) | _strings(call)):
        return True
    function = module.function(call)
    used = {item.id for item in ast.walk(call) if isinstance(item, ast.Name)}
    for node in ast.walk(function or module.tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            hit = any(isinstance(t, ast.Name) and t.id in used for t in targets)
            names = _validation.names_in(node.value) | _strings(node.value)
            if hit and any(_RANK.search(name.lower()) for name in names):
                return True
    return False


def _strings(node: ast.AST) -> set[str]:
    return {
        item.value.lower()
        for item in ast.walk(node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    }


_MASKS = 4


def watching(loop: Loop) -> Iterator[Finding]:
    """Gather the first masks of every rank and compare them with this rank's."""
    if not loop.ranks:
        return
    from torch import distributed

    mine = [
        drop.mask.cpu()
        for item in loop.passes
        if item.trained
        for drop in item.drops
        if drop.mask is not None
    ][:_MASKS]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, mine)
    rank = distributed.get_rank()
    equal = [
        other for other, theirs in enumerate(gathered) if other != rank and _equal(mine, theirs)
    ]
    if equal:
        yield loop.finding(
            CODE,
            f"rank {rank} draws the same masks as rank {', '.join(map(str, equal))}",
            "add the rank to the seed, after the model is built: torch.manual_seed(seed + rank)",
            evidence={"ranks with equal masks": [rank, *equal]},
        )


def _equal(mine: list[Mask], theirs: list[Mask]) -> bool:
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=False) if a.comparable(b)]
    return bool(pairs) and all(a.same(b) for a, b in pairs)
