"""How far rounding alone moves the numbers of a training step, measured by moving its last bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from droplab.data.tree import mapped
from droplab.train._copies import deep_copy
from droplab.train._step import trained_parameters
from droplab.train.agreement._members import Batch, Member
from droplab.train.calling import call
from droplab.train.precision import compute_in_float32, computes_in_bfloat16
from droplab.train.streams import global_generators, seed_torch
from droplab.train.tasks import CLASSIFICATION, Task

_MARGIN = 30.0
"""How much more than the measured rounding another order of summation may make of it."""

_COARSE = 4.0
"""The same for bfloat16, of which two roundings are compared with how far one went."""


@dataclasses.dataclass(frozen=True)
class StepRounding:
    """What a step gives from the state that a replica has, and how far rounding moves it.

    Attributes:
        logits: Of the step.
        logits_noise: How far the largest of their changes went.
        gradients: By name of the parameter; None where there is none.
        gradient_noise: Below this, entries of a gradient are rounding.
        still: Entries of a gradient that are zero, and not by chance.
        buffer_noise: How far buffers moved, by name.
    """

    logits: Tensor
    logits_noise: float
    gradients: dict[str, Tensor | None]
    gradient_noise: dict[str, float]
    still: dict[str, Tensor]
    buffer_noise: dict[str, float]

    @classmethod
    def of(
        cls,
        member: Member,
        number: int,
        batch: Batch,
        task: Task = CLASSIFICATION,
        *,
        together: bool = False,
    ) -> StepRounding:
        """Measure the step with this index on copies of a replica; see `neighbour`."""
        model, optimizer, applied = member
        applied.set_step(number)
        ids = {id(p) for p in trained_parameters(optimizer) if p.requires_grad}
        names = [name for name, p in model.named_parameters() if id(p) in ids]
        inputs, targets = batch
        other, spread = neighbour(model, together=together)
        twins = deep_copy(model), other
        logits, plain = _forward_backward(twins[0], names, batch, number, task)
        near, moved = _forward_backward(
            twins[1], names, (mapped(nudge, inputs), targets), number, task
        )
        sizes = [float(g.abs().max()) for g in plain if g is not None and g.numel()]
        noise: dict[str, float] = {}
        still: dict[str, Tensor] = {}
        for name, one, two in zip(names, plain, moved, strict=True):
            if one is None or two is None or not one.numel():
                continue
            floor = rounding(one) * (10 * float(one.abs().max()) + 1e-3 * max(sizes))
            noise[name] = spread * _MARGIN * gap(two, one) + floor
            # sums that are rounding alone are zero by chance now and then
            structural = one.dim() > 1 and float(one.abs().max()) > noise[name]
            still[name] = (one == 0) & (two == 0) & structural
        buffers = [dict(twin.named_buffers()) for twin in twins]
        return cls(
            logits,
            spread * gap(near, logits),
            dict(zip(names, plain, strict=True)),
            noise,
            still,
            {name: spread * gap(buffers[1].get(name, t), t) for name, t in buffers[0].items()},
        )

    def moved_alike(self, name: str, other: Tensor, value: Tensor, start: Tensor | None) -> bool:
        """Whether something shaped by a parameter's gradient is the same, rounding aside.

        Args:
            name: Name of the parameter.
            other: What one executor made of it.
            value: What the direct step made of it.
            start: What it was before, None to compare the numbers themselves.
        """
        if _same_bits(other, value) or not value.numel():
            return True
        if not value.is_floating_point():
            return False
        if not bool(value.isfinite().all()):
            return not bool(other.isfinite().all())
        if not bool(other.isfinite().all()):
            return False
        off = (other.detach().double() - value.detach().double()).abs()
        moved = value.detach().double() - (0.0 if start is None else start.double())
        part = torch.full_like(off, tolerance(value))
        gradient = self.gradients.get(name)
        if gradient is not None and name in self.still and gradient.shape == off.shape:
            # an optimizer such as Adam makes whole steps of a gradient that is rounding alone
            share = self.gradient_noise[name] / gradient.abs().double().clamp(min=1e-300)
            share = torch.where(self.still[name], 0.0, share)
            off = torch.where(share >= 1, 0.0, off)
            part += share.clamp(max=1.0)
        last_bits = 4 * rounding(value) * value.detach().abs().double()
        return bool((off <= part * moved.abs().max() + last_bits + 1e-30).all())


def _forward_backward(
    model: nn.Module, names: Sequence[str], batch: Batch, seed: int, task: Task
) -> tuple[Tensor, list[Tensor | None]]:
    with global_generators(seed, "agreement"):  # not what the direct step finds in them
        seed_torch(seed)
        logits = call(model.train(), batch[0])
    own = dict(model.named_parameters())
    loss = task.mean(logits, batch[1])
    gradients = torch.autograd.grad(loss, [own[name] for name in names], allow_unused=True)
    return logits.detach(), [
        g.to_dense() if g is not None and g.is_sparse else g for g in gradients
    ]


def within(one: Tensor, two: Tensor, noise: float) -> bool:
    """Whether two tensors are the same, given how far rounding alone moves them."""
    if one.shape != two.shape:
        return False
    if _same_bits(one, two) or not one.numel():
        return True
    if not one.is_floating_point():
        return False
    if not bool(one.isfinite().all()) or not bool(two.isfinite().all()):
        return torch.equal(one.isfinite(), two.isfinite())
    scale = float(two.detach().abs().max())
    return gap(one, two) <= tolerance(two) * scale + _MARGIN * noise + 1e-30


def _same_bits(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors are equal, as most are: then nothing else about them need be found."""
    return one.dtype == two.dtype and torch.equal(one, two)


def gap(one: Tensor, two: Tensor) -> float:
    """Return the largest difference of two tensors; infinite if there is no telling."""
    if one.shape != two.shape:
        return float("inf")
    if not one.numel() or not one.is_floating_point():
        return 0.0
    found = float((one.detach().double() - two.detach().double()).abs().max())
    return found if found == found else float("inf")


def rounding(x: Tensor) -> float:
    """Return the relative size of a number's last bit."""
    return torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0


def tolerance(x: Tensor) -> float:
    """Return by which part of its size a number may differ: what is wrong is wrong by more."""
    return min(1e-2, max(1e-9, 1000 * rounding(x)))


def neighbour(model: nn.Module, *, together: bool) -> tuple[nn.Module, float]:
    """Return a copy that differs by rounding, and how much of what it differs by that may make.

    A product of many replicas in bfloat16 rounds otherwise than that of one, by far more than last
    bits of float32 move it: so that is measured by how far bfloat16 is from float32.

    Args:
        model: The model.
        together: Whether it is compared with replicas that are stacked.
    """
    twin = nudged(deep_copy(model))
    if not together or not computes_in_bfloat16(model):
        return twin, 1.0
    return compute_in_float32(twin), _COARSE / _MARGIN


def nudged(model: nn.Module) -> nn.Module:
    """Change the last bits of a model's parameters, and return it."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(nudge(parameter))
    return model


def nudge(x: Tensor) -> Tensor:
    """Return `x` with its last bits changed."""
    if not x.is_floating_point():
        return x
    generator = torch.Generator(x.device).manual_seed(0)
    up = torch.rand(x.shape, generator=generator, device=x.device) < 0.5
    signs = torch.where(up, 1.0, -1.0).to(x.dtype)
    return x.detach() * (1 + 2 * rounding(x) * signs)
