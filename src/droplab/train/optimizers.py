"""Optimizers by their torch name, in the fastest form that torch has for them."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from droplab.errors import ArgumentError, nearest
from droplab.train._copies import deep_copy

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer over the parameters of one model."""


_OF_ALL = ("fused", "foreach", "differentiable", "capturable")
"""Arguments that say how a step is computed, which is one way for all parameters."""


class Group(NamedTuple):
    """Parameters for which an optimizer has arguments of their own.

    Args:
        numbers: Their places among the parameters of a model.
        arguments: Keyword arguments of the optimizer.
    """

    numbers: tuple[int, ...]
    arguments: Mapping[str, Any]


def optimizer_names() -> list[str]:
    """Return the names of torch's optimizers that a plain training step can use.

    `LBFGS` needs a closure and `SparseAdam` sparse gradients; neither fits the step.

    Example:
        >>> "AdamW" in optimizer_names(), "LBFGS" in optimizer_names()
        (True, False)
    """
    return sorted(
        name
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value)
        and issubclass(value, torch.optim.Optimizer)
        and name not in ("Optimizer", "LBFGS", "SparseAdam")
    )


def build_optimizer(
    name: str,
    arguments: Mapping[str, Any],
    parameters: Iterable[nn.Parameter],
    groups: Sequence[Group] = (),
) -> torch.optim.Optimizer:
    """Return `torch.optim.<name>(parameters, **arguments)`, fused where torch can.

    Args:
        name: Class name in `torch.optim`, for example "Adam".
        arguments: Its keyword arguments.
        parameters: What it updates.
        groups: Arguments of their own for some of them. They follow the group of all others.

    Returns:
        The optimizer. `fused=True` is added if its class knows it and `arguments` choose no
        implementation themselves.

    Raises:
        ArgumentError: If torch has no such optimizer, it needs more than gradients, it does not
            know an argument, or it refuses a value.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> build_optimizer("Adam", {"lr": 1e-3}, layer.parameters()).defaults["fused"]
        True
    """
    names = optimizer_names()
    if name not in names:
        raise ArgumentError(
            f"optimizer.name: expected an optimizer of torch.optim that needs gradients only, "
            f"got {name!r}{nearest(name, names)}"
        )
    factory = getattr(torch.optim, name)
    known = [key for key in inspect.signature(factory).parameters if key != "params"]
    _check_known(name, known, arguments)
    # TOML has no tuples, and Adam's betas want one
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    chosen = {*_OF_ALL} & set(values)
    parameters = list(parameters)
    if groups:
        parameters = _grouped(name, known, values, parameters, groups)
    if "fused" in known and not chosen:
        # where this class or dtype has no fused form on this device, torch says so
        with contextlib.suppress(RuntimeError, ValueError, TypeError):
            fused = factory(parameters, **values, fused=True)
            if _begins_momentum(fused):
                return fused
    try:
        return factory(parameters, **values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"optimizer: torch.optim.{name} refused {values}: {error}") from error


def _begins_momentum(optimizer: torch.optim.Optimizer) -> bool:
    """Make room for the momentum of fused SGD, and return whether it can then take any step.

    Where it has none it takes a step for the first of all parameters, and breaks off at those whose
    first gradient comes later: of a layer that was frozen, of a block that was left out. Momentum
    of zeros is what a first step begins with, unless gradients are dampened: the first never is.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return True
    groups = [group for group in optimizer.param_groups if group["momentum"]]
    if any(group["dampening"] for group in groups):
        return False
    for group in groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return True


def _check_known(
    name: str, known: Sequence[str], arguments: Mapping[str, Any], where: str = "optimizer"
) -> None:
    for key in arguments:
        if key not in known:
            raise ArgumentError(
                f"{where}.{key}: torch.optim.{name} has no such argument{nearest(key, known)}"
            )


def _grouped(
    name: str,
    known: Sequence[str],
    values: Mapping[str, Any],
    parameters: Sequence[nn.Parameter],
    groups: Sequence[Group],
) -> list[Any]:
    """Return parameter groups as torch has them: those of no group first, then each group."""
    found: list[dict[str, Any]] = []
    for number, group in enumerate(groups):
        where = f"optimizer.groups[{number}]"
        for key in group.arguments:
            if key in _OF_ALL:
                raise ArgumentError(
                    f"{where}.{key}: expected it beside the optimizer's name, got it in a group; "
                    "a step is computed in one way for all parameters"
                )
        _check_known(name, known, group.arguments, where)
        own = {k: tuple(v) if isinstance(v, list) else v for k, v in group.arguments.items()}
        try:  # torch looks at the values of the whole optimizer alone
            getattr(torch.optim, name)([nn.Parameter(torch.zeros(1, 1))], **{**values, **own})
        except (TypeError, ValueError, RuntimeError) as error:
            raise ArgumentError(f"{where}: torch.optim.{name} refused {own}: {error}") from error
        found.append({"params": [parameters[at] for at in group.numbers], **own})
    taken = {at for group in groups for at in group.numbers}
    others = [parameter for at, parameter in enumerate(parameters) if at not in taken]
    return [{"params": others}, *found] if others else found


def check_optimizer(make_optimizer: MakeOptimizer, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that a function makes for a model, if a training step can use it.

    Args:
        make_optimizer: The function.
        model: The model, which is not changed.

    Raises:
        ArgumentError: If it makes no optimizer, or one over other parameters, one that needs more
            than gradients, or one that does not take the sparse gradients of the model.

    Example:
        >>> check_optimizer(lambda p: torch.optim.LBFGS(p), nn.Linear(2, 2))
        Traceback (most recent call last):
            ...
        droplab.errors.ArgumentError: optimizer: expected one that needs gradients only, got LBFGS,
        whose step needs a function that computes the loss again; take AdamW or SGD, for example
    """
    made = make_optimizer(model.parameters())
    if not isinstance(made, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArgumentError(
            "optimizer: expected a torch.optim.Optimizer from the function, got "
            f"{type(made).__name__}"
        )
    check_parameters(made, model.parameters())
    closure = inspect.signature(type(made).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ArgumentError(
            f"optimizer: expected one that needs gradients only, got {type(made).__name__}, whose "
            "step needs a function that computes the loss again; take AdamW or SGD, for example"
        )
    _check_sparse(make_optimizer, made, model)
    return made


def check_parameters(optimizer: torch.optim.Optimizer, given: Iterable[nn.Parameter]) -> None:
    """Check that an optimizer is over parameters that its function was given.

    Raises:
        ArgumentError: If it is not.
    """
    ids = {id(parameter) for parameter in given}
    for group in optimizer.param_groups:
        if any(id(parameter) not in ids for parameter in group["params"]):
            raise ArgumentError(
                "optimizer: expected one over the parameters that its function is given, got some "
                "of another model; use the argument, as in lambda p: torch.optim.AdamW(p, lr=3e-4)"
            )


def _check_sparse(
    make_optimizer: MakeOptimizer, made: torch.optim.Optimizer, model: nn.Module
) -> None:
    """Take a step with gradients of zeros on a copy, sparse where the model's are."""
    sparse = {
        f"{path}.weight".lstrip("."): module
        for path, module in model.named_modules()
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse
    }
    kind = type(made).__name__
    if not sparse and kind != "SparseAdam":
        return
    twin = deep_copy(model)
    optimizer = make_optimizer(twin.parameters())
    for name, parameter in twin.named_parameters():
        if parameter.requires_grad:
            zeros = torch.zeros_like(parameter)
            parameter.grad = zeros.to_sparse(1) if name in sparse else zeros
    try:
        with warnings.catch_warnings(action="ignore"):
            optimizer.step()
    except RuntimeError as error:
        if not sparse:
            raise ArgumentError(
                f"optimizer: {kind} takes sparse gradients alone, and those of this model are "
                "dense; take Adam"
            ) from error
        raise ArgumentError(
            f"optimizer: {kind} does not take the sparse gradient of '{next(iter(sparse))}' beside "
            "dense ones; build the embedding with sparse=False"
        ) from error


def reads_rate(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its fused update reads a learning rate that is a tensor as it runs.

    Where it does not, as that of Adagrad in torch 2.6, the number is taken out of the tensor
    before, and a recording would freeze it.
    """
    kinds = (kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("torch."))
    home = next(kinds, torch.optim.Optimizer)
    update = getattr(torch.ops.aten, f"_fused_{home.__name__.lower()}_", None)
    return update is not None and "tensor_lr" in update.overloads()


def join_counters(optimizer: torch.optim.Optimizer) -> None:
    """Let the step counters of an optimizer lie side by side, so that one addition counts them all.

    Each stays a tensor in the state of its parameter, and becomes an element of one that they
    share. Where they lie so already, they stay where they are.
    """
    states = [state for state in optimizer.state.values() if "step" in state]
    counters = [state["step"] for state in states]
    kinds = {(c.dtype, c.device, c.dim()) for c in counters if isinstance(c, Tensor)}
    scalars = len(kinds) == 1 and all(isinstance(c, Tensor) and c.dim() == 0 for c in counters)
    if not scalars or lie_together(counters) is not None:
        return
    for state, counter in zip(states, torch.stack(counters).unbind(), strict=True):
        state["step"] = counter


def lie_together(scalars: Sequence[Any]) -> Tensor | None:
    """Return the tensor whose elements these are in their order, None if they are of none."""
    first = scalars[0] if scalars else None
    if not isinstance(first, Tensor):
        return None
    for index, scalar in enumerate(scalars):
        if not isinstance(scalar, Tensor) or scalar.dim() or scalar.dtype is not first.dtype:
            return None
        if scalar.data_ptr() != first.data_ptr() + index * first.itemsize:
            return None
        if scalar.untyped_storage().data_ptr() != first.untyped_storage().data_ptr():
            return None
    return first.as_strided((len(scalars),), (1,))
