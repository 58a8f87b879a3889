"""Keys: seeds, calls, sites, ranks and frozen masks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from droplab.errors import ArgumentError
from droplab.ops import dropout, frozen_masks, make_key, masks_are_frozen, rank, set_rank
from droplab.rng import stream_key

X = torch.ones(1000)


@pytest.fixture
def no_rank(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    set_rank(None)
    yield
    set_rank(None)


def test_a_seeded_key_is_the_stream_key_and_the_call(no_rank):
    assert make_key(7).tolist() == [stream_key(7, "mask/"), 0]
    assert make_key(7, 3, site="fc2").tolist() == [stream_key(7, "mask/fc2"), 3]
    several = make_key(7, torch.tensor([[1, 2], [3, 2**47 - 1]]))
    assert several.shape == (2, 2, 2)
    assert several[..., 1].tolist() == [[1, 2], [3, 2**47 - 1]]
    assert set(several[..., 0].flatten().tolist()) == {stream_key(7, "mask/")}
    assert make_key(7, device="meta").device.type == "meta"


def test_every_part_of_a_key_changes_the_mask():
    base = dropout(X, key=make_key(7, 3, site="a"))
    for other in (make_key(8, 3, site="a"), make_key(7, 4, site="a"), make_key(7, 3, site="b")):
        assert not torch.equal(dropout(X, key=other), base)
    assert torch.equal(dropout(X, key=make_key(7, 3, site="a")), base)


@pytest.mark.parametrize("word", [0, 1])
@pytest.mark.parametrize("bit", [0, 31, 32, 46, 47, 62])
def test_every_bit_of_a_key_counts(word, bit):
    key = make_key(7)
    other = key.clone()
    other[word] ^= 1 << bit
    for backend in ("cpu", "reference"):
        a, b = (dropout(X, key=k, backend=backend) for k in (key, other))
        assert 350 < (a == b).sum() < 650  # 9.5 standard deviations: 1e-20


def test_a_seed_leaves_the_generator_alone_and_no_seed_draws_from_it():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    dropout(X, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    first = dropout(X)
    assert not torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(dropout(X), first)
    torch.manual_seed(1)
    assert torch.equal(dropout(X), first)


def test_other_generators_do_not_matter():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = dropout(X)
        torch.manual_seed(1)
        torch.Generator().manual_seed(5)
        import random

        random.seed(3)
        assert torch.equal(dropout(X), first)


def test_the_rank_is_part_of_every_new_key(no_rank):
    plain = make_key(7, 3)
    set_rank(5)
    assert make_key(7, 3).tolist() == [plain[0].item(), 3 + (5 << 47)]
    assert make_key(7, torch.tensor([3]))[0, 1] == 3 + (5 << 47)
    torch.manual_seed(1)
    drawn = make_key()
    with frozen_masks(seed=1):
        assert make_key()[1] == 5 << 47
    set_rank(65535)
    assert make_key(7, 2**47 - 1)[1] == 2**63 - 1
    set_rank(0)
    torch.manual_seed(1)
    assert (drawn - make_key()).tolist() == [0, 5 << 47]


def test_two_ranks_do_not_share_a_mask(no_rank):
    masks = []
    for number in range(4):
        set_rank(number)
        torch.manual_seed(1)
        masks += [dropout(X), dropout(X, seed=1)]
    assert len({tuple(mask.tolist()) for mask in masks}) == 8


def test_the_rank_is_found_in_torch_distributed_before_the_environment(
    no_rank, monkeypatch, tmp_path
):
    monkeypatch.setenv("RANK", "3")
    set_rank(None)
    assert rank.rank() == 3
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(tmp_path / "s"), 1), rank=0, world_size=1
    )
    try:
        assert rank.rank() == 0
        set_rank(9)
        assert rank.rank() == 9
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("text", ["-1", "65536", "one"])
def test_a_rank_in_the_environment_that_is_none_is_refused(no_rank, monkeypatch, text):
    monkeypatch.setenv("RANK", text)
    set_rank(None)
    with pytest.raises(ArgumentError, match=f"RANK='{text}': expected a rank"):
        make_key()


def test_a_process_started_by_torchrun_has_its_rank():
    code = "from droplab.ops import make_key; print(int(make_key(1)[1]) >> 47)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, "RANK": "11"},
    )  # fmt: skip
    assert done.stdout.strip() == "11"


def test_frozen_masks_repeat():
    state = torch.get_rng_state()
    with frozen_masks():
        assert masks_are_frozen()
        first, inside = dropout(X), torch.get_rng_state()
        assert torch.equal(dropout(X), first)
        assert torch.equal(torch.get_rng_state(), inside)
        with frozen_masks():
            other = dropout(X)
            assert not torch.equal(other, first)
        assert torch.equal(dropout(X), first)
        assert not torch.equal(dropout(X, key=make_key(site="a")), first)
    assert not masks_are_frozen()
    assert not torch.equal(dropout(X), first)
    torch.set_rng_state(state)
    with frozen_masks():
        assert torch.equal(dropout(X), first)


def test_frozen_masks_take_a_seed_and_ignore_call_indices():
    state = torch.get_rng_state()
    with frozen_masks(seed=4):
        first = dropout(X)
        assert torch.equal(make_key(7, 3), make_key(7, 4))
        assert torch.equal(make_key(7, torch.tensor([3])), make_key(7, torch.tensor([4])))
        assert not torch.equal(make_key(7), make_key(8))
        by_hand = torch.tensor([1, 2])
        assert not torch.equal(dropout(X, key=by_hand), first)
    with frozen_masks(seed=4):
        assert torch.equal(dropout(X), first)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ArgumentError, match="frozen_masks: seed"), frozen_masks(seed=-1):
        pass


def test_masks_thaw_after_an_error():
    with pytest.raises(KeyError), frozen_masks():
        raise KeyError
    assert not masks_are_frozen()


def test_a_line_search_sees_one_function():
    torch.manual_seed(0)
    weight = torch.randn(20, requires_grad=True)
    data = torch.randn(50, 20)
    optimizer = torch.optim.LBFGS([weight], max_iter=10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = ((dropout(data, 0.5) @ weight - 1) ** 2).mean()
        loss.backward()
        return loss

    with frozen_masks():
        start = closure().item()
        assert closure().item() == start
        optimizer.step(closure)
        assert closure().item() < start


def test_the_default_device_is_not_asked():
    torch.set_default_device("meta")
    try:
        key = make_key()
        assert key.device.type == "cpu"
        assert torch.equal(make_key(3), make_key(3, torch.tensor(0, device="cpu")))
        out = dropout(torch.ones(10, device="cpu"))
        assert out.device.type == "cpu"
    finally:
        torch.set_default_device(None)
