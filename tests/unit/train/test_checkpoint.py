"""Checkpoints go on to the same bits, and damage is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab import placement
from droplab.errors import RunError
from droplab.models import MLP
from droplab.train import EagerStep, ExecutionPlan, Single
from droplab.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from droplab.train.optimizers import build_optimizer, optimizer_names

NAMES = [("none", 0)]


def executor(model, optimizer):
    return Single(model, optimizer, placement.plan(model, {}).apply(), ExecutionPlan(1))


def steps(model, optimizer, seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    step = EagerStep(model, optimizer)
    for _ in range(count):
        step(torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator))


@pytest.mark.parametrize("name", [name for name in optimizer_names() if name != "Muon"])
def test_a_restored_replica_goes_on_to_the_same_bits(name, tmp_path):
    torch.manual_seed(0)
    straight = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    optimizer = build_optimizer(name, {}, straight.parameters())
    steps(straight, optimizer, 1)
    save_checkpoint(executor(straight, optimizer), NAMES, tmp_path / "c.safetensors", epoch=4)
    steps(straight, optimizer, 2)

    restored = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    other = build_optimizer(name, {}, restored.parameters())
    assert load_checkpoint(executor(restored, other), NAMES, tmp_path / "c.safetensors") == 4
    steps(restored, other, 2)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, restored.state_dict()[key]), key


def test_tied_weights_are_saved(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(4, 4)
            self.two = nn.Linear(4, 4)
            self.two.weight = self.one.weight

    model, copy = Tied(), Tied()
    save_weights(model, tmp_path / "w.safetensors")
    load_weights(copy, tmp_path / "w.safetensors")
    assert torch.equal(copy.two.weight, model.one.weight)


def test_damaged_missing_and_foreign_files(tmp_path):
    model = MLP(6, hidden=(8,), classes=3)
    replica = executor(model, build_optimizer("Adam", {}, model.parameters()))
    path = tmp_path / "c.safetensors"
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(replica, NAMES, path)
    save_checkpoint(replica, NAMES, path, epoch=1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(replica, NAMES, path)
    save_weights(nn.Linear(2, 2), path)
    with pytest.raises(RunError, match="not of this model"):
        load_weights(model, path)
    with pytest.raises(RunError, match="not of this experiment"):
        load_checkpoint(replica, NAMES, path)
