"""A model in eval mode in which all dropout drops."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.placement import Applied, Bank, OwnDropout, as_call, inner, plan, put_back, rates

ROOT = "."


class NothingDrops(ArgumentError):
    """Nothing in a model drops, so that all its passes would be alike."""


@dataclass
class Awake:
    """What drops inside `awake`.

    Attributes:
        rates: The rates by which something drops, by the names that `droplab.rates` has.
        paths: The modules that are in training mode, by path; "." is the model itself.
        others: Those of them that draw random numbers at a rate that is not known.
    """

    rates: dict[str, float] = field(default_factory=dict[str, float])
    paths: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        """List what drops, in a sentence."""
        drops = [f"'{name}' {p:g}" for name, p in self.rates.items()]
        drops += [f"'{path}' at a rate of its own" for path in self.others]
        return f"awake: {', '.join(drops) or 'what the first call will show'}"


@contextmanager
def awake(model: nn.Module, rates: Any = None, *, example: Any = None) -> Iterator[Awake]:
    """Let all dropout in `model` drop inside, with everything else in eval mode.

    Modules of all kinds, functions inside `forward` (`F.dropout`, attention), `nn.LSTM(dropout=)`,
    stochastic depth and what is written by hand: whatever draws random numbers in training, as one
    pass over the example shows. A module that draws is put in training mode by itself, without
    those within it, so that a BatchNorm keeps its statistics. After it, every flag and every buffer
    is as it was.

    Args:
        model: Any module; wrappers of `torch.compile` and DDP are looked through.
        rates: Where to place dropout for the time inside, as `droplab.plan` takes it, for a model
            that has none; None: it has.
        example: A batch to run in training mode, without a trace: a tensor, a tuple of arguments
            or a mapping of keyword arguments. None: the first call inside is one.

    Yields:
        What drops. Print it to see it.

    Raises:
        ArgumentError: If nothing in the model drops, or what drops in training cannot be woken
            in eval mode.
        PlacementError: If the model does not run on the example, is scripted, or `rates` do not
            fit it.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).eval()
        >>> with awake(model, example=torch.zeros(2, 4)) as woken:
        ...     print(woken, model[1].training, model[2].training)
        awake: '2' 0.5 False True
        >>> model[2].training
        False
    """
    core = inner(model)
    flags = [(module, module.training) for module in core.modules()]
    state = _buffers(core)
    found = Awake()
    with ExitStack() as stack:
        stack.callback(_restore, flags, state)
        for module, _ in flags:
            module.training = False
        if rates is not None:
            stack.enter_context(plan(core, rates, example=example).applied())
        if example is None:
            stack.callback(_at_first_call(core, found).remove)
        else:
            _wake(core, example, found)
        yield found


def _wake(core: nn.Module, example: Any, found: Awake) -> None:
    """Put every module that draws into training mode, and see that it draws."""
    with unseeded(core):  # a site that is seeded draws nothing
        own = OwnDropout.of(core, example)
    # a site that is placed draws its key at a rate of 0, too
    idle = {entry.name for entry in own.entries if entry.what == "site" and not entry.p}
    woken = [path for path in own.drawing([{}]) if path not in idle]
    if not woken:
        raise NothingDrops(
            f"awake: expected a model that drops something, got a {type(core).__name__} without "
            "any dropout, or with rates of 0; give rates, 0.2 for example, to place some"
        )
    modules = _modules(core)
    flipped = [*woken, *_bypassing(modules, woken)]
    for path in flipped:
        modules[path].training = True
    silent = _silent(core, example, woken)
    # dropout that a parent calls in training alone: `if self.training: x = self.drop(x)`
    for path in silent:
        parent = path
        while parent != ROOT and path in _silent(core, example, woken):
            parent = parent.rpartition(".")[0] or ROOT
            modules[parent].training = True
            flipped.append(parent)
    silent = _silent(core, example, woken) if silent else []
    if silent:
        raise ArgumentError(
            f"awake: '{silent[0]}' drops in training, and not with the rest of the model in eval "
            "mode; let it, or its parent, look at self.training alone"
        )
    placed = {name: p for name, p in rates(core).items() if p > 0 and name in woken}
    found.rates = {**placed, **{name: p for name, p in own.rates.items() if p > 0}}
    found.paths = tuple(dict.fromkeys(flipped))
    found.others = tuple(
        path for path in own.shown.others if path in woken and path not in found.rates
    )


def _bypassing(modules: Mapping[str, nn.Module], woken: Sequence[str]) -> list[str]:
    """Return the modules that in eval mode run a kernel of their own in place of what is in them.

    With hooks they do not, so no pass that watches them can show it.
    """
    return [
        path
        for path, module in modules.items()
        if isinstance(module, nn.TransformerEncoderLayer)
        and any(path == ROOT or each.startswith(f"{path}.") for each in woken)
    ]


def _silent(core: nn.Module, example: Any, woken: Sequence[str]) -> list[str]:
    """Return which of the woken modules draw nothing in a pass."""
    kept = _buffers(core)
    with unseeded(core):
        applied = Applied(core, (), woken)
        try:
            applied.seed(dict.fromkeys(applied.streams, 0))
            args, kwargs = as_call(example)
            with torch.no_grad():
                core(*args, **kwargs)
            drawn = applied.drawn
        finally:
            applied.revert()
            _restore((), kept)
    return [path for path in woken if not drawn[path]]


def _at_first_call(core: nn.Module, found: Awake) -> Any:
    """Wake the model when it is called, with the batch of that call as the example."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        handle.remove()
        example: Any = args
        if kwargs:
            example = dict(inspect.signature(core.forward).bind(*args, **kwargs).arguments)
        _wake(core, example, found)

    handle = core.register_forward_pre_hook(hook, with_kwargs=True)
    return handle


@contextmanager
def unseeded(core: nn.Module) -> Iterator[None]:
    """Let sites and a model's own dropout that are seeded draw afresh inside."""
    hooks = [
        hook
        for module in core.modules()
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    ]
    holders = [*hooks, *(getattr(hook, "draws", None) for hook in hooks)]
    banks = [bank for each in holders if isinstance(bank := getattr(each, "bank", None), Bank)]
    before = [(bank, bank.seeded) for bank in dict.fromkeys(banks)]
    try:
        for bank in banks:
            bank.seeded = False
        yield
    finally:
        for bank, seeded in before:
            bank.seeded = seeded


def _modules(core: nn.Module) -> dict[str, nn.Module]:
    return {path or ROOT: module for path, module in core.named_modules(remove_duplicate=False)}


def _buffers(core: nn.Module) -> list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]:
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in core.modules()
        if not isinstance(module, torch.jit.ScriptModule)
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]


def _restore(
    flags: Sequence[tuple[nn.Module, bool]],
    state: Sequence[tuple[nn.Module, str, torch.Tensor, torch.Tensor]],
) -> None:
    with torch.no_grad():
        for module, name, buffer, copy in state:
            module._buffers[name] = buffer
            if not torch.equal(buffer, copy):
                put_back(buffer, copy)
    for module, flag in flags:
        module.training = flag
