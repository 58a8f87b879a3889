"""A plan at work in a model: its rates, its keys, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from droplab.errors import ArgumentError, PlacementError, nearest
from droplab.ops.layout import CALL_BITS, CALL_LIMIT
from droplab.ops.rank import rank
from droplab.placement._clear import take_out
from droplab.placement._draws import Draws
from droplab.placement._guard import Guard
from droplab.placement._hook import CALLS_A_STEP, Bank, SiteHook, is_quantised, site_hooks
from droplab.placement._layers import Kind, input_count, spatial_dims
from droplab.placement._walk import BRANCH, paths, reset_compiler
from droplab.rng import check_seed

MAX_STEP = CALL_LIMIT // CALLS_A_STEP - 1
"""Steps above this would run past the bits that a key has for the call index."""


@dataclass(frozen=True)
class Edit:
    """One line of a plan.

    Args:
        name: The site.
        layer: Class name of the layer whose input is dropped.
        kind: How elements share masks.
        p: Drop probability.
        reason: Why here, and why this kind.
    """

    name: str
    layer: str
    kind: Kind
    p: float
    reason: str


class Applied:
    """What `Plan.apply` returns: the handle on the sites of one model.

    The tensors are read at every call, so a rate is changed by `applied.p[0] = 0.2` or
    `applied.p.copy_(...)`, also under `torch.compile`, where it does not compile again.

    Args:
        model: The user's own module, without wrappers.
        edits: The sites, in order.
        own: Paths of modules whose own random draws are to have keys as well.
    """

    def __init__(self, model: nn.Module, edits: tuple[Edit, ...], own: Sequence[str] = ()) -> None:
        where = paths(model)
        self._modules = {edit.name: where[edit.name.removeprefix(BRANCH)] for edit in edits}
        self._model = model
        self._bank = Bank(
            tuple(self._modules),
            torch.tensor([edit.p for edit in edits], dtype=torch.float64),
            len(own),
        )
        self._calls = self._bank.keys[:, 1]
        self._rank_bits = 0
        self._hooks: list[SiteHook] = []
        self._handles: list[RemovableHandle] = []
        for index, edit in enumerate(edits):
            module = self._modules[edit.name]
            hook = SiteHook(
                self._bank,
                index,
                edit.kind,
                time=1 if getattr(module, "batch_first", False) else 0,
                spatial=spatial_dims(module),
                inputs=input_count(type(module)),
                quantised=is_quantised(module),
            )
            self._hooks.append(hook)
            if edit.kind == "path":
                self._handles.append(module.register_forward_hook(hook))
            else:
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        self._guard: Guard | None = None
        self._is_active = True
        self._draws = Draws(self._bank, {path: where[path] for path in own})
        self._handles += self._draws.handles
        reset_compiler()

    @property
    def names(self) -> tuple[str, ...]:
        """The site names, in order."""
        return self._bank.names

    @property
    def p(self) -> Tensor:
        """The rates, float64 of shape (S,); change them in place."""
        return self._bank.p

    @property
    def keys(self) -> Tensor:
        """The rows [stream key, call index] of all `streams`, int64, used once seeded."""
        return self._bank.keys

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all that has a stream key: the sites, and "own/PATH" for a module's own draws.

        In the order of `keys`.
        """
        return (*self.names, *(f"own/{path}" for path in self._draws.paths))

    @property
    def seeded(self) -> bool:
        """Whether masks come from `keys` and not from torch's default generator."""
        return self._bank.seeded

    @property
    def fired(self) -> dict[str, int]:
        """How often each site has dropped something since `apply`.

        A compiled, unseeded model counts one call between two `set_step` at most.
        """
        return {hook.name: hook.earlier + hook.count for hook in self._hooks}

    @property
    def drawn(self) -> dict[str, int]:
        """How often each module with a stream of its own has drawn something since `apply`."""
        counts = zip(self._draws.earlier, self._draws.counts, strict=True)
        return {path: sum(each) for path, each in zip(self._draws.paths, counts, strict=True)}

    @property
    def kept(self) -> dict[str, tuple[int, int]]:
        """Of each site and `Dropout` of a guarded model: how many it has kept, and of how many.

        At calls 0, 1, 2, 4, 8 ... of each, inputs that were 0 already are left out.
        """
        found = {hook.name: hook.kept for hook in self._hooks}
        found |= dict(zip(self._draws.paths, self._draws.kept, strict=True))
        return {name: (kept.kept, kept.seen) for name, kept in found.items() if kept.seen}

    def seed(self, stream_keys: Mapping[str, int] | None) -> None:
        """Draw the masks from named streams, and begin at step 0.

        Args:
            stream_keys: A key in [0, 2**63) for each of `streams`, as `droplab.rng.stream_key`
                gives it; None to draw keys from torch's default generator again.

        Raises:
            PlacementError: If a site has no key, a name is no site, or a key is out of range.
        """
        if stream_keys is None:
            self._bank.seeded = False
            return
        for name in stream_keys:
            if name not in self.streams:
                raise PlacementError(
                    f"seed: '{name}' is no site of this plan{nearest(name, self.names)}"
                )
        missing = [name for name in self.streams if name not in stream_keys]
        if missing:
            raise PlacementError(
                f"seed: expected a stream key for every site, got none for {', '.join(missing)}"
            )
        try:
            keys = [check_seed(stream_keys[name], where=f"seed.{name}") for name in self.streams]
        except ArgumentError as error:
            raise PlacementError(str(error)) from None
        self._bank.keys[:, 0] = torch.tensor(keys, dtype=torch.int64)
        self._bank.seeded = True
        self._rank_bits = rank() << CALL_BITS
        self.set_step(0)

    def set_step(self, step: int) -> None:
        """Begin a training step: the call index of every site becomes `step << 16`.

        Above it the key has the rank of this process, so that data-parallel ranks share no mask. A
        site that fires again within the step gets the next index. Call this before the forward
        pass and after the backward pass of the step before.

        Raises:
            PlacementError: If `step` is negative or too large.
        """
        if not 0 <= step <= MAX_STEP:
            raise PlacementError(f"set_step: expected a step in [0, {MAX_STEP}], got {step}")
        self._calls.fill_(self._rank_bits + step * CALLS_A_STEP)
        self.begin_pass()

    def begin_pass(self) -> None:
        """Count the calls of every site afresh, under the keys that there are."""
        self._draws.begin_step()
        for hook in self._hooks:
            if hook.count:
                hook.earlier += hook.count
                hook.count = 0

    def guard(
        self, seed: int, name: str = "", seen: Callable[[Any, Any], None] | None = None
    ) -> None:
        """Give every outermost call into the model generators of its own, and masks of its own.

        Its masks need a key for every stream first, from `seed`. From then on the k-th call into a
        module has the k-th masks, in forward passes; `set_step` is not called. Neither order nor
        augmentation outside can depend on what drops inside; see docs/studies.md.

        Args:
            seed: Seed of the trial, in [0, 2**63).
            name: Distinguishes several models that have the same seed.
            seen: Called with the arguments of each call into the model in training mode.

        Raises:
            PlacementError: If the sites are not seeded.
        """
        if not self.seeded or not self.active or self._guard is not None:
            raise PlacementError("guard: expected a plan at work that is seeded, and not guarded")
        self._guard = Guard(self._model, self._bank, self._hooks, self._draws, seed, name, seen)
        reset_compiler()

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Let the draws of modules have their keys inside under `torch.export`, too."""
        self._draws.traced = True
        try:
            yield
        finally:
            self._draws.traced = False

    @contextmanager
    def substituted(self, p: Tensor, keys: Tensor | None = None) -> Iterator[None]:
        """Let the sites read other tensors inside, those of a `vmap` for example.

        Args:
            p: Rates of shape (S,), batched or not.
            keys: Rows as those of `self.keys`, None to go on with these.
        """
        rates = p.unbind(0)
        rows = None if keys is None else keys.unbind(0)
        seeded = self._bank.seeded
        try:
            for index, hook in enumerate(self._hooks):
                hook.p = rates[index]
                if rows is not None:
                    hook.key = rows[index]
            if rows is not None:
                self._draws.substitute(rows[len(self._hooks) :])
                self._bank.seeded = True
            yield
        finally:
            self._bank.seeded = seeded
            for hook in self._hooks:
                hook.bind()
            self._draws.bind()

    def check_fired(self) -> None:
        """Make sure that every site has fired since `apply`.

        Raises:
            PlacementError: If one has not, with the nearest cause: an arm that silently does
                nothing would be a false result.
        """
        silent = [name for name, count in self.fired.items() if not count]
        if silent:
            causes = "; ".join(f"'{name}': {self._cause(name)}" for name in silent)
            raise PlacementError(
                f"expected every planned site to fire in the first step, got none from {causes}; "
                "leave the site out, or plan with an example batch to see which layers are called"
            )

    def check_kept(self, rates: Mapping[str, float]) -> None:
        """Make sure that the sites of a guarded model keep as much as some rates say.

        Args:
            rates: Site -> probability of dropping, in all calls.

        Raises:
            PlacementError: If one does not, by more than chance explains.
        """
        for hook in self._hooks:
            p, kept = rates[hook.name], hook.kept
            if kept.is_far(p):
                raise PlacementError(
                    f"{hook.name}: expected {1 - p:.1%} of its input to be kept in this arm, got "
                    f"{kept.kept / kept.seen:.1%} of {kept.seen} elements; leave the rates of the "
                    "sites to the arm, which may have a schedule"
                )

    def _cause(self, name: str) -> str:
        module = self._modules[name]
        path = name.removeprefix(BRANCH)
        if paths(self._model).get(path) is not module:
            return "its layer was replaced by another one after apply"
        if not any(hook in self._hooks for hook in site_hooks(module)):
            return "its hook was removed"
        if not module.training:
            return "its layer is in eval mode"
        parent = paths(self._model).get(path.rpartition(".")[0])
        if parent is not None and "MultiheadAttention" in type(parent).__name__:
            return "MultiheadAttention multiplies by its weight directly and never calls it"
        return (
            "the model's forward never calls it (unused, or its parent multiplies by its weight "
            "directly)"
        )

    def revert(self) -> None:
        """Take every hook out again; the model is the very same object, bit for bit.

        Raises:
            PlacementError: If it was reverted before, or if the model has changed since `apply`
                (everything that is left of the plan is taken out all the same).
        """
        if not self._is_active:
            raise PlacementError("revert: expected an applied plan, got one that was reverted")
        changed = [
            f"'{hook.name}': {self._cause(hook.name)}"
            for hook in self._hooks
            if paths(self._model).get(hook.name.removeprefix(BRANCH))
            is not self._modules[hook.name]
            or hook not in site_hooks(self._modules[hook.name])
        ]
        for handle in self._handles:
            handle.remove()
        # a layer that took over the hooks of another, as a fused one does, has them still
        take_out(self._model, self._hooks)
        if self._guard is not None:
            self._guard.remove()
        self._is_active, self._handles = False, []
        reset_compiler()
        if changed:
            raise PlacementError(
                f"revert: expected the model as it was at apply, got changes at "
                f"{'; '.join(changed)}; nothing of the plan is left, check that the model is the "
                "one you want"
            )

    @property
    def active(self) -> bool:
        """Whether the plan is at work; one without a site is, too, until it is reverted."""
        return self._is_active

    def __repr__(self) -> str:
        sites = ", ".join(f"{n}={p:g}" for n, p in zip(self.names, self.p.tolist(), strict=True))
        return f"Applied({sites})" if self.active else f"Applied({sites}, reverted)"
