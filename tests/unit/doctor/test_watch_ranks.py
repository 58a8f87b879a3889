"""Two ranks in two processes, with one seed and with two."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from droplab.doctor import examine_loop
from tests.forks import fork, needs_forks


def train(rank: int, port: int, told: Path) -> None:
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5)))
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(rank))
    found = []
    for seed in (1, 1 + rank):
        torch.manual_seed(seed)
        with examine_loop(ranks=True) as watch:
            net(x).sum().backward()
        found.append(",".join(finding.code for finding in watch.findings))
    told.write_text("\n".join(found))
    dist.destroy_process_group()


@needs_forks
def test_drp042_ranks(unused_port, tmp_path):
    """With a seed in common they have the same masks, with their own they have not."""
    told = [tmp_path / str(rank) for rank in range(2)]
    processes = [fork(train, rank, unused_port, told[rank]) for rank in range(2)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [each.read_text() for each in told] == ["DRP042\n", "DRP042\n"]
