"""Two ranks in two processes, with one seed and with two."""

from __future__ import annotations

import subprocess
import sys

import pytest

RANKS = """
import sys, torch, torch.distributed as dist
from torch import nn
from droplab.doctor import examine_loop
rank, port, shared = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "shared"
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
torch.manual_seed(0)
net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5)))
torch.manual_seed(1 if shared else 1 + rank)
x = torch.randn(16, 8, generator=torch.Generator().manual_seed(rank))
with examine_loop(ranks=True) as watch:
    net(x).sum().backward()
print([f.code for f in watch.findings])
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("how", "expected"), [("shared", "['DRP042']"), ("apart", "[]")])
def test_drp042_ranks(how, expected, unused_port):
    command = [sys.executable, "-W", "ignore", "-c", RANKS]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(unused_port), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [process.communicate(timeout=300) for process in processes]
    for process, (out, err) in zip(processes, results, strict=True):
        assert (out.strip(), process.returncode) == (expected, 0), err
