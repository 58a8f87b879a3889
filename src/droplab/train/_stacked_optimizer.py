"""An optimizer over stacked parameters, made by a function that expects those of one model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError
from droplab.train._copies import deep_copy
from droplab.train._step import first_sentence
from droplab.train.optimizers import MakeOptimizer, check_parameters

_KNOWN = frozenset(
    [
        "Adadelta",
        "Adagrad",
        "Adam",
        "Adamax",
        "AdamW",
        "ASGD",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    ]
)
"""Optimizers of torch that treat every number by itself: what is known need not be measured."""

_SCALES = (1.0, 1e-3, 30.0, 1.0, 1e-2, 300.0, 0.1, 1.0)
"""How large the gradients of the measured steps are, so that bounds on norms are passed."""

_CLOSE = 1e-3


def stack_optimizer(
    make_optimizer: MakeOptimizer, model: nn.Module, stacked: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the optimizer that a function makes for one model, over stacked parameters.

    The function sees what it would see for a model alone, so that whatever it looks at (shapes,
    names, order) sorts parameters into groups as it does there.

    Args:
        make_optimizer: The function.
        model: One of the models.
        stacked: For every parameter of it, (K, ...).

    Raises:
        ArgumentError: If the optimizer is over something else than the model's parameters, or
            cannot be copied.
    """
    own = dict(model.named_parameters())
    made = make_optimizer(model.parameters())
    check_parameters(made, own.values())
    memo: dict[int, Any] = {id(parameter): stacked[name] for name, parameter in own.items()}
    kind = type(made)
    optimizer = kind.__new__(kind)
    memo[id(made)] = optimizer
    try:
        # not by copying `made`: torch's optimizers forget attributes that they do not know
        vars(optimizer).update({k: copy.deepcopy(v, memo) for k, v in vars(made).items()})
    except Exception as error:
        raise ArgumentError(f"optimizer: {kind.__name__} cannot be copied: {error}") from error
    for name, parameter in own.items():
        entries = optimizer.state.get(stacked[name], {})  # Adagrad's state is there from the start
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and key != "step":
                members = len(stacked[name])
                entries[key] = value.expand(members, *value.shape).clone().to(stacked[name].device)
    return optimizer


def why_not_elementwise(make_optimizer: MakeOptimizer, model: nn.Module) -> str:
    """Return why stacked parameters are not updated as each replica's own would be; "" if they are.

    For torch's optimizers that treat every number by itself it is known. Any other is measured: it
    gets the same gradients, of many sizes, for two replicas alone and for both stacked.

    Args:
        make_optimizer: Returns the optimizer over the parameters of one model.
        model: Such a model; it is not changed.

    Raises:
        ArgumentError: As `stack_optimizer`.
    """
    kind = type(make_optimizer(model.parameters()))
    if kind.__name__ in _KNOWN and kind.__module__.startswith("torch.optim"):
        return ""
    try:
        twins = [deep_copy(model) for _ in range(2)]
    except Exception as error:  # whatever somebody's model does when it is copied
        return f"the model cannot be copied: {first_sentence(error)}"
    alone = [make_optimizer(twin.parameters()) for twin in twins]
    own = [dict(twin.named_parameters()) for twin in twins]
    with torch.no_grad():
        for parameter in own[1].values():
            if parameter.is_floating_point():
                parameter.mul_(-3.0).add_(0.1)
    stacked = {
        name: nn.Parameter(
            torch.stack([each[name].detach() for each in own]), parameter.requires_grad
        )
        for name, parameter in own[0].items()
    }
    together = stack_optimizer(make_optimizer, model, stacked)
    try:
        found = _first_difference(alone, own, together, stacked)
    except Exception as error:  # whatever somebody's optimizer does with one dimension more
        return f"{kind.__name__} refuses stacked parameters: {first_sentence(error)}"
    if found:
        found = f"{kind.__name__} looks at whole tensors, not at each number: {found}"
    return found


def _first_difference(
    alone: Sequence[torch.optim.Optimizer],
    own: Sequence[Mapping[str, nn.Parameter]],
    together: torch.optim.Optimizer,
    stacked: Mapping[str, nn.Parameter],
) -> str:
    generator = torch.Generator().manual_seed(0)
    for number, scale in enumerate(_SCALES, 1):
        before = {name: parameter.detach().clone() for name, parameter in stacked.items()}
        for name, parameter in stacked.items():
            if not parameter.requires_grad:
                continue
            gradient = torch.randn(parameter.shape, generator=generator) * scale
            gradient[1] *= 50.0
            parameter.grad = gradient.to(parameter)
            for member, each in enumerate(own):
                each[name].grad = parameter.grad[member].clone()
        for optimizer in (*alone, together):
            optimizer.step()
        for name, parameter in stacked.items():
            for member, each in enumerate(own):
                start = before[name][member]
                moved, expected = parameter[member] - start, each[name] - start
                floor = 1e-6 * float(each[name].detach().abs().max() if expected.numel() else 0)
                if not _close(moved, expected, floor):
                    return f"after {number} steps '{name}' is another one than alone"
                entries = alone[member].state.get(each[name], {})
                other = together.state.get(parameter, {})
                for key, value in entries.items():
                    there = other.get(key)
                    if isinstance(there, Tensor) and there.dim() and key != "step":
                        there = there[member]
                    if not _same(there, value):
                        return f"after {number} steps '{key}' of '{name}' is another one than alone"
        for at, group in enumerate(together.param_groups):
            for optimizer in alone:
                for key, value in optimizer.param_groups[at].items():
                    if key != "params" and not _same(group.get(key), value):
                        return f"after {number} steps its '{key}' is another one than alone"
    return ""


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.shape == two.shape and _close(one, two, 0.0)
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= _CLOSE * abs(two)
    return type(one) is type(two) and not (isinstance(two, (int, str, bool)) and one != two)


def _close(one: Tensor, two: Tensor, floor: float) -> bool:
    if not two.numel() or not two.is_floating_point():
        return torch.equal(one, two)
    if not bool(two.isfinite().all()):
        return not bool(one.isfinite().all())
    largest = float(two.detach().abs().max())
    return bool(((one - two).abs() <= _CLOSE * largest + floor + 1e-30).all())
