"""Two ranks in two processes, with one seed and with two."""

from __future__ import annotations

import subprocess
import sys

RANKS = """
import sys, torch, torch.distributed as dist
from torch import nn
from droplab.doctor import examine_loop
rank, port = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
torch.manual_seed(0)
net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5)))
x = torch.randn(16, 8, generator=torch.Generator().manual_seed(rank))
for seed in (1, 1 + rank):
    torch.manual_seed(seed)
    with examine_loop(ranks=True) as watch:
        net(x).sum().backward()
    print([f.code for f in watch.findings])
dist.destroy_process_group()
"""


def test_drp042_ranks(unused_port):
    """With a seed in common they have the same masks, with their own they have not."""
    command = [sys.executable, "-W", "ignore", "-c", RANKS]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(unused_port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [process.communicate(timeout=300) for process in processes]
    for process, (out, err) in zip(processes, results, strict=True):
        assert (out.splitlines(), process.returncode) == (["['DRP042']", "[]"], 0), err
