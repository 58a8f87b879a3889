"""The compiler; its real backend on few layers, since that runs a C++ compiler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from droplab import ops
from droplab.errors import ArgumentError
from droplab.nn import Dropout, Dropout1d, DropPath

# The compiler itself still uses what torch deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:`?torch.jit:DeprecationWarning")

X = torch.linspace(0.5, 2.0, 4 * 6 * 5).view(4, 6, 5)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(5, 5), Dropout(0.5, seed=1), Dropout1d(0.3, seed=2), DropPath(0.2, seed=3)
    )


@pytest.mark.slow
def test_inductor_gives_the_eager_masks_and_gradients() -> None:
    model, eager = _model(), _model()
    eager.load_state_dict(model.state_dict())
    compiled = torch.compile(model, fullgraph=True)
    for _ in range(2):
        results = []
        for module in (compiled, eager):
            x = X.clone().requires_grad_()
            y = module(x)
            y.square().sum().backward()
            results.append((y.detach(), x.grad))
        torch.testing.assert_close(results[0], results[1])
        assert torch.equal(results[0][0] == 0, results[1][0] == 0)


@pytest.mark.slow
def test_inductor_draws_what_eager_draws_without_a_seed() -> None:
    model = nn.Sequential(Dropout(0.5), Dropout(0.5))
    compiled = torch.compile(model, fullgraph=True)
    compiled(X)
    outputs = []
    for module in (compiled, model):
        torch.manual_seed(5)
        outputs.append([module(X) for _ in range(2)])
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(outputs[0][0], outputs[0][1])


def test_all_blocks_of_a_model_share_one_program() -> None:
    """Rates, seeds and numbers of layers are tensors: no block compiles again."""
    blocks = [nn.Sequential(nn.Linear(5, 5), Dropout(0.1, seed=0), Dropout(0.2))]
    blocks += [
        nn.Sequential(nn.Linear(5, 5), Dropout(0.05 * i, seed=i), Dropout(0.03 * i))
        for i in range(1, 12)
    ]

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return block(x)

    run(blocks[0], X)
    with torch.compiler.set_stance("fail_on_recompile"):
        for block in blocks[1:]:
            run(block, X)


def test_train_and_eval_are_two_programs_and_no_more() -> None:
    layer = Dropout(0.5, seed=1)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    compiled(X)
    layer.eval()
    assert torch.equal(compiled(X), X)
    layer.train()
    with torch.compiler.set_stance("fail_on_recompile"):
        assert not torch.equal(compiled(X), X)
        layer.p = 1.0
        assert not compiled(X).any()


def test_frozen_masks_reach_into_compiled_code() -> None:
    model = nn.Sequential(Dropout(0.5), Dropout(0.5, seed=1))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(X)
    with ops.frozen_masks(seed=1):
        first = compiled(X)
        assert torch.equal(first, compiled(X))
        assert torch.equal(first, model(X))


@pytest.mark.parametrize("compiled", [False, True])
def test_vmap_without_a_seed_follows_its_randomness_flag(compiled: bool) -> None:
    layer, members = Dropout(0.5), torch.ones(2, 64)
    for randomness, equal in (("different", False), ("same", True)):

        def run(x: torch.Tensor, randomness: str = randomness) -> torch.Tensor:
            return torch.func.vmap(layer.forward, randomness=randomness)(x)

        call = torch.compile(run, fullgraph=True, backend="aot_eager") if compiled else run
        first, second = call(members)
        assert torch.equal(first, second) == equal
    told_nothing = torch.func.vmap(layer)
    if compiled:
        told_nothing = torch.compile(told_nothing, backend="aot_eager")
    with pytest.raises((ArgumentError, RuntimeError), match="randomness"):
        told_nothing(members)


@pytest.mark.parametrize("outside", [True, False])
def test_checkpointing_a_seeded_layer_in_compiled_code_is_refused(outside: bool) -> None:
    layer = Dropout(0.5, seed=1)

    def block(x: torch.Tensor) -> torch.Tensor:
        return layer(x).square()

    def inner(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(block, x, use_reentrant=False)

    if outside:
        compiled = torch.compile(block, backend="aot_eager")

        def run(x: torch.Tensor) -> torch.Tensor:
            return checkpoint(compiled, x, use_reentrant=False)
    else:
        run = torch.compile(inner, backend="aot_eager")
    x = X.clone().requires_grad_()
    y = run(x)
    with pytest.raises(ArgumentError, match="checkpoint"):
        y.sum().backward()
