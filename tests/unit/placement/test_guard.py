"""Every outermost call into a guarded model runs on generators, and has masks, of its own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from droplab import placement
from droplab.errors import PlacementError
from droplab.ops import set_rank
from droplab.placement import Applied
from droplab.placement._guard import WATCHED
from droplab.rng import stream_key

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two sites, a dropout module, and a function that drops."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.3)
        self.b = nn.Linear(16, 16)
        self.c = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(torch.relu(self.a(x)))
        return self.c(F.dropout(torch.relu(self.b(x)), 0.2, self.training))


class Nested(nn.Module):
    """A `Net` inside, checkpointed or not."""

    def __init__(self, how: str = "plain") -> None:
        super().__init__()
        self.net = Net()
        self.out = nn.Linear(2, 1)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "plain":
            return self.out(self.net(x))
        reentrant = self.how == "reentrant"
        return self.out(checkpoint(self.net, x, use_reentrant=reentrant))


def guarded(model: nn.Module, p: float = 0.5, seed: int = 0) -> Applied:
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Dropout)]
    sites = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n[-1] in "bc"]
    applied = placement.plan(model, dict.fromkeys(sites, p)).apply(own=names)
    applied.seed({name: stream_key(seed, name) for name in applied.streams})
    applied.guard(seed)
    return applied


def net(p: float = 0.5, seed: int = 0) -> tuple[Net, Applied]:
    torch.manual_seed(1)
    model = Net()
    return model, guarded(model, p, seed)


def test_a_call_gives_the_generator_back_as_it_was():
    model, _ = net()
    before = torch.get_rng_state()
    model(X)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 3))  # does not fit
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("own", [0.0, 0.6])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_nothing_that_drops_moves_what_is_drawn_outside(p: float, own: float):
    def outside(drops: bool) -> torch.Tensor:
        model, _ = net(p if drops else 0.0)
        model.drop.p = own if drops else 0.0
        torch.manual_seed(5)
        found = []
        for _ in range(3):
            model(X)
            found.append(torch.randperm(50))
        return torch.stack(found)

    assert torch.equal(outside(True), outside(False))


def test_the_kth_call_has_the_same_masks_whatever_happens_between():
    one, _ = net()
    other, _ = net()
    first = [one(X) for _ in range(3)]
    second = []
    for _ in range(3):
        torch.randn(7)
        other.eval()
        other(X)
        other.train()
        second.append(other(X))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_a_training_call_in_inference_mode_leaves_those_after_it_their_gradients():
    """Keys are made for many calls at once, and what inference mode makes has no backward pass."""
    model, _ = net()
    with torch.inference_mode():
        model(X)
    model(X).sum().backward()
    other, _ = net()
    other(X)
    other(X).sum().backward()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, theirs.grad)


def test_the_rank_is_that_of_the_call():
    found: dict[bool, list[torch.Tensor]] = {}
    for other in (False, True):
        model, _ = net()
        try:
            first = model(X)
            set_rank(1 if other else None)
            found[other] = [first, model(X), model(X)]
        finally:
            set_rank(None)
    same = [torch.equal(*each) for each in zip(*found.values(), strict=True)]
    assert same == [True, False, False]


def test_another_seed_has_other_masks():
    assert not torch.equal(net(seed=0)[0](X), net(seed=1)[0](X))


def test_the_rate_of_one_dropout_does_not_move_the_masks_of_others():
    one, _ = net()
    other, _ = net()
    other.drop.p = 0.0
    seen: list[torch.Tensor] = []
    for model in (one, other):
        model.b.register_forward_pre_hook(lambda _, args: seen.append(args[0] == 0))
        model.c.register_forward_pre_hook(lambda _, args: seen.append(args[0] == 0))
        model(torch.full((64, 8), 3.0))
    # what p = 0 keeps, p = 0.3 drops in part; the site before b has the same mask in both
    live = ~seen[2]
    assert (seen[0] & live).any()
    assert not (seen[2] & ~seen[0]).any()


def test_copies_count_for_themselves():
    model, _ = net()
    model(X)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = [model(X), model(X)]
    for each in copies:
        assert torch.equal(each(X), expected[0])
        assert torch.equal(each(X), expected[1])


@pytest.mark.parametrize("how", ["", "reentrant"])
@pytest.mark.parametrize("forwards", [1, 3])
def test_checkpointing_repeats_the_masks_of_the_right_call(how: str, forwards: int):
    gradients = []
    for each in ("plain", how):
        torch.manual_seed(1)
        model = Nested(each)
        guarded(model)
        x = X.clone().requires_grad_()
        sum((k + 1) * model(x).sum() for k in range(forwards)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.equal(*gradients)


def test_checkpointing_that_cannot_be_repeated_is_refused():
    model, _ = net()
    x = X.clone().requires_grad_()
    out = checkpoint(model, x, use_reentrant=False)
    with pytest.raises(PlacementError, match="put the checkpoint inside its forward"):
        out.sum().backward()

    class Unsafe(Nested):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(checkpoint(self.net, x, use_reentrant=False, preserve_rng_state=False))

    model = Unsafe()
    guarded(model)
    out = model(X.clone().requires_grad_())
    with pytest.raises(PlacementError, match=r"put the checkpoint|preserve_rng_state"):
        out.sum().backward()


def test_a_layer_that_runs_twice_in_a_checkpoint_is_refused():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Linear(8, 8)

        def inside(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.b(x))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inside, x, use_reentrant=False)

    model = Twice()
    guarded(model)
    out = model(X.clone().requires_grad_())
    with pytest.raises(PlacementError, match="fired several times in that call"):
        out.sum().backward()


def test_accumulation_needs_no_call():
    torch.manual_seed(1)
    model, applied = net()
    for _ in range(5):
        model(X).sum().backward()
    assert applied.fired == {"b": 5, "c": 5}
    assert applied.drawn == {"drop": 5}


def test_a_module_that_is_entered_from_outside_is_guarded_though_its_root_is_not():
    both = nn.ModuleDict({"g": Net(), "d": Net()})
    guarded(both)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for _ in range(WATCHED + 5):
        both["d"](X)
        both["g"](X)
    assert torch.equal(torch.get_rng_state(), before)


def test_few_hooks_are_left_after_the_first_calls():
    model, applied = net()
    for _ in range(WATCHED + 1):
        model(X)
    guard = applied._guard
    assert guard is not None
    assert list(guard.handles) == ["."]
    # and a site that then fires outside of every call still has a mask of its own each time
    hidden = torch.ones(4, 16)
    assert not torch.equal(model.b(hidden), model.b(hidden))


def test_a_compiled_model_is_guarded():
    model, _ = net()
    compiled = torch.compile(model, backend="aot_eager")
    before = torch.get_rng_state()
    first, second = compiled(X), compiled(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    again, _ = net()
    repeated = torch.compile(again, backend="aot_eager")
    torch.randn(9)
    assert torch.equal(repeated(X), first)
    assert torch.equal(repeated(X), second)


def test_reverting_takes_every_hook_out():
    model, applied = net()
    model(X)
    applied.revert()
    hooks = [m._forward_pre_hooks or m._forward_hooks for m in model.modules()]
    assert not any(hooks)
