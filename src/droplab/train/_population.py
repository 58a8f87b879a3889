"""Many replicas of one network, stacked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from droplab.data import Inputs
from droplab.errors import ArgumentError
from droplab.placement import Applied
from droplab.train._batching import BatchingRules
from droplab.train._stacked_optimizer import stack_optimizer, why_not_elementwise
from droplab.train._step import check_assigned
from droplab.train.calling import arguments
from droplab.train.optimizers import MakeOptimizer


class Population:
    """K = S seeds x A arms replicas of one network, with a leading axis K on all that they own.

    Member k = s * A + a has the weights of seed s and the rates of arm a. Members of one seed begin
    with the same weights, see the same batches and have masks from the same keys.

    Args:
        models: One model for each seed, with its initial weights. The first one also serves as the
            template that all members run through; its own tensors are not changed.
        applied: The sites at work in `models[0]`.
        rates: Of shape (A, sites), the rate of every arm at every site of `applied`.
        keys: Of shape (S, streams), the stream key of every seed for each of `applied.streams`.
        make_optimizer: Returns the optimizer over the parameters of one model: see
            `stack_optimizer`.
        device: Where the replicas live; None: where the models are.

    Raises:
        ArgumentError: If two seeds have the same model object, or models of another architecture,
            or the optimizer does not treat every number by itself.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        applied: Applied,
        rates: Tensor,
        keys: Tensor,
        make_optimizer: MakeOptimizer,
        *,
        device: torch.device | None = None,
    ) -> None:
        check_factory(models)
        self.template = models[0]
        self.applied = applied
        self.seeds, self.arms = len(models), len(rates)
        self.p = rates.to(torch.float64)
        self.keys = torch.stack((keys, torch.zeros_like(keys)), dim=-1)
        self.alive = [True] * self.members
        self.device = device or next(iter(models[0].parameters())).device
        trained = {name for name, p in models[0].named_parameters() if p.requires_grad}
        own = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: nn.Parameter(self._stacked([each[name] for each in own]), name in trained)
            for name in own[0]
        }
        held = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: self._stacked([each[name] for each in held]) for name in held[0]}
        reason = why_not_elementwise(make_optimizer, models[0])
        if reason:
            raise ArgumentError(
                f"optimizer: {reason}, so replicas cannot be stacked; train them one by one"
            )
        self.optimizer = stack_optimizer(make_optimizer, models[0], self.parameters)
        self._assigned: dict[str, Tensor] = {}

    @property
    def members(self) -> int:
        """How many replicas there are, K."""
        return self.seeds * self.arms

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        per_seed = torch.stack([tensor.detach() for tensor in tensors]).to(self.device)
        return per_seed.repeat_interleave(self.arms, dim=0)

    def set_step(self, step: int) -> None:
        """Begin the step with this index: see `Applied.set_step`."""
        self.applied.set_step(step)
        if self.applied.streams:
            self.keys[:, :, 1] = self.applied.keys[0, 1]

    def logits(self, inputs: Inputs, *, shared: bool = False) -> Tensor:
        """Return the logits of every member, (S, A, B, C).

        A buffer that `forward` assigns has its new value at once if no gradient is recorded; else
        `keep_buffers` has to be called after the backward pass, which may need the old one.

        Args:
            inputs: (S, B, ...), a batch for each seed; with `shared`, (B, ...), one for all.
            shared: Whether all seeds read the same batch.
        """

        def member(parameters: Any, buffers: Any, x: Inputs, p: Tensor, keys: Tensor) -> Any:
            own = {**parameters, **buffers}
            with self.applied.substituted(p, keys):
                logits = functional_call(self.template, own, *arguments(self.template, x))
            # the call leaves in `own` what forward has put in place of the tensors there
            return logits, {name: own[name] for name in buffers if own[name] is not buffers[name]}

        arms = vmap(member, in_dims=(0, 0, None, 0, None))
        seeds = vmap(arms, in_dims=(0, 0, None if shared else 0, None, 0))
        # torch has no batching rule for its fused attention on the CPU, and loops over members
        with BatchingRules(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # what it does not batch it loops over, which the measured plan takes into account
            warnings.filterwarnings("ignore", "There is a performance drop")
            logits, self._assigned = seeds(
                self._grid(self.parameters), self._grid(self.buffers), inputs, self.p, self.keys
            )
        if not torch.is_grad_enabled():
            self.keep_buffers()
        return logits

    def keep_buffers(self) -> None:
        """Give buffers that the last forward pass has assigned their new values.

        Raises:
            UnsupportedError: If one got another shape or type.
        """
        assigned, self._assigned = self._assigned, {}
        with torch.no_grad():
            for name, value in assigned.items():
                buffer = self.buffers[name]
                buffer.copy_(check_assigned(name, value.flatten(0, 1), buffer))

    def _grid(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.view(self.seeds, self.arms, *t.shape[1:]) for name, t in tensors.items()}

    def state_dict(
        self, member: int, tensors: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the weights of one replica, as its model alone would have them.

        Args:
            member: Number of the replica.
            tensors: Stacked tensors to take them from; None for the present ones.
        """
        own = {**self.parameters, **self.buffers} if tensors is None else tensors
        return member_state(self.template, own, member)

    def freeze(self, member: int) -> None:
        """Take a replica out: it is computed along, as zeros, and nobody looks at it again."""
        self.alive[member] = False
        with torch.no_grad():
            for tensor in self.tensors():
                if tensor.dim() and len(tensor) == self.members:
                    tensor[member] = 0

    def tensors(self) -> list[Tensor]:
        """Return all tensors that training changes."""
        state = [
            value
            for entries in self.optimizer.state.values()
            for value in entries.values()
            if isinstance(value, Tensor)
        ]
        return [*self.parameters.values(), *self.buffers.values(), *state]


def check_factory(models: Sequence[nn.Module]) -> None:
    """Check that the models are different objects of one architecture.

    Raises:
        ArgumentError: If they are not.
    """
    if len({id(model) for model in models}) < len(models):
        raise ArgumentError(
            "model: expected a new model from each call of the factory, got the same object twice; "
            "build the model inside the factory"
        )
    first = _architecture(models[0])
    for model in models[1:]:
        other = _architecture(model)
        for name in {**first, **other}:
            one, two = first.get(name, "nothing"), other.get(name, "nothing")
            if one != two:
                raise ArgumentError(
                    "model: expected the same architecture from each call of the factory, got "
                    f"{one} and {two} at '{name}'; only initial weights may differ"
                )
        owned = {id(t) for t in models[0].parameters()} & {id(t) for t in model.parameters()}
        if owned:
            raise ArgumentError(
                "model: expected models without common parameters, got some that two of them "
                "share; build every layer inside the factory"
            )


def _architecture(model: nn.Module) -> dict[str, str]:
    kinds = {name or "the model": type(module).__name__ for name, module in model.named_modules()}
    shapes = {name: f"shape {tuple(t.shape)}" for name, t in model.named_parameters()}
    return {**kinds, **shapes}


def member_state(model: nn.Module, tensors: Mapping[str, Tensor], member: int) -> dict[str, Tensor]:
    """Return the `state_dict` of `model` with the values of one member of stacked tensors.

    Args:
        model: The network.
        tensors: Parameters and buffers by the name under which they are listed first, (K, ...).
        member: Number of the member.
    """
    first: dict[int, str] = {}
    pairs = [*model.named_parameters(remove_duplicate=False)]
    pairs += [*model.named_buffers(remove_duplicate=False)]
    tied = {name: first.setdefault(id(tensor), name) for name, tensor in pairs}
    names = [name for name in model.state_dict() if name in tied]
    return {name: tensors[tied[name]][member].detach() for name in names}
