"""LSTM and GRU with dropout between time steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from droplab import ops
from droplab.errors import ArgumentError
from droplab.nn._dropout import Dropout
from droplab.nn._stepped import Hooks, State, SteppedRNN
from droplab.nn._stochastic import StochasticLayer
from droplab.nn._zoneout import Zoneout
from droplab.ops.transforms import is_plain
from droplab.rng import stream_key


class _RecurrentDropout(SteppedRNN):
    def __init__(
        self, *args: Any, recurrent_dropout: float = 0.25, seed: int | None = None, **kwargs: Any
    ) -> None:
        _refuse_projection(type(self).__name__, args, kwargs)
        super().__init__(*args, **kwargs)
        self.recurrent_dropout = Dropout(recurrent_dropout, seed=seed)

    def source(self) -> StochasticLayer:
        return self.recurrent_dropout

    def is_off(self) -> bool:
        return not self.training or reads_zero(self.recurrent_dropout)

    def hooks(self, steps: int, batch: int, like: Tensor) -> Hooks:
        # The same key at every step is the same mask at every step.
        key, rate = self.recurrent_dropout.next_key(), self.recurrent_dropout.rate
        return Hooks(lambda h: ops.dropout(h, rate, key=key), lambda _t, _before, after: after)


class _Zoneout(SteppedRNN):
    zoneouts: tuple[str, ...]

    def source(self) -> StochasticLayer:
        return self._layers()[0]

    def is_off(self) -> bool:
        return all(reads_zero(layer) for layer in self._layers())

    def hooks(self, steps: int, batch: int, like: Tensor) -> Hooks:
        layers = self._layers()
        rates = [layer.rate for layer in layers]
        if not self.training:
            return Hooks(
                lambda h: h,
                lambda _t, before, after: tuple(
                    ops.zoneout(old, new, rate, False)
                    for old, new, rate in zip(before, after, rates, strict=True)
                ),
            )
        keeps = [
            ops.keep_mask(
                (steps, batch, self.hidden_size),
                layer.rate,
                key=layer.next_key(),
                device=like.device,
            )
            for layer in layers
        ]

        def leave(t: int, before: State, after: State) -> State:
            return tuple(
                torch.where(keep[t], new, old)
                for keep, old, new in zip(keeps, before, after, strict=True)
            )

        return Hooks(lambda h: h, leave)

    def _layers(self) -> list[Zoneout]:
        return [getattr(self, name) for name in self.zoneouts]


class RecurrentDropoutLSTM(_RecurrentDropout, nn.LSTM):
    """`torch.nn.LSTM` with dropout of the hidden state, one mask for all time steps of a sequence.

    The mask multiplies h_(t-1) where it meets the recurrent weights, and differs between the
    sequences of a batch, between layers and between directions.

    Args:
        args: The arguments of `torch.nn.LSTM`, `proj_size` excepted.
        recurrent_dropout: Probability of dropping a hidden unit; to be changed later by
            `layer.recurrent_dropout.p = ...`.
        seed: Makes the masks a function of (seed, index of the call).
        kwargs: More arguments of `torch.nn.LSTM`. Its `dropout=` between layers is done by
            droplab as well.

    Shape:
        As `torch.nn.LSTM`, packed sequences included. The `state_dict` has the same keys.

    Raises:
        ArgumentError: If the rate is no drop probability, `proj_size` is given, or the input or
            the initial state does not fit.

    Randomness:
        One key for each layer and direction, and one between two layers.

    Source:
        Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", NIPS 2016; one mask for all four gates ("tied weights").

    Example:
        >>> lstm = RecurrentDropoutLSTM(4, 8, recurrent_dropout=0.25, seed=1)
        >>> output, (h, c) = lstm(torch.zeros(5, 2, 4))
        >>> output.shape
        torch.Size([5, 2, 8])
        >>> lstm.state_dict().keys() == nn.LSTM(4, 8).state_dict().keys()
        True
    """


class RecurrentDropoutGRU(_RecurrentDropout, nn.GRU):
    """`torch.nn.GRU` with dropout of the hidden state, one mask for all time steps of a sequence.

    As `RecurrentDropoutLSTM`. The mask acts where the state enters the gates; the part of the state
    that the update gate carries over is not dropped.

    Example:
        >>> gru = RecurrentDropoutGRU(4, 8, recurrent_dropout=0.25, seed=1)
        >>> gru(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 8])
    """


class ZoneoutLSTM(_Zoneout, nn.LSTM):
    """`torch.nn.LSTM` whose units keep their previous hidden or cell value at random.

    Args:
        args: The arguments of `torch.nn.LSTM`, `proj_size` excepted.
        zoneout_hidden: Probability that a hidden unit keeps its value; to be changed later by
            `layer.zoneout_hidden.p = ...`.
        zoneout_cell: The same of a memory cell.
        seed: Makes the masks a function of (seed, index of the call).
        kwargs: More arguments of `torch.nn.LSTM`.

    Shape:
        As `torch.nn.LSTM`, packed sequences included. The `state_dict` has the same keys.

    Raises:
        ArgumentError: As `RecurrentDropoutLSTM`.

    Randomness:
        Two keys for each layer and direction, and one between two layers.

    Source:
        Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
        ICLR 2017; the default rates are those of its section 4.2.

    Example:
        >>> lstm = ZoneoutLSTM(4, 8, zoneout_hidden=0.05, zoneout_cell=0.5, seed=1)
        >>> lstm(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 8])
    """

    zoneouts = ("zoneout_hidden", "zoneout_cell")

    def __init__(
        self,
        *args: Any,
        zoneout_hidden: float = 0.05,
        zoneout_cell: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse_projection(type(self).__name__, args, kwargs)
        super().__init__(*args, **kwargs)
        self.zoneout_hidden = Zoneout(zoneout_hidden, seed=seed)
        cell_seed = None if seed is None else stream_key(seed, "zoneout/cell")
        self.zoneout_cell = Zoneout(zoneout_cell, seed=cell_seed)


class ZoneoutGRU(_Zoneout, nn.GRU):
    """`torch.nn.GRU` whose units keep their previous value at random; as `ZoneoutLSTM`.

    Args:
        args: The arguments of `torch.nn.GRU`.
        zoneout_hidden: Probability that a hidden unit keeps its value.
        seed: Makes the masks a function of (seed, index of the call).
        kwargs: More arguments of `torch.nn.GRU`.

    Example:
        >>> gru = ZoneoutGRU(4, 8, zoneout_hidden=0.1, seed=1)
        >>> gru(torch.zeros(5, 2, 4))[0].shape
        torch.Size([5, 2, 8])
    """

    zoneouts = ("zoneout_hidden",)

    def __init__(
        self, *args: Any, zoneout_hidden: float = 0.1, seed: int | None = None, **kwargs: Any
    ) -> None:
        _refuse_projection(type(self).__name__, args, kwargs)
        super().__init__(*args, **kwargs)
        self.zoneout_hidden = Zoneout(zoneout_hidden, seed=seed)


def reads_zero(layer: StochasticLayer) -> bool:
    """Return whether the rate is 0, as far as its value can be looked at without harm.

    Torch's own kernel then runs, so that p = 0 gives the baseline bit for bit. The buffer is asked,
    not `p`, which does not know of a rate put in by `torch.func.functional_call`.
    """
    if not is_plain() or (layer.rate.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    return layer.rate.dim() == 0 and float(layer.rate) == 0.0


def _refuse_projection(where: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    # nn.LSTM takes proj_size as the eighth argument.
    if kwargs.get("proj_size") or (len(args) > 7 and args[7]):
        raise ArgumentError(
            f"{where}: expected an LSTM without proj_size, which the time loop does not have; use "
            "weight_drop on nn.LSTM"
        )
