"""The source of a function in C while it is written: its lines, and where each value lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from droplab.train._step import UnsupportedError

LINE = 16
"""Numbers that intermediate results are aligned to: a line of the cache."""


class Program:
    """Lines of C, and the places of what they read and write.

    Args:
        kept: Nodes whose memory the caller of the function gets.
    """

    def __init__(self, kept: set[fx.Node]) -> None:
        self._kept = kept
        self._values: dict[fx.Node, Any] = {}
        self._places: dict[fx.Node, str] = {}
        self._table: list[int] = []
        self._alive: list[Tensor] = []
        self._rates: list[Tensor] = []
        self._lines: list[str] = []
        self._inputs: list[fx.Node] = []
        self._room = 0
        self._result: fx.Node | None = None

    def constant(self, node: fx.Node, value: Any) -> None:
        """Give a node a value that never changes place."""
        self._values[node] = value
        if isinstance(value, Tensor):
            self._places[node] = self.pointer(value)

    def pointer(self, value: Tensor) -> str:
        """Return the pointer to a tensor that never changes place."""
        kinds = {torch.float32: "float", torch.float64: "double", torch.int64: "int64_t"}
        dense = value.is_contiguous() or (value.dim() == 2 and value.t().is_contiguous())
        if value.dtype not in kinds or not value.is_cpu or not dense:
            raise UnsupportedError(f"no C is known for a tensor of {value.dtype} that is not dense")
        self._alive.append(value)
        return f"(({kinds[value.dtype]} *){self.address(value.data_ptr())})"

    def address(self, address: int) -> str:
        """Return what stands for an address in the source, which holds none itself."""
        if address not in self._table:
            self._table.append(address)
        return f"at[{self._table.index(address)}]"

    def place(self, node: Any) -> str:
        """Return the pointer to what a node holds."""
        if not isinstance(node, fx.Node) or node not in self._places:
            raise UnsupportedError(f"an operation on {node}")
        return self._places[node]

    def matrix(self, node: Any) -> tuple[str, int, int, int, int]:
        """Return pointer, rows, columns and both strides of a node."""
        like = node.meta["val"]
        if like.dim() != 2 or like.dtype is not torch.float32:
            raise UnsupportedError(f"a product of {tuple(like.shape)}, {like.dtype}")
        return self.place(node), *like.size(), *like.stride()

    def result(self, node: fx.Node) -> str:
        """Give the result of a node room, and return the pointer to it."""
        like = node.meta["val"]
        if like.dtype is not torch.float32 or not like.is_contiguous():
            raise UnsupportedError(f"a result of {like.dtype} that is not contiguous")
        if node in self._kept:
            if "result" in self._places.values():
                raise UnsupportedError("the step returns more than one result")
            place, self._result = "result", node
        else:
            place = f"(room + {self._room})"
            self._room += -(-like.numel() // LINE) * LINE
        self._places[node] = place
        return place

    def write(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)

    def value(self, node: Any) -> Any:
        """Return the tensor that a node always stands for."""
        if node not in self._values:
            raise UnsupportedError(f"an operation on {node}, which is not always the same tensor")
        return self._values[node]

    def status(self, expression: str, rate: Tensor) -> None:
        """Add a call that fails if a rate is none."""
        self._rates.append(rate)
        self._lines.append(f"if ({expression}) return {len(self._rates)};")
