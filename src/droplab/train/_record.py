"""A function over tensors recorded once, and written out as straight-line code.

The function is traced on a throw-away copy of what it works on, and replayed on the
real thing: the same operations in the same order, without modules, autograd or transforms.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, fx

from droplab.data import Inputs
from droplab.data.tree import leaves, rebuilt
from droplab.train._copies import deep_copy
from droplab.train._record_writer import VIEWS, Writer
from droplab.train._trace import Trace, trace_operations

_LOG = logging.getLogger("droplab.train")


def record(
    function: Callable[..., Any],
    subject: Any,
    *inputs: Inputs,
    writer: Callable[[set[fx.Node]], Any] = Writer,
    name: str = "",
) -> Callable[..., Any]:
    """Return `function(subject, *inputs)` as straight-line code over the tensors of `subject`.

    Args:
        function: Called once, with a deep copy of `subject`, which it may change.
        subject: Anything that `copy.deepcopy` copies. Tensors that the code reads and changes are
            those that it holds now: they must be changed in place, never replaced.
        *inputs: Tensors of the shapes that the code is to take, or tuples or dicts of them.
        writer: What writes the code, given the nodes whose memory the caller gets.
        name: What the log calls it; a step for a batch like the first input if that is left out.

    Returns:
        A function of inputs of the same shapes, to be called in `torch.inference_mode`.
    """
    began = perf_counter()
    found, originals = trace(function, subject, *inputs)
    found.graph.eliminate_dead_code(_is_wanted)
    written = _write(found, originals, writer(_kept_nodes(found.graph)))
    shapes = (" x ".join(map(str, tensor.shape)) for tensor in leaves(inputs[0]))
    _LOG.debug(
        "%s: %d operations, in %.2f s",
        name or f"step recorded for a batch of {', '.join(shapes)}",
        sum(node.op == "call_function" for node in found.graph.nodes),
        perf_counter() - began,
    )
    if all(isinstance(each, Tensor) for each in inputs):
        return written
    return lambda *given: written(*leaves(given))


def trace(
    function: Callable[..., Any],
    subject: Any,
    *inputs: Inputs,
    prepare: Callable[[dict[int, Any]], None] = lambda copies: None,
) -> tuple[Trace, dict[int, Tensor]]:
    """Return the trace of `function(subject, *inputs)`, and the originals of its constants.

    Args:
        function: See `record`.
        subject: See `record`.
        *inputs: See `record`.
        prepare: Called before, with the copies of all that `subject` holds, by the `id` of each; it
            may change them, and seed torch's generators.

    Returns:
        The trace, whose constants are tensors of a copy of `subject`, and the tensors of `subject`
        by the storage of their copies.
    """
    memo: dict[int, Any] = {}
    twin = deep_copy(subject, memo)
    with torch.random.fork_rng():  # a model's own random layers draw while they are traced
        prepare(memo)
        found = trace_operations(
            lambda *values: function(twin, *rebuilt(inputs, values)),
            [x.contiguous().clone() for x in leaves(inputs)],
        )
    # deepcopy keeps every original that it copied alive in memo[id(memo)]
    kept = [item for item in memo.get(id(memo), []) if isinstance(item, Tensor)]
    return found, {storage_of(memo[id(t)]): t for t in kept if id(t) in memo}


def storage_of(tensor: Tensor) -> int:
    """Return what tells apart the memory of tensors that live at the same time."""
    return tensor.untyped_storage().data_ptr()


def _original(twin: Tensor, originals: dict[int, Tensor]) -> Tensor:
    """The real tensor behind a constant of the trace, which may be a view of a copy."""
    original = originals.get(storage_of(twin))
    if original is None or twin.numel() == 0:
        return twin  # not copied: the real one already
    return original.detach().as_strided(twin.size(), twin.stride(), twin.storage_offset())


def _write(found: Trace, originals: dict[int, Tensor], writer: Any) -> Callable[..., Any]:
    """Write the graph as one function whose constants are the original tensors."""
    with torch.inference_mode():
        for node in found.graph.nodes:
            if node.op == "placeholder":
                writer.argument(node)
            elif node.op == "get_attr":
                writer.constant(node, _original(found.constants[node], originals))
            elif node.op == "output":
                writer.give_back(node)
            else:
                writer.call(node)
    return writer.function()


def _kept_nodes(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose memory the output is, or may be, through views and changes in place."""
    kept: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        if node.op == "output" or (node in kept and _may_alias(node.target)):
            kept.update(node.all_input_nodes)
    return kept


def _may_alias(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    if target in VIEWS or schema is None:
        return True
    return any(result.alias_info is not None for result in schema.returns)


def _is_wanted(node: fx.Node) -> bool:
    """Whether a node stays although nothing reads it: it changes some tensor, or draws."""
    target: Any = node.target
    if node.op != "call_function" or target is operator.getitem:
        return node.op in ("placeholder", "output")
    schema = getattr(target, "_schema", None)
    if schema is None:
        return True
    return schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags
