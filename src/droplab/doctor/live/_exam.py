"""Running a model under examination, and what the checks may ask about the runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import set_checkpoint_early_stop

from droplab.doctor import _kinds
from droplab.doctor.live._events import Drop, Node, given_of
from droplab.doctor.live._record import Recorder
from droplab.doctor.live._witness import Witness
from droplab.errors import ArgumentError

Call = Callable[[nn.Module], Any]


@dataclass(eq=False)
class Trace:
    """One pass through the model."""

    recorder: Recorder
    outputs: list[Tensor]
    nodes: list[Node | None] = field(default_factory=list["Node | None"])
    backward_error: str = ""
    batch_changed: bool = False

    @property
    def drops(self) -> list[Drop]:
        """The calls of dropout in the forward pass."""
        return [drop for drop in self.recorder.drops if not drop.in_backward]

    @property
    def redone(self) -> list[Drop]:
        """The calls of dropout in the backward pass, by recomputation."""
        return [drop for drop in self.recorder.drops if drop.in_backward]

    def difference(self, other: Trace) -> float:
        """Return the largest difference between two outputs; inf if their shapes differ."""
        if [x.shape for x in self.outputs] != [x.shape for x in other.outputs]:
            return float("inf")
        return max(
            (
                float((x - y).abs().nan_to_num(0.0).max())
                for x, y in zip(self.outputs, other.outputs, strict=True)
                if x.numel()
            ),
            default=0.0,
        )


class Exam(Witness):
    """A model, a batch, and the passes that were made with them.

    Args:
        model: The model.
        inputs: Positional arguments of its forward.
        keywords: Keyword arguments of its forward.
        loss: From the output to a scalar; by default the sum of the means of all float outputs.
        steps: How many passes in training mode.
    """

    way = "running"

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Any, ...],
        keywords: dict[str, Any],
        loss: Callable[[Any], Tensor] | None,
        steps: int,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.keywords = keywords
        self.loss = loss
        self.names: dict[nn.Module, str] = {}
        for name, module in model.named_modules():
            self.names.setdefault(module, name)
        model.eval()
        before = torch.get_rng_state()
        self.evals = [self.run("eval"), self.run("eval")]
        torch.set_rng_state(before)
        self.control = self.run("eval")
        model.train()
        self.trains = [self.run("train", backward=True) for _ in range(steps)]
        self.muted = self._muted()
        self.separate = self._separate()

    def run(
        self,
        mode: str,
        *,
        backward: bool = False,
        mute: bool = False,
        out_of_place: bool = False,
    ) -> Trace:
        """Make one pass; the model's mode is the caller's business."""
        recorder = Recorder(mute=mute, measure=mode == "train", out_of_place=out_of_place)
        inputs, keywords = tree_map(_copy, (self.inputs, self.keywords))
        trace = Trace(recorder, [])
        with (
            warnings.catch_warnings(),
            recorder,
            torch.set_grad_enabled(backward),
            # Recomputation would stop before the last dropout is through.
            set_checkpoint_early_stop(False),
        ):
            warnings.simplefilter("ignore")
            recorder.give((inputs, keywords))
            try:
                output = self.model(*inputs, **keywords)
            except Exception as error:
                raise ArgumentError(
                    f"examine: the model fails on the batch in {mode} mode: "
                    f"{type(error).__name__}: {error}; give a batch that it accepts"
                ) from error
            leaves = [item for item in _leaves(output) if item.is_floating_point()]
            trace.outputs = [item.detach().clone() for item in leaves]
            trace.nodes = [recorder.node_of(item) for item in leaves]
            recorder.in_backward = True
            if backward:
                trace.backward_error = self._backward(output, leaves)
        pairs = zip(
            tree_leaves((self.inputs, self.keywords)), tree_leaves((inputs, keywords)), strict=True
        )
        trace.batch_changed = any(isinstance(a, Tensor) and not torch.equal(a, b) for a, b in pairs)
        return trace

    def _backward(self, output: Any, leaves: list[Tensor]) -> str:
        try:
            if self.loss is not None:
                total = self.loss(output)
            else:
                parts = [item.float().mean() for item in leaves if item.requires_grad]
                if not parts:
                    return ""
                total = torch.stack(parts).sum()
            # Not total.backward(): that would take the recorder off while autograd runs, and what
            # checkpointing recomputes by functions would go unseen.
            Variable._execution_engine.run_backward(
                (total,), (torch.ones_like(total),), False, False, (), True, True
            )
        except RuntimeError as error:
            return str(error)
        finally:
            for parameter in self.model.parameters():
                parameter.grad = None
        return ""

    @property
    def size(self) -> int:
        """Length of the first input along its first axis."""
        given = given_of((self.inputs, self.keywords))
        return len(given) if given is not None and given.dim() else 0

    def independent(self, axis: int) -> bool:
        """Return whether each index of the first input along an axis has outputs of its own.

        That is, a pass in eval mode in which index 0 is replaced by index 1 gives other outputs at
        index 0, and the same ones elsewhere.
        """
        given = given_of((self.inputs, self.keywords))
        if given is None or given.dim() <= axis or given.shape[axis] < 2:
            return False
        changed = given.detach().clone()
        changed.select(axis, 0).copy_(given.select(axis, 1))
        before, self.inputs, self.keywords = (
            (self.inputs, self.keywords),
            *tree_map(
                lambda item: changed if item is given else item, (self.inputs, self.keywords)
            ),
        )
        self.model.eval()
        try:
            now = self.run("eval")
        finally:
            self.inputs, self.keywords = before
            self.model.train()
        pairs = list(zip(self.evals[0].outputs, now.outputs, strict=True))
        if not all(x.dim() > axis and x.shape[axis] == given.shape[axis] for x, _ in pairs):
            return False
        same = [torch.isclose(x, y, rtol=1e-4, atol=1e-6, equal_nan=True) for x, y in pairs]
        rest = all(bool(item.narrow(axis, 1, item.shape[axis] - 1).all()) for item in same)
        return rest and not all(bool(item.select(axis, 0).all()) for item in same)

    def _muted(self) -> Trace:
        """A pass in training mode with every dropout switched off."""
        drops = [m for m in self.model.modules() if _kinds.is_dropout(m)]
        modes = [module.training for module in drops]
        for module in drops:
            module.training = False
        try:
            return self.run("train", mute=True)
        finally:
            for module, mode in zip(drops, modes, strict=True):
                module.training = mode

    def _separate(self) -> tuple[Trace, Trace] | None:
        """Two passes with the same masks, in place and not; None if nothing is in place."""
        if not any(drop.in_place and drop.on for drop in self.trains[0].drops):
            return None
        state = torch.get_rng_state()
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        first = self.run("train")
        torch.set_rng_state(state)
        if devices:
            torch.cuda.set_rng_state_all(devices)
        flagged: list[Any] = [  # Any, as a Module has no such attribute
            module
            for module in self.model.modules()
            if getattr(module, "inplace", None) is True and _kinds.is_dropout(module)
        ]
        for module in flagged:
            module.inplace = False
        try:
            return first, self.run("train", out_of_place=True)
        finally:
            for module in flagged:
                module.inplace = True

    def name(self, module: nn.Module | None) -> str:
        """Return the dotted path of a module, or ""."""
        return self.names.get(module, "") if module is not None else ""


def _copy(item: Any) -> Any:
    return (
        item.detach().clone().requires_grad_(item.requires_grad)
        if isinstance(item, Tensor)
        else item
    )


def _leaves(output: Any) -> list[Tensor]:
    """Return the tensors in an output: nested containers, dataclasses, plain objects."""
    found = [item for item in tree_leaves(output) if isinstance(item, Tensor)]
    if not found and hasattr(output, "__dict__"):
        found = [item for item in tree_leaves(dict(vars(output))) if isinstance(item, Tensor)]
    return found
