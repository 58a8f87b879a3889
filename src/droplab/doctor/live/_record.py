"""Recording what a model does: which operation fed which, and what each dropout dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

from droplab.doctor import _kinds, _names
from droplab.doctor.live._events import Drop, Node, given_of
from droplab.doctor.live._frames import caller, user_line
from droplab.doctor.live._masks import observe

_RANDOM = frozenset(
    {"torch.bernoulli", "torch.rand", "torch.rand_like", ".bernoulli_", ".bernoulli", ".uniform_"}
)


class Recorder(TorchFunctionMode):
    """Records, while it is entered, what torch functions and modules do.

    Args:
        graph: Keep which operation fed which; holds every tensor alive meanwhile.
        mute: Make every dropout pass its input through.
        out_of_place: Make in-place dropout functions write to new tensors.
        measure: Compute moments and correlations of what enters a dropout.
    """

    def __init__(
        self,
        *,
        graph: bool = True,
        mute: bool = False,
        measure: bool = False,
        out_of_place: bool = False,
    ) -> None:
        super().__init__()
        self.out_of_place = out_of_place
        self.called: set[nn.Module] = set()
        self.graph = graph
        self.mute = mute
        self.measure = measure
        self.drops: list[Drop] = []
        self.random: list[tuple[str, tuple[str, int]]] = []
        self.nodes: list[Node] = []
        self.variances: dict[nn.Module, list[Tensor]] = {}
        self.in_backward = False
        self._made: dict[int, Node] = {}
        self._alive: list[Tensor] = []
        self._stack: list[nn.Module] = []
        self._before: list[Tensor | None] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Recorder:
        self._handles = [
            hooks.register_module_forward_pre_hook(self._enter_module),
            hooks.register_module_forward_hook(self._leave_module, always_call=True),
        ]
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        for handle in self._handles:
            handle.remove()
        self._alive.clear()

    # Modules

    def _enter_module(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._stack.append(module)
        self.called.add(module)
        before: Tensor | None = None
        if _kinds.is_dropout(module):
            given = given_of(args)
            if given is not None:
                before = given.detach().clone() if getattr(module, "inplace", False) else given
        elif isinstance(module, nn.modules.batchnorm._NormBase) and args:
            self._watch_norm(module, args[0])
        self._before.append(before)

    def _leave_module(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._stack or self._stack[-1] is not module:
            # An inner module left by an exception: unwind to this one.
            while self._stack and self._stack[-1] is not module:
                self._stack.pop()
                self._before.pop()
            if not self._stack:
                return
        self._stack.pop()
        before = self._before.pop()
        if output is None:
            return
        after = next((item for item in tree_leaves(output) if isinstance(item, Tensor)), None)
        node: Node | None = None
        if self.graph and _is_leaf(module):
            node = self._add(_kinds.kind_of(module), tree_leaves(args), output, module)
        if before is not None and after is not None and before.shape == after.shape:
            name, p = type(module).__name__, _kinds.rate_of(module)
            in_place = after is given_of(args)
            self._drop(name, p, module.training, module, before, after, node, in_place)

    def _watch_norm(self, module: nn.Module, given: Any) -> None:
        if (
            self.graph
            and isinstance(given, Tensor)
            and given.dim() > 1
            and given.is_floating_point()
        ):
            dims = [0, *range(2, given.dim())]
            with torch.no_grad():
                self.variances.setdefault(module, []).append(given.float().var(dims, correction=0))

    # Functions

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _name_of(func)
        spec = _names.FUNCTIONS.get(name)
        if spec is not None:
            return self._functional(func, name, spec, args, kwargs)
        if name == ".backward" or func is torch.autograd.backward:
            return self._run_backward(func, args, kwargs)
        output = func(*args, **kwargs)
        self._called(func, name, args, kwargs, output)
        return output

    def _run_backward(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a backward pass, so that what checkpointing recomputes in it is known as such."""
        before, self.in_backward = self.in_backward, True
        try:
            return func(*args, **kwargs)
        finally:
            self.in_backward = before

    def _called(
        self, func: Callable[..., Any], name: str, args: Any, kwargs: dict[str, Any], output: Any
    ) -> None:
        """Note a function that is not a dropout; subclasses see more in it."""
        if name in _RANDOM:
            self.random.append((name, caller()))
        if self.graph and not self._inside_leaf() and not name.startswith(".__"):
            if name == "torch.nn.functional.scaled_dot_product_attention":
                self._attention(args, kwargs)
            self._add(name, tree_leaves((args, list(kwargs.values()))), output, None)

    def _functional(
        self, func: Any, name: str, spec: Any, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        given: Tensor = _argument(args, kwargs, "input", 0, None)
        p = _argument(args, kwargs, spec.rate, spec.rate_at, 0.5)
        on = bool(_argument(args, kwargs, spec.flag, spec.flag_at, spec.default))
        owner = self._stack[-1] if self._stack and _kinds.is_dropout(self._stack[-1]) else None
        in_place = name.endswith("_") or bool(_argument(args, kwargs, "inplace", 3, False))
        before = given.detach().clone() if in_place and owner is None else given
        if in_place and self.out_of_place:
            output = func(
                given.clone(), *args[1:], **{k: v for k, v in kwargs.items() if k != "input"}
            )
        else:
            output = given if self.mute else func(*args, **kwargs)
        if owner is None:
            node = self._add(name, [given], output, None) if self.graph else None
            short = name.rpartition(".")[2]
            self._drop(short, float(p), on, None, before, output, node, in_place)
        return output

    def _attention(self, args: Any, kwargs: dict[str, Any]) -> None:
        p = _argument(args, kwargs, "dropout_p", 4, 0.0)
        if p:
            name = "scaled_dot_product_attention"
            self._noted(
                Drop(
                    name,
                    float(p),
                    True,
                    None,
                    caller(),
                    user_line(),
                    (),
                    False,
                    None,
                    self.in_backward,
                )
            )

    # The graph

    def _inside_leaf(self) -> bool:
        return bool(self._stack) and _is_leaf(self._stack[-1])

    def _add(self, kind: str, given: list[Any], output: Any, module: nn.Module | None) -> Node:
        inputs = [
            self._made[id(item)]
            for item in given
            if isinstance(item, Tensor) and id(item) in self._made
        ]
        made = [item for item in tree_leaves(output) if isinstance(item, Tensor)]
        shape = tuple(made[0].shape) if made else ()
        node = Node(kind, len(self.nodes), inputs, [], module, shape)
        for source in inputs:
            source.users.append(node)
        self.nodes.append(node)
        for item in made:
            self._made[id(item)] = node
            self._alive.append(item)
        return node

    def give(self, batch: Any) -> None:
        """Mark the tensors of a batch as the inputs of the graph."""
        self._add("input", [], batch, None)

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the operation that made a tensor."""
        return self._made.get(id(tensor))

    def _drop(
        self,
        name: str,
        p: float | None,
        on: bool,
        module: nn.Module | None,
        before: Tensor,
        after: Tensor,
        node: Node | None,
        in_place: bool,
    ) -> None:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            seen = observe(name, p, on, before, after, measure=self.measure)
        self._noted(
            Drop(
                name,
                p,
                on,
                module,
                caller(),
                user_line(),
                tuple(before.shape),
                seen.silent,
                seen.mask,
                self.in_backward,
                seen.moments,
                seen.correlation,
                seen.zero_samples,
                node,
                in_place,
            )
        )

    def _noted(self, drop: Drop) -> None:
        """Keep a call of a dropout."""
        self.drops.append(drop)


_NAMES: dict[Any, str] = {}


def _name_of(function: Callable[..., Any]) -> str:
    """Return the full name of a torch function; methods are ".name"."""
    try:
        known = _NAMES.get(function)
    except TypeError:
        return "?"
    if known is None:
        name = resolve_name(function) or "?"
        if name.startswith("torch.Tensor."):
            name = "." + name.removeprefix("torch.Tensor.")
        known = _NAMES[function] = name
    return known


def _argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, at: int, default: Any
) -> Any:
    """Return an argument given by name or position."""
    if name in kwargs:
        return kwargs[name]
    return args[at] if len(args) > at else default


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module is one operation to the graph: torch's own layers, and dropout layers."""
    if _kinds.is_dropout(module):
        return True
    return type(module).__module__.startswith("torch.nn.modules.") and not any(
        True for _ in module.children()
    )
