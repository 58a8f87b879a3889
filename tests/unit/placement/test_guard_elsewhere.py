"""Guarded models under vmap, export, data-parallel processes and copies, and fullgraph."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from droplab.errors import PlacementError, RunError
from droplab.studies import Trial
from tests.unit.placement.test_guard import X, net
from tests.unit.studies import loops
from tests.unit.studies.loops import begin


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_over_models_gives_the_generator_back_and_leaves_nothing_behind(randomness: str):
    model, applied = net()
    stacked = {name: torch.stack([each.detach()] * 3) for name, each in model.named_parameters()}

    def forward(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(model, parameters, (X,))

    before = torch.get_rng_state()
    first, second = (torch.vmap(forward, randomness=randomness)(stacked) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert applied.fired == {"b": 2, "c": 2}
    assert torch.equal(first[0], first[1]) == (randomness == "same")
    assert not torch.equal(first[0], second[0])
    # the calls after it have the masks that they have without vmap
    other, _ = net()
    for _ in range(2):
        other(X)
    assert torch.equal(model(X), other(X))


def test_gradients_of_functions_have_the_masks_of_the_call():
    model, _ = net()
    other, _ = net()

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(model, parameters, (X,)).sum()

    found = torch.func.grad(loss)({k: v.detach() for k, v in model.named_parameters()})
    other(X).sum().backward()
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_an_exported_model_is_the_model():
    model, _ = net()
    model.eval()
    exported = torch.export.export(model, (X,)).module()
    assert torch.equal(exported(X), model(X))


def test_replicas_of_data_parallel_are_refused():
    model, _ = net()
    replica = model._replicate_for_data_parallel()
    with pytest.raises(PlacementError, match="use DistributedDataParallel"):
        replica(X)


def test_a_model_compiled_as_one_graph_is_refused(tmp_path: Path):
    def train(trial: Trial) -> None:
        trial.place(torch.compile(loops.network(), fullgraph=True))

    with pytest.raises(RunError, match="leave fullgraph out"):
        begin(tmp_path, seeds=1).run(train)


def _parallel(rank: int, folder: str) -> None:
    """Two processes train one guarded model, and note what each has dropped."""
    os.environ.update(MASTER_ADDR="127.0.0.1")
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model, applied = net()
    parallel = DistributedDataParallel(model)
    dropped: list[torch.Tensor] = []
    model.c.register_forward_pre_hook(lambda _, args: dropped.append(args[0] == 0))
    before = torch.get_rng_state()
    for _ in range(3):
        parallel(X).sum().backward()
    torch.save(
        {
            "same state": torch.equal(torch.get_rng_state(), before),
            "fired": applied.fired,
            "dropped": torch.stack(dropped),
            "gradient": model.a.weight.grad,
        },
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


@pytest.mark.slow
def test_data_parallel_processes_share_gradients_and_no_mask(tmp_path: Path):
    multiprocessing.start_processes(
        _parallel, (str(tmp_path),), nprocs=2, start_method="forkserver"
    )
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(one["gradient"], two["gradient"])
    assert not torch.equal(one["dropped"], two["dropped"])
    for each in (one, two):
        assert each["same state"]
        assert each["fired"] == {"b": 3, "c": 3}
    # the process of rank 0 has the masks that it has alone
    model, _ = net()
    dropped: list[torch.Tensor] = []
    model.c.register_forward_pre_hook(lambda _, args: dropped.append(args[0] == 0))
    for _ in range(3):
        model(X)
    assert torch.equal(torch.stack(dropped), one["dropped"])
