"""What happened in a watched training loop: passes, optimizer steps, draws of an order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._pytree import tree_leaves

from droplab.doctor import _kinds
from droplab.doctor.live._events import Drop, given_of
from droplab.doctor.live._frames import user_frame, user_line, variable
from droplab.doctor.live._record import Recorder
from droplab.doctor.live._state import preserved

_PREDICTS = frozenset({".argmax", "torch.argmax", ".max", "torch.max", ".topk", "torch.topk"})
_EQUALS = frozenset({".eq", "torch.eq", ".__eq__"})
_PASSES_ON = frozenset(
    {".softmax", ".log_softmax", "torch.softmax", "torch.log_softmax", ".detach", ".cpu", ".float"}
    | {"torch.nn.functional.softmax", "torch.nn.functional.log_softmax", ".data.__get__", ".view"}
    | {".squeeze", ".view_as", ".flatten", ".reshape", "torch.sigmoid", ".sigmoid", ".t"}
)
_REPEATED = 10
_KEPT_MASKS = 64


@dataclass(eq=False)
class Pass:
    """One call of a model in the loop."""

    root: nn.Module
    training: bool
    grad: bool
    step: int
    """Optimizer steps taken before it."""
    place: tuple[str, int]
    given: Tensor | None
    norm_trains: bool
    drops: list[Drop] = field(default_factory=list[Drop])
    trained: bool = False
    """Whether a gradient came back to its output."""
    correct: int = 0
    counted: int = 0
    correct_quiet: int = 0
    counted_quiet: int = 0

    @property
    def drops_on(self) -> list[Drop]:
        """Dropouts that dropped something in it."""
        return [drop for drop in self.drops if drop.on and not drop.silent and drop.p != 0.0]


@dataclass(frozen=True)
class OrderDraw:
    """A loader drew the order of an epoch from torch's default generator."""

    seed: int
    after_dropout: bool
    at: int
    """Passes recorded before it."""


class Timeline(Recorder):
    """A recorder that keeps passes instead of a graph.

    Args:
        wanted: Tells whether a model that is called at the top is to be watched.
    """

    def __init__(self, wanted: Callable[[nn.Module], bool]) -> None:
        super().__init__(graph=False)
        self.wanted = wanted
        self.passes: list[Pass] = []
        self.variables: dict[nn.Module, str] = {}
        self.orders: list[OrderDraw] = []
        self.steps = 0
        self.dropout_draws = False
        self._current: Pass | None = None
        self._calls: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._outputs: dict[int, tuple[Pass, Tensor, int]] = {}
        self._answers: dict[int, tuple[Pass, Tensor, Callable[[Tensor], Tensor], int]] = {}
        self._paused = False
        self._repeats = 0
        self._state: Tensor | None = None

    def __enter__(self) -> Timeline:
        super().__enter__()
        self._handles.append(register_optimizer_step_post_hook(self._stepped))
        return self

    def _stepped(self, *_: Any) -> None:
        self.steps += 1

    def _enter_module(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self._paused:
            return
        if (
            not self._stack
            and not self.in_backward
            and self._current is None
            and (self.wanted(module) and _has_modes(module))
        ):
            self._current = Pass(
                module,
                module.training,
                torch.is_grad_enabled(),
                self.steps,
                user_line(),
                given_of(args),
                _norm_trains(module),
            )
            self.passes.append(self._current)
            if module not in self.variables:
                self.variables[module] = variable(module, user_frame())
        if not self.dropout_draws and _kinds.is_dropout(module) and module.training:
            self._state = torch.get_rng_state()
        super()._enter_module(module, args)

    def _leave_module(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._paused:
            return
        super()._leave_module(module, args, output)
        if self._state is not None and _kinds.is_dropout(module):
            self.dropout_draws |= not torch.equal(self._state, torch.get_rng_state())
            self._state = None
        now = self._current
        if now is None or now.root is not module or self._stack:
            return
        self._current = None
        leaves = [item for item in tree_leaves(output) if isinstance(item, Tensor)]
        for at, leaf in enumerate(leaves):
            self._outputs[id(leaf)] = (now, leaf, at)
            if leaf.requires_grad:
                leaf.register_hook(_Marker(now))
        # Only the outputs of the last few passes can still be compared with targets.
        while len(self._outputs) > 64:
            self._outputs.pop(next(iter(self._outputs)))
        self._calls = {id(now): (args, {})} if self._repeats < _REPEATED else {}

    def _functional(
        self, func: Any, name: str, spec: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        before = None if self.dropout_draws else torch.get_rng_state()
        output = super()._functional(func, name, spec, args, kwargs)
        if before is not None:
            self.dropout_draws = not torch.equal(before, torch.get_rng_state())
        return output

    def _noted(self, drop: Drop) -> None:
        if self._current is not None and not drop.in_backward:
            kept = sum(1 for item in self.passes[-3:] for d in item.drops if d.mask is not None)
            if kept > _KEPT_MASKS:
                drop.mask = None
            self._current.drops.append(drop)

    def _called(
        self, func: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        if self._paused:
            return
        if name == ".random_":
            if kwargs.get("generator") is None and _in_sampler():
                seed = int(output) if output.numel() == 1 else 0
                self.orders.append(OrderDraw(seed, self.dropout_draws, len(self.passes)))
        elif name in _PREDICTS:
            self._predicted(func, args, kwargs, output)
        elif name in _EQUALS:
            self._compared(args, output)
        elif name in _PASSES_ON and args and isinstance(output, Tensor):
            for table in (self._outputs, self._answers):
                entry = table.get(id(args[0]))
                if entry is not None:
                    table[id(output)] = (entry[0], output, *entry[2:])  # pyright: ignore[reportArgumentType]

    def _predicted(self, func: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        entry = self._outputs.get(id(args[0])) if args else None
        if entry is None:
            return
        answer = output if isinstance(output, Tensor) else output[1]

        def again(values: Tensor) -> Tensor:
            result = func(values, *args[1:], **kwargs)
            return result if isinstance(result, Tensor) else result[1]

        self._answers[id(answer)] = (entry[0], answer, again, entry[2])

    def _compared(self, args: Any, output: Any) -> None:
        for at, other in ((0, 1), (1, 0)):
            entry = self._answers.get(id(args[at])) if len(args) > 1 else None
            if entry is None or not isinstance(args[other], Tensor):
                continue
            now, answer, again, leaf = entry
            now.correct += int(output.sum())
            now.counted += output.numel()
            if now.drops_on and self._repeats < _REPEATED and id(now) in self._calls:
                self._repeat(now, again, leaf, args[other], answer.shape)
            return

    def _repeat(self, now: Pass, again: Any, leaf: int, targets: Tensor, shape: Any) -> None:
        """Answer the same batch once more in eval mode, and leave no trace of it."""
        self._repeats += 1
        args, kwargs = self._calls[id(now)]
        root = getattr(now.root, "module", now.root)
        self._paused = True
        try:
            with preserved(root), torch.no_grad():
                root.eval()
                output = tree_leaves(root(*args, **kwargs))[leaf]
                answer = again(output).reshape(shape)
                equal = answer.eq(targets)
            now.correct_quiet, now.counted_quiet = int(equal.sum()), equal.numel()
        except Exception:
            # The figure is an extra; whatever the model does not like about a second pass, the
            # user's own loop must not notice.
            now.counted_quiet = 0
        finally:
            self._paused = False


class _Marker:
    """A gradient hook that notes that a pass was trained on."""

    def __init__(self, item: Pass) -> None:
        self.item = item

    def __call__(self, grad: Tensor) -> None:
        self.item.trained = True


def _has_modes(module: nn.Module) -> bool:
    """Whether a module is a model to watch: it has parameters, or behaves differently in eval."""
    return any(True for _ in module.parameters()) or any(
        _kinds.is_dropout(item) for item in module.modules()
    )


def _norm_trains(module: nn.Module) -> bool:
    return any(
        isinstance(item, nn.modules.batchnorm._BatchNorm) and item.training
        for item in module.modules()
    )


def _in_sampler() -> bool:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == "torch.utils.data.sampler":
            return True
        frame = frame.f_back
    return False
