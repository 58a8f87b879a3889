"""A time loop of our own over the weights of `torch.nn.LSTM` and `torch.nn.GRU`.

torch's kernels give no access to the state between two time steps, so dropout that acts there needs
its own loop. It reads the same parameters in the same order, and takes packed sequences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from droplab import ops
from droplab.errors import ArgumentError
from droplab.nn._labelled import Labelled
from droplab.nn._stochastic import StochasticLayer
from droplab.ops.arguments import check_input

State = tuple[Tensor, ...]
"""(h,) of a GRU or (h, c) of an LSTM, each (B, H)."""


class Hooks(NamedTuple):
    """What dropout does inside the loop of one layer and direction."""

    enter: Callable[[Tensor], Tensor]
    """Applied to the hidden state before it meets the recurrent weight."""

    leave: Callable[[int, State, State], State]
    """Applied to (step, state before, state after)."""


class SteppedRNN(Labelled, nn.RNNBase, ABC):
    """Mixin in front of `nn.LSTM` or `nn.GRU`: the loop, around hooks that subclasses give."""

    @abstractmethod
    def hooks(self, steps: int, batch: int, like: Tensor) -> Hooks:
        """Return the hooks of the next layer and direction; called once for each."""

    @abstractmethod
    def is_off(self) -> bool:
        """Return whether torch's own loop gives the same result."""

    @abstractmethod
    def source(self) -> StochasticLayer:
        """Return the layer whose keys are used between the stacked layers."""

    @classmethod
    def from_torch(cls, rnn: nn.RNNBase, **arguments: Any) -> Self:
        """Return a layer that shares the parameters of `rnn`.

        Args:
            rnn: The `nn.LSTM` or `nn.GRU` to take over.
            arguments: The dropout arguments of this class.
        """
        make: Any = cls  # which has the arguments of nn.LSTM
        new: Self = make(
            rnn.input_size,
            rnn.hidden_size,
            rnn.num_layers,
            rnn.bias,
            rnn.batch_first,
            rnn.dropout,
            rnn.bidirectional,
            device="meta",
            **arguments,
        )
        if new.mode != rnn.mode or rnn.proj_size:
            raise ArgumentError(
                f"{cls.__name__}: expected an nn.{new.mode} without proj_size, got {rnn!r}"
            )
        for name, parameter in rnn.named_parameters():
            setattr(new, name, parameter)
        device = next(rnn.parameters()).device
        for child in new.children():
            child.to(device)
        return new.train(rnn.training)

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.is_off():
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        if not isinstance(input, Tensor) or input.dim() not in (2, 3):
            shape = tuple(getattr(input, "shape", ()))
            raise ArgumentError(
                "expected (T, B, C), (B, T, C) with batch_first, (T, C) or "
                f"a packed sequence, got shape {shape}; use unsqueeze for missing axes"
            )
        check_input(input, self.label)
        single = input.dim() == 2
        axis = 0 if self.batch_first and not single else 1
        x = input.unsqueeze(1) if single else input.movedim(axis, 1)
        state = self._start(hx, x, single)
        output, state = self._run(x, state, None)
        if single:
            return output.squeeze(1), self._finish([s.squeeze(1) for s in state])
        return output.movedim(1, axis), self._finish(state)

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        if hx is not None:
            hx = self.permute_hidden(hx, packed.sorted_indices)
        # Without its indices it unpacks in the order of decreasing length, which is that of hx now.
        x, lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        steps = torch.arange(x.shape[0], device=x.device)
        valid = steps[:, None, None] < lengths.to(x.device)[None, :, None]
        output, state = self._run(x, self._start(hx, x, False), valid)
        data = pack_padded_sequence(output, lengths).data
        result = PackedSequence(
            data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
        )
        return result, self.permute_hidden(self._finish(state), packed.unsorted_indices)

    def _start(self, hx: Any, x: Tensor, single: bool) -> list[Tensor]:
        """Return the initial states, each (layers x directions, B, H), checked."""
        parts = 2 if self.mode == "LSTM" else 1
        if x.shape[-1] != self.input_size:
            raise ArgumentError(
                f"expected {self.input_size} input features, got shape {tuple(x.shape)}"
            )
        shape = (self.num_layers * self._directions(), x.shape[1], self.hidden_size)
        if hx is None:
            return [x.new_zeros(shape) for _ in range(parts)]
        given = [hx] if isinstance(hx, Tensor) else list(hx)
        state = [part.unsqueeze(1) if single else part for part in given]
        if len(state) != parts or any(part.shape != shape for part in state):
            raise ArgumentError(
                f"expected {parts} initial state(s) of shape {shape}, got "
                f"{[tuple(part.shape) for part in given]}; leave them out to start from zeros"
            )
        return state

    def _finish(self, state: list[Tensor]) -> Any:
        return tuple(state) if self.mode == "LSTM" else state[0]

    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _run(
        self, x: Tensor, start: list[Tensor], valid: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = ops.dropout(x, self.dropout, key=self.source().next_key(always=True))
            outputs: list[Tensor] = []
            for direction in range(self._directions()):
                state = tuple(part[len(ends)] for part in start)
                output, state = self._layer(x, state, valid, layer, direction)
                outputs.append(output)
                ends.append(state)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return x, [torch.stack(parts) for parts in zip(*ends, strict=True)]

    def _layer(
        self, x: Tensor, state: State, valid: Tensor | None, layer: int, direction: int
    ) -> tuple[Tensor, State]:
        suffix = f"_l{layer}{'_reverse' if direction else ''}"
        w_ih, w_hh = (getattr(self, f"weight_{part}{suffix}") for part in ("ih", "hh"))
        b_ih, b_hh = (
            getattr(self, f"bias_{part}{suffix}") if self.bias else None for part in ("ih", "hh")
        )
        steps, batch = x.shape[:2]
        hooks = self.hooks(steps, batch, state[0])
        step_of = _lstm_step if self.mode == "LSTM" else _gru_step
        inputs = F.linear(x, w_ih, b_ih).unbind(0)
        outputs: list[Tensor] = []
        for t in reversed(range(steps)) if direction else range(steps):
            recurrent = F.linear(hooks.enter(state[0]), w_hh, b_hh)
            after = hooks.leave(t, state, step_of(inputs[t], recurrent, state))
            if valid is not None:
                # Behind its end a sequence waits; its outputs there are not packed.
                after = tuple(
                    torch.where(valid[t], new, old) for new, old in zip(after, state, strict=True)
                )
            state = after
            outputs.append(state[0])
        if direction:
            outputs.reverse()
        if not outputs:
            return x.new_zeros((0, batch, self.hidden_size)), state
        return torch.stack(outputs), state


def _lstm_step(inputs: Tensor, recurrent: Tensor, state: State) -> State:
    i, f, g, o = (inputs + recurrent).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_step(inputs: Tensor, recurrent: Tensor, state: State) -> State:
    (r_i, z_i, n_i), (r_h, z_h, n_h) = inputs.chunk(3, -1), recurrent.chunk(3, -1)
    z = torch.sigmoid(z_i + z_h)
    n = torch.tanh(n_i + torch.sigmoid(r_i + r_h) * n_h)
    return (n + z * (state[0] - n),)
