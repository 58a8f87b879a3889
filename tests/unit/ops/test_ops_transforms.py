"""Dropout under the compiler, functorch and fake tensors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from droplab.errors import ArgumentError
from droplab.ops import draw_layer_key, dropout, frozen_masks, keep_mask, make_key

# torch's own use of what it has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")

KEY = make_key(seed=1)
X = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
P = torch.tensor([0.1, 0.5, 1.0])
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


OPS = torch.ops.droplab


@pytest.mark.parametrize(
    "call",
    [
        (OPS.dropout.default, (X.clone().requires_grad_(), KEY, None, 0.5, None, None, False)),
        (OPS.dropout.default, (X, KEY, torch.tensor(0.5), 0.0, (1, 500), "reference", False)),
        (OPS.dropout.default, (X.t(), KEY, torch.tensor(0.5), 0.0, None, None, False)),
        (OPS.dropout.default, (X, KEY.expand(3, 2), P, 0.0, None, None, True)),
        (OPS.dropout.default, (X.half(), KEY, P, 0.0, (1,), None, True)),
        (OPS.keep_mask.default, ((3, 5), KEY, None, 0.5, 0, CPU, None)),
        (OPS.keep_mask.default, ((3, 5), KEY.expand(3, 2), P, 0.0, 3, CPU, None)),
        (OPS.words.default, ((3, 5), KEY, 0, CPU, None)),
        (OPS.words.default, ((3, 5), KEY.expand(3, 2), 3, CPU, "reference")),
        (OPS.seeded_key.default, (3, torch.tensor([1, 2]), "fc1")),
        (OPS.draw_key.default, ("", 0), {"device": CPU}),
    ],
)
def test_operators_pass_opcheck(call):
    torch.library.opcheck(*call)


def test_inductor_code_draws_the_masks_of_eager_code():
    def f(x):
        return dropout(torch.relu(dropout(x, 0.3)), 0.5)

    g = compiled(f, "inductor")
    x = X.requires_grad_()
    torch.manual_seed(1)
    plain = f(x)
    torch.manual_seed(1)
    out = g(x)
    assert torch.equal(out, plain)
    assert not torch.equal(g(x), out)
    upstream = torch.randn(out.shape)
    (a,) = torch.autograd.grad(plain, x, upstream)
    (b,) = torch.autograd.grad(out, x, upstream)
    assert torch.allclose(a, b)
    assert torch.equal(b == 0, out == 0)


@pytest.mark.parametrize("trains", [True, False])
def test_two_draws_are_not_merged_into_one(trains):
    g = compiled(lambda x: (dropout(x, 0.5), dropout(x, 0.5)), "inductor")
    a, b = g(torch.ones(1000, requires_grad=trains))
    assert not torch.equal(a, b)


def test_two_calls_of_one_layer_are_not_merged_into_one():
    site = torch.tensor(1)

    def f(x):
        return dropout(x, 0.5, key=draw_layer_key(site)), dropout(x, 0.5, key=draw_layer_key(site))

    a, b = compiled(f)(torch.ones(1000, requires_grad=True))
    assert not torch.equal(a, b)


def test_equal_programs_are_numbered_alike():
    numbers = []

    def backend(graph, _):
        draws = (OPS.draw_key, OPS.draw_key.default)
        numbers.append([n.args[1] for n in graph.graph.nodes if n.target in draws])
        return graph

    for _ in range(2):
        torch.compiler.reset()
        torch.compile(lambda x: dropout(dropout(x)), backend=backend)(torch.ones(3))
    assert numbers == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: dropout(x, 0.5, key=KEY),
        lambda x: dropout(x, 0.5, seed=3),
        lambda x: dropout(x, P, key=KEY),
        lambda x: dropout(x, 0.5, key=KEY, noise_shape=(3, 1)),
        lambda x: dropout(x.t(), 0.5, key=KEY),
        lambda x: dropout(x, 0.5, training=False),
        lambda x: torch.func.vmap(lambda x, p: dropout(x, p, key=KEY))(x, P),
        lambda x: torch.func.grad(lambda x: dropout(x, 0.5, key=KEY).square().sum())(x),
        lambda x: torch.func.vmap(torch.func.grad(lambda x: dropout(x, 0.5, key=KEY).sum()))(x),
        lambda x: torch.where(keep_mask((3, 1), 0.5, key=KEY), x, 0.0),
    ],
)
def test_compiled_equals_eager(f):
    x = X
    assert torch.equal(compiled(f)(x), f(x))


def test_rates_and_call_indices_as_tensors_do_not_recompile():
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    def f(x, rate, call):
        return dropout(x, rate, key=make_key(3, call))

    g = torch.compile(f, fullgraph=True, backend=count)
    for step in range(20):
        rate, call = torch.tensor(step / 40), torch.tensor(step)
        assert torch.equal(g(X, rate, call), f(X, rate, call))
    assert count.frame_count == 1


def test_sizes_can_be_dynamic():
    g = compiled(lambda x: dropout(x, 0.5, key=KEY, noise_shape=(x.shape[0], 1)), dynamic=True)
    for n in (3, 7, 11):
        x = torch.ones(n, 5)
        assert torch.equal(g(x), dropout(x, 0.5, key=KEY, noise_shape=(n, 1)))


def test_errors_come_out_of_compiled_code_too():
    g = compiled(lambda x, p: dropout(x, p))
    with pytest.raises(ArgumentError, match="expected a drop probability"):
        g(torch.ones(3), torch.tensor(2.0))


def test_compiled_code_sees_frozen_masks_when_it_runs():
    g = compiled(lambda x: dropout(x, 0.5))
    x = torch.ones(1000)
    first = g(x)
    with frozen_masks():
        inside = g(x)
        assert torch.equal(g(x), inside)
        assert torch.equal(dropout(x, 0.5), inside)
    assert not torch.equal(g(x), inside)
    assert not torch.equal(first, inside)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_checkpointing_repeats_the_mask(backend):
    weight = torch.randn(64, 64)

    def block(x):
        return dropout(torch.tanh(x @ weight), 0.5).square()

    def f(x):
        return checkpoint(block, x, use_reentrant=False)

    x = torch.randn(8, 64, requires_grad=True)
    torch.manual_seed(1)
    (plain,) = torch.autograd.grad(f(x).sum(), x)
    torch.manual_seed(1)
    (grad,) = torch.autograd.grad(compiled(f, backend)(x).sum(), x)
    assert torch.allclose(grad, plain, atol=1e-5)


@pytest.mark.parametrize("in_dims", [(0, 0, None), (None, 0, None), (0, None, 0), (1, None, None)])
def test_vmap_gives_each_member_the_mask_it_would_have_alone(in_dims):
    x = torch.randn(3, 3, 4)
    keys = make_key(1, torch.arange(3)) if in_dims[2] == 0 else KEY
    rate = P if in_dims[1] == 0 else torch.tensor(0.5)
    out = torch.func.vmap(lambda x, p, k: dropout(x, p, key=k), in_dims)(x, rate, keys)
    for i in range(3):
        alone = dropout(
            x if in_dims[0] is None else x.select(in_dims[0], i),
            rate[i] if rate.dim() else rate,
            key=keys[i] if keys.dim() == 2 else keys,
        )
        assert torch.equal(out[i], alone)


def test_vmap_of_vmap_of_grad_of_rows():
    x, keys = torch.randn(2, 3, 4, 5), make_key(1, torch.arange(3))
    rates = torch.rand(2)

    def f(x, p, k):
        return torch.func.grad(lambda x: dropout(x, p, key=k, noise_shape=(4, 1)).pow(2).sum())(x)

    out = torch.func.vmap(torch.func.vmap(f, (0, None, 0)), (0, 0, None))(x, rates, keys)
    for i in range(2):
        for j in range(3):
            once = dropout(x[i, j], rates[i], key=keys[j], noise_shape=(4, 1))
            alone = 2 * dropout(once, rates[i], key=keys[j], noise_shape=(4, 1))
            assert torch.allclose(out[i, j], alone)


def test_vmap_over_rows_that_have_rates_already():
    x = torch.randn(2, 3, 4)
    out = torch.func.vmap(lambda x: dropout(x, P, key=KEY))(x)
    assert torch.equal(out[1], dropout(x[1], P, key=KEY))


def test_drawn_keys_follow_the_randomness_flag_of_vmap():
    x = torch.ones(3, 1000)
    different = torch.func.vmap(lambda x: dropout(x, 0.5), randomness="different")(x)
    assert len({tuple(row.tolist()) for row in different}) == 3
    same = torch.func.vmap(lambda x: dropout(x, 0.5), randomness="same")(x)
    assert len({tuple(row.tolist()) for row in same}) == 1
    again = torch.func.vmap(lambda x: dropout(x, 0.5), randomness="same")(x)
    assert not torch.equal(again, same)
    with pytest.raises(ArgumentError, match="randomness='different'"):
        torch.func.vmap(lambda x: dropout(x, 0.5))(x)
    with frozen_masks():
        frozen = torch.func.vmap(lambda x: dropout(x, 0.5))(x)
        assert torch.equal(frozen[0], dropout(x[0], 0.5))


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_drawn_keys_follow_the_flag_in_compiled_vmap(randomness):
    g = compiled(lambda x: torch.func.vmap(lambda x: dropout(x, 0.5), randomness=randomness)(x))
    out = g(torch.ones(3, 1000))
    assert len({tuple(row.tolist()) for row in out}) == (3 if randomness == "different" else 1)
    assert 0.4 < (out == 0).float().mean() < 0.6  # 11 standard deviations for 1000 elements


def test_jvp_hessian_and_linearize():
    x, tangent = torch.randn(10), torch.randn(10)
    out, moved = torch.func.jvp(lambda x: dropout(x, 0.5, key=KEY), (x,), (tangent,))
    assert torch.equal(moved, dropout(tangent, 0.5, key=KEY))
    hessian = torch.func.hessian(lambda x: (dropout(x, 0.5, key=KEY) ** 2).sum())(x)
    assert torch.equal(hessian, torch.diag(8.0 * (out != 0)))
    jacobian = torch.func.jacrev(lambda x: dropout(x, 0.5, key=KEY))(x)
    assert torch.equal(jacobian, torch.diag(2.0 * (out != 0)))


def test_functional_call_and_deepcopy():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 5)
            self.register_buffer("rate", torch.tensor(0.5))

        def forward(self, x):
            return dropout(self.fc(x), self.rate, key=KEY)

    block = Block()
    x = torch.randn(2, 5)
    state = {name: value.clone() for name, value in block.state_dict().items()}
    assert torch.equal(torch.func.functional_call(block, state, (x,)), block(x))
    state["rate"] = torch.tensor(1.0)
    assert not torch.func.functional_call(block, state, (x,)).any()
    assert torch.equal(copy.deepcopy(block)(x), block(x))


def test_fake_tensors_with_and_without_their_mode():
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    x = mode.from_tensor(torch.randn(4, 5, requires_grad=True))
    for out in (dropout(x, 0.5, key=KEY), dropout(x.detach(), 0.5, key=KEY)):
        assert (type(out), out.shape) == (type(x), x.shape)
    with mode:
        assert dropout(torch.empty(3, 7), 0.5).shape == (3, 7)


def test_tracing_keeps_dropout_as_one_operator():
    def step(x, rate):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(dropout(x, rate, key=KEY).square().sum(), x)[0]

    x, rate = torch.randn(10), torch.tensor(0.5)
    graph = make_fx(step)(x, rate)
    calls = [node for node in graph.graph.nodes if node.target is OPS.dropout.default]
    assert len(calls) == 2
    other = torch.randn(10)
    assert torch.equal(graph(other, torch.tensor(0.2)), step(other, torch.tensor(0.2)))
