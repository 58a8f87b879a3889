"""Running a model and leaving no trace in it."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from droplab.placement._hook import site_hooks


@contextmanager
def untouched(model: nn.Module, *, training: bool = True, seed: int = 0) -> Iterator[None]:
    """Run `model` in training mode inside; give back flags, buffers and generators after.

    Training mode, because dropout inside `forward` often shows itself only there. The generators
    begin with `seed`, so that nothing inside depends on the state that they had.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, buffer in module._buffers.items()
    ]
    hooks = [hook for module in model.modules() for hook in site_hooks(module)]
    layerdrop = [
        (module, name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if "layerdrop" in name and isinstance(value, float)
    ]
    counts = [(hook, hook.count, hook.earlier) for hook in hooks]
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_generators(model, seed))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module, _ in flags:
                module.training = training
            for module, name, _ in layerdrop:
                setattr(module, name, 0.0)  # or whole layers would be skipped at random
            yield
        finally:
            for module, flag in flags:
                module.training = flag
            for module, name, buffer, copy in buffers:
                module._buffers[name] = buffer
                if buffer is not None and copy is not None:
                    put_back(buffer, copy)
            for module, name, value in layerdrop:
                setattr(module, name, value)
            for hook, count, earlier in counts:
                hook.count, hook.earlier = count, earlier


def put_back(buffer: Tensor, value: Tensor) -> None:
    """Give a buffer its old value and shape: observers of a quantisation begin with empty ones."""
    if buffer.shape != value.shape:
        buffer.resize_(value.shape)
    buffer.copy_(value)


@contextmanager
def _generators(model: nn.Module, seed: int) -> Iterator[None]:
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    legacy = numpy.random.get_state() if numpy else None
    try:
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            random.seed(seed)
            if numpy:
                numpy.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(legacy)
