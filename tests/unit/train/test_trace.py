"""A trace notes what torch carries out: the operations that `make_fx` notes as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils._python_dispatch import return_and_correct_aliasing

from droplab.train._step import NUMBER_TAKEN, UnsupportedError
from droplab.train._trace import trace_operations


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))


def gradients(x):
    model = network()
    return torch.autograd.grad(model(x).square().mean(), list(model.parameters()))


def whole_step(x):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(x).square().mean().backward()
    optimizer.step()
    return {"logits": model(x), "weights": list(model.parameters())}


def member_by_member(x):
    model = network().eval()
    held = {name: torch.stack([p, 2 * p]).detach() for name, p in model.named_parameters()}
    return torch.func.vmap(lambda own: torch.func.functional_call(model, own, (x,)))(held)


def in_place(x):
    y = x + 1
    y[0].mul_(2)
    y.add_(x)
    return y, x.t()


def with_a_number(x):
    half = torch.tensor(0.5)
    half.mul_(2)
    return x * half.item(), half


def autocast(x):
    with torch.autocast("cpu", torch.bfloat16):
        model = network()
        return model[0](x) + model[0](x)


def draws(x):
    return torch.rand_like(x) + x.split(2)[1].sum(), torch.topk(x, 2).values


FUNCTIONS = [gradients, whole_step, member_by_member, in_place, with_a_number, autocast, draws]


def noted(graph):
    """What a graph does, whatever its nodes are called, and where its constants are named."""
    places, lines = {}, []
    for node in graph.nodes:
        if "profiler" in str(node.target):
            continue
        if node.op == "get_attr":
            places[node] = "constant"
            continue
        places[node] = f"v{len(lines)}"
        given = map_arg((node.args, node.kwargs), places.__getitem__)
        value = node.meta.get("val")
        kind = ""
        if isinstance(value, torch.Tensor):
            kind = f"{tuple(value.shape)} {value.stride()} {value.dtype}"
        target = node.op == "call_function" and node.target
        if target is torch.ops.aten.alias.default:  # what make_fx of torch 2.14 calls a detach
            target = torch.ops.aten.detach.default
        lines.append((node.op, target, str(given), kind))
    return lines


@pytest.mark.skipif(
    torch.__version__.startswith("2.6."),
    reason="its make_fx writes batch norm as another operation",
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_operations_are_those_of_make_fx(function):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    reference = make_fx(function)(x.clone()).graph
    found = trace_operations(function, [x.clone()])
    assert noted(found.graph) == noted(reference)
    values = [node.meta["val"] for node in found.graph.nodes if "val" in node.meta]
    assert all(value.is_meta for value in values)


def test_a_constant_is_what_no_operation_made():
    held = torch.ones(4)
    x = torch.zeros(4)
    found = trace_operations(lambda x: x * held + held.sin(), [x])
    assert list(found.constants.values()) == [held]


def test_a_new_tensor_is_not_taken_for_one_that_is_gone():
    """Python gives a new object the identity of one that it has thrown away."""
    outside = []

    def function(x):
        total = x
        for number in range(20):
            del_me = x + 1
            del del_me
            outside.append(torch.from_numpy(np.full(4, number, dtype=np.float32)))
            total = total + outside.pop().clone()
        return total

    found = trace_operations(function, [torch.zeros(4)])
    values = [float(value[0]) for value in found.constants.values()]
    assert values == list(range(20))


def changed_in_place(x):
    counter = torch.tensor(0.0)
    torch.ops.aten._foreach_add_.List([counter], [x.sum()])  # which returns nothing
    return x * counter.item()


TAKEN = {
    "of an operation": lambda x: x * x.sum().item(),
    "of an argument": lambda x: x * x[0].item(),
    "as a condition": lambda x: x if x.sum() > 0 else -x,
    "in a comparison": lambda x: x if torch.equal(x, x + 1) else -x,
    "of what was changed": changed_in_place,
    "of a number that met a tensor": lambda x: x * torch.tensor(1.0).add_(x.sum()).item(),
}


@pytest.mark.parametrize("function", TAKEN.values(), ids=TAKEN)
def test_a_number_that_an_operation_made_is_not_taken(function):
    with pytest.raises(UnsupportedError) as refused:
        trace_operations(function, [torch.ones(4)])
    assert NUMBER_TAKEN in str(refused.value)


def test_a_number_of_python_and_one_that_was_given_may_be_read():
    given = torch.tensor(3.0)
    found = trace_operations(
        lambda x: x * torch.tensor(2.0).sqrt().item() * given.item(), [torch.ones(2)]
    )
    assert "1.414" in str(found.graph)
    assert "3.0" in str(found.graph)


class Doubled(torch.Tensor):
    """A tensor with a way of its own down to plain ones."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        plain = [x.inner if isinstance(x, Doubled) else x for x in args]
        out = Doubled(func(*plain, **(kwargs or {})))
        return return_and_correct_aliasing(func, args, kwargs or {}, out)


def test_a_tensor_of_another_class_leads_to_plain_ones():
    found = trace_operations(lambda x: (Doubled(x) * 2).inner, [torch.ones(3)])
    assert [node.op for node in found.graph.nodes] == ["placeholder", "call_function", "output"]
    assert list(found.graph.nodes)[1].target is torch.ops.aten.mul.Tensor
