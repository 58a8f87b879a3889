"""Keeping the state that a run of a model touches, and giving it back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OWN = ("_parameters", "_buffers", "_modules")


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Give back everything that running a model changes, when the block ends.

    Training flags, parameters, buffers, gradients, plain attributes (counters, caches) of every
    module, and the generators of torch (on the CPU and on every device), numpy and Python.
    """
    modules = list(model.modules())
    kept = [_Kept(module) for module in modules]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    with generators_preserved():
        try:
            for parameter, _ in grads:
                parameter.grad = None
            yield
        finally:
            for item in kept:
                item.restore()
            for parameter, grad in grads:
                parameter.grad = grad


@contextmanager
def generators_preserved() -> Iterator[None]:
    """Give back the state of every default generator when the block ends."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 # models draw from it
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002 # as above


class _Kept:
    """One module's state; tensors by value, lists, sets and dicts one level deep."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.plain = {name: v for name, v in module.__dict__.items() if name not in _OWN}
        self.own = {name: dict(module.__dict__[name]) for name in _OWN}
        self.containers = [
            (value, type(value)(value))
            for value in self.plain.values()
            if type(value) in (list, set, dict)
        ]
        tensors = [*self.own["_parameters"].values(), *self.own["_buffers"].values()]
        tensors += [value for value in self.plain.values() if isinstance(value, Tensor)]
        self.tensors = [
            (tensor, tensor.detach().clone())
            for tensor in tensors
            if tensor is not None
            and not isinstance(tensor, nn.UninitializedParameter)
            and not isinstance(tensor, nn.UninitializedBuffer)
        ]

    def restore(self) -> None:
        state: dict[str, Any] = self.module.__dict__
        for name in _OWN:
            state[name].clear()
            state[name].update(self.own[name])
        for name in [name for name in state if name not in _OWN and name not in self.plain]:
            del state[name]
        state.update(self.plain)
        for value, copy in self.containers:
            value.clear()
            if isinstance(value, list):
                value.extend(copy)
            else:
                value.update(copy)
        with torch.no_grad():
            for tensor, copy in self.tensors:
                if not torch.equal(tensor, copy):
                    tensor.detach().copy_(copy)
