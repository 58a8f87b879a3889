"""A model whose forward is computed in bfloat16 by torch's autocast, so that no executor knows.

Weights, loss, gradients, optimizer and all that is measured stay float32: autocast makes products
and convolutions take bfloat16 copies, and what comes out is made float32 again before the loss.
bfloat16 has the range of float32, so gradients need no scaling.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError


class _Autocast:
    """A model's forward under autocast. Copies of the model copy it with its own forward."""

    def __init__(self, forward: Callable[..., Any], device: Callable[[], str]) -> None:
        functools.update_wrapper(self, forward)  # its parameters tell how the model is called
        self._forward, self._device = forward, device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(self._device(), dtype=torch.bfloat16):
            return self._forward(*args, **kwargs)


class _Device:
    """The kind of device that a model is on, wherever it is moved."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def __call__(self) -> str:
        return next((p.device.type for p in self._model.parameters()), "cpu")


def _as_float32(module: nn.Module, args: Any, output: Any) -> Any:
    if isinstance(output, Tensor) and output.dtype == torch.bfloat16:
        return output.float()
    return None


def compute_in_bfloat16(model: nn.Module) -> None:
    """Let a model compute its forward in bfloat16 where torch's autocast does.

    Args:
        model: Its outputs are a tensor (see `Part`), which comes out as float32.

    Example:
        >>> layer = nn.Linear(64, 3)
        >>> x = torch.randn(2, 64)
        >>> exact = layer(x)
        >>> compute_in_bfloat16(layer)
        >>> layer(x).dtype, torch.equal(layer(x), exact), torch.allclose(layer(x), exact, atol=0.1)
        (torch.float32, False, True)
    """
    model.forward = _Autocast(model.forward, _Device(model))
    model.register_forward_hook(_as_float32)


def computes_in_bfloat16(model: nn.Module) -> bool:
    """Whether `compute_in_bfloat16` was called for a model, or for what it is a copy of."""
    return isinstance(vars(model).get("forward"), _Autocast)


def compute_in_float32(model: nn.Module) -> nn.Module:
    """Take back what `compute_in_bfloat16` did, and return the model."""
    if computes_in_bfloat16(model):
        del model.forward
    return model


def check_precision(precision: str | None, device: str) -> None:
    """Check that a device can compute in the precision that a recipe asks for.

    Raises:
        ArgumentError: If it cannot.
    """
    if precision is None or torch.device(device).type != "cuda":
        return  # every CPU can, if not every one fast
    with torch.cuda.device(device):
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    if not able:
        raise ArgumentError(
            f"precision: expected a device that computes in bfloat16, got "
            f"{torch.cuda.get_device_name(device)}, which does not; leave precision out, or train "
            "on the CPU"
        )
