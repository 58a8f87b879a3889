"""What the caller is inside of: the compiler, a functorch transform, a mode."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch._guards import TracingContext
from torch.autograd import forward_ad

is_compiling = torch.compiler.is_compiling


def _exports_without_compiler() -> bool:
    return is_compiling() and not torch.compiler.is_dynamo_compiling()


is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", _exports_without_compiler
)
"""Of torch 2.6, which does not say it, only an export without its compiler is known."""

PLAIN_TYPES = frozenset({torch.Tensor, torch.nn.Parameter})
"""Types of tensors whose memory is what it seems; a fake or distributed tensor has another type."""

_functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_VMAP = _functorch.TransformType.Vmap


def under_vmap() -> bool:
    """Return whether any enclosing transform is `torch.func.vmap`.

    The compiler cannot tell one transform from another, so there it is whether there is any.
    """
    if not torch._C._are_functorch_transforms_active():
        return False
    if is_compiling():
        return True
    stack = _functorch.get_interpreter_stack() or ()
    return any(interpreter.key() == _VMAP for interpreter in stack)


def is_batched_gradient(x: torch.Tensor) -> bool:
    """Return whether x is what `torch.autograd.grad(is_grads_batched=True)` sends back."""
    return _functorch.is_legacy_batchedtensor(x)


def transforms_active() -> bool:
    """Return whether a transform of `torch.func` or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or (
        not is_compiling() and forward_ad._current_level >= 0
    )


def is_plain() -> bool:
    """Return whether operators act on tensors at once: nothing traces, transforms or intercepts.

    Then the kernels can be called without the dispatcher, which costs more than a small tensor.
    """
    return not (
        is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


_draws: WeakKeyDictionary[TracingContext, int] = WeakKeyDictionary()
_untraced_draws = itertools.count()


def draw_number() -> int:
    """Return a number that no other draw of the program that is being traced has.

    Counted from 0 in every program, so that equal programs are equal for the compiler's cache.
    """
    context = TracingContext.try_get()
    if context is None:
        return next(_untraced_draws)
    number = _draws.get(context, 0)
    _draws[context] = number + 1
    return number


# What torch.compiler.assume_constant_result does, without importing the compiler: it calls the
# function once for every place in the program, and looks at nothing that the function looks at.
draw_number._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
