"""Writing the operations of a traced graph as one function in C.

A small network's step is thirty operations of a microsecond or two, most of it spent on the way to
the operation. Here they become one function of one thread with all sizes known, for what a
multilayer perceptron needs; `UnsupportedError` says what it does not know. The code depends on
sizes alone, not on weights or addresses, so what was compiled once is found again on disk.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from droplab.ops.arguments import check_rate_values
from droplab.train._record_writer import SAME_START, carry_out
from droplab.train._step import UnsupportedError
from droplab.train.compiled._compiler import load
from droplab.train.compiled._operations import EMITTERS
from droplab.train.compiled._program import LINE, Program


class CWriter(Program):
    """Source of a function in C, operation by operation; used as `_record_writer.Writer` is."""

    def argument(self, node: fx.Node) -> None:
        """Take an argument of the function."""
        kinds = {torch.float32: "float", torch.int64: "int64_t"}
        kind = kinds.get(node.meta["val"].dtype)
        if kind is None:
            raise UnsupportedError(f"no C is known for inputs of {node.meta['val'].dtype}")
        self._places[node] = f"((const {kind} *)inputs[{len(self._inputs)}])"
        self._inputs.append(node)

    def call(self, node: fx.Node) -> None:
        """Write a call, or note what it is a view of."""
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and node.target in SAME_START:
            if source in self._values:
                self.constant(node, carry_out(node, self._values[source]))
            else:
                self._places[node] = self._places[source]
            return
        emit = EMITTERS.get(node.target)
        if emit is None:
            raise UnsupportedError(f"no C is known for {node.target}")
        emit(self, node)

    def give_back(self, node: fx.Node) -> None:
        """Note what the function returns: one result of its own."""
        result: Any = node.args[0]
        made = self._result.meta["val"] if self._result is not None else None
        like = result.meta["val"] if isinstance(result, fx.Node) else None
        if made is None or like is None or self._places.get(result) != "result":
            raise UnsupportedError("the step returns something else than what an operation made")
        if (like.size(), like.stride()) != (made.size(), made.stride()):
            raise UnsupportedError("the step returns a view of what an operation made")

    def function(self) -> Callable[..., Any]:
        """Compile the source and return the function."""
        assert self._result is not None
        like = self._result.meta["val"]
        body = "\n".join(f"    {line}" for line in self._lines)
        source = (
            f"{_prelude()}\nint step(void *const *at, void *const *inputs, float *result) {{\n"
            f"    float *const room = at[{len(self._table)}];\n{body}\n    return 0;\n}}\n"
        )
        room = torch.empty(self._room + LINE, dtype=torch.float32, device="cpu")
        table = (ctypes.c_void_p * (len(self._table) + 1))(*self._table, room.data_ptr())
        code = load(source)
        inputs = (ctypes.c_void_p * len(self._inputs))()
        shape, rates, alive = tuple(like.size()), self._rates, [*self._alive, room]

        def replay(*values: Tensor) -> Tensor:
            values = tuple([value.contiguous() for value in values])
            for index, value in enumerate(values):
                inputs[index] = value.data_ptr()
            out = torch.empty(shape, dtype=torch.float32, device="cpu")
            bad = code(table, inputs, out.data_ptr())
            if bad:
                _refuse(bad, rates)
            return out

        replay.keeps = alive  # pyright: ignore[reportFunctionMemberAccess] # their memory
        replay.source = source  # pyright: ignore[reportFunctionMemberAccess]
        return replay


def _refuse(status: int, rates: list[Tensor]) -> None:
    if status < 0:
        raise IndexError("a target is no class of the model: it is negative or too large")
    check_rate_values(rates[status - 1], "dropout")


@cache
def _prelude() -> str:
    return Path(__file__).with_name("prelude.c").read_text(encoding="utf-8")
