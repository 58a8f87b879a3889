"""Every random layer of the package in one table.

Contract tests, statistics, documentation and benchmarks go through it, so a layer is complete when
it stands here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from droplab import ops
from droplab.nn import (
    AlphaDropout,
    ConcreteDropout,
    DropBlock1d,
    DropBlock2d,
    DropConnect,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropPath,
    EmbeddingDropout,
    FeatureAlphaDropout,
    GaussianDropout,
    GaussianNoise,
    LockedDropout,
    MultiSampleDropout,
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    WeightDrop,
    Zoneout,
    ZoneoutGRU,
    ZoneoutLSTM,
)
from droplab.testing import _moments as moments
from droplab.testing._layer import Inputs, Layer


def _example(*shape: int) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        # Away from zero, so that a dropped element can be told from a kept one.
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return (x + 0.5 * x.sign(),)

    return inputs


def _words() -> Inputs:
    words = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    return (*_example(2, 4, 5)(), words)


def _states() -> Inputs:
    (x,) = _example(2, 6, 5)()
    return x[0], x[1]


def _number(*axes: int) -> Callable[..., Tensor]:
    """Return groups that differ along these axes of the output."""

    def groups(output: Tensor, *_: Tensor) -> Tensor:
        shape = [size if axis in axes else 1 for axis, size in enumerate(output.shape)]
        return torch.arange(math.prod(shape)).view(shape)

    return groups


def _output_of_plain(module: Any, x: Tensor) -> Tensor:
    return moments.plain_rnn(module)(x)[0]


def _recurrent(kind: type[nn.Module], *rates: str) -> Callable[[float, int | None], nn.Module]:
    def build(p: float, seed: int | None) -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return kind(5, 3, seed=seed, **dict.fromkeys(rates, p))

    return build


_rnn = partial(
    Layer,
    functional=None,
    inputs=_example(4, 2, 5),
    baseline=_output_of_plain,
    groups=_number(1),
    support=False,
    at_one="finite",
)

_ENTRIES = (
    Layer(
        Dropout,
        "dropout",
        lambda p, seed: Dropout(p, seed=seed),
        _example(6, 5),
        apply=lambda p, seed, x: ops.dropout(x, p, seed=seed),
    ),
    Layer(
        Dropout1d,
        "dropout1d",
        lambda p, seed: Dropout1d(p, seed=seed),
        _example(3, 4, 5),
        apply=lambda p, seed, x: ops.dropout1d(x, p, seed=seed),
        groups=_number(0, 1),
        shares=True,
    ),
    Layer(
        Dropout2d,
        "dropout2d",
        lambda p, seed: Dropout2d(p, seed=seed),
        _example(3, 4, 3, 5),
        apply=lambda p, seed, x: ops.dropout2d(x, p, seed=seed),
        groups=_number(0, 1),
        shares=True,
    ),
    Layer(
        Dropout3d,
        "dropout3d",
        lambda p, seed: Dropout3d(p, seed=seed),
        _example(3, 4, 2, 3, 3),
        apply=lambda p, seed, x: ops.dropout3d(x, p, seed=seed),
        groups=_number(0, 1),
        shares=True,
    ),
    Layer(
        AlphaDropout,
        "alpha_dropout",
        lambda p, seed: AlphaDropout(p, seed=seed),
        _example(6, 5),
        moments.of_alpha,
        lambda p, seed, x: ops.alpha_dropout(x, p, seed=seed),
        support=False,
    ),
    Layer(
        FeatureAlphaDropout,
        "feature_alpha_dropout",
        lambda p, seed: FeatureAlphaDropout(p, seed=seed),
        _example(3, 4, 5),
        moments.of_alpha,
        lambda p, seed, x: ops.feature_alpha_dropout(x, p, seed=seed),
        support=False,
        groups=_number(0, 1),
    ),
    Layer(
        GaussianDropout,
        "gaussian_dropout",
        lambda p, seed: GaussianDropout(p, seed=seed),
        _example(6, 5),
        apply=lambda p, seed, x: ops.gaussian_dropout(x, p, seed=seed),
        support=False,
        at_one="refused",
    ),
    Layer(
        GaussianNoise,
        "gaussian_noise",
        lambda p, seed: GaussianNoise(p, seed=seed),
        _example(6, 5),
        moments.of_noise,
        lambda p, seed, x: ops.gaussian_noise(x, p, seed=seed),
        support=False,
        at_one="finite",
    ),
    Layer(
        DropPath,
        "drop_path",
        lambda p, seed: DropPath(p, seed=seed),
        _example(7, 3, 2),
        apply=lambda p, seed, x: ops.drop_path(x, p, seed=seed),
        groups=_number(0),
        shares=True,
    ),
    Layer(
        DropBlock1d,
        "drop_block1d",
        lambda p, seed: DropBlock1d(p, 4, seed=seed),
        _example(2, 3, 9),
        apply=lambda p, seed, x: ops.drop_block1d(x, p, 4, seed=seed),
        groups=_number(0, 1),
    ),
    Layer(
        DropBlock2d,
        "drop_block2d",
        lambda p, seed: DropBlock2d(p, 3, seed=seed),
        _example(2, 3, 5, 7),
        apply=lambda p, seed, x: ops.drop_block2d(x, p, 3, seed=seed),
        groups=_number(0, 1),
    ),
    Layer(
        DropConnect,
        "dropout",
        lambda p, seed: DropConnect(p, seed=seed),
        _example(6, 5),
        apply=lambda p, seed, x: ops.dropout(x, p, seed=seed),
    ),
    Layer(
        WeightDrop,
        "dropout",
        lambda p, seed: WeightDrop(p, seed=seed),
        _example(6, 5),
        apply=lambda p, seed, x: ops.dropout(x, p, seed=seed),
    ),
    Layer(
        EmbeddingDropout,
        "embedding_dropout",
        lambda p, seed: EmbeddingDropout(10, p, seed=seed),
        _words,
        apply=lambda p, seed, x, words: ops.embedding_dropout(x, words, 10, p, seed=seed),
        groups=lambda output, x, words: words.unsqueeze(-1),
        shares=True,
    ),
    Layer(
        LockedDropout,
        "locked_dropout",
        lambda p, seed: LockedDropout(p, seed=seed),
        _example(4, 3, 5),
        apply=lambda p, seed, x: ops.locked_dropout(x, p, seed=seed),
        groups=_number(1, 2),
        shares=True,
    ),
    Layer(
        Zoneout,
        "zoneout",
        lambda p, seed: Zoneout(p, seed=seed),
        _states,
        moments.of_zoneout,
        lambda p, seed, previous, current: ops.zoneout(previous, current, p, seed=seed),
        lambda module, previous, current: current,
        support=False,
        at_one="finite",
        eval_is_baseline=False,
    ),
    _rnn(
        RecurrentDropoutLSTM,
        build=_recurrent(RecurrentDropoutLSTM, "recurrent_dropout"),
        moments=moments.of_recurrent_dropout,
    ),
    _rnn(
        RecurrentDropoutGRU,
        build=_recurrent(RecurrentDropoutGRU, "recurrent_dropout"),
        moments=moments.of_recurrent_dropout,
    ),
    _rnn(
        ZoneoutLSTM,
        build=_recurrent(ZoneoutLSTM, "zoneout_hidden", "zoneout_cell"),
        moments=moments.of_zoneout_rnn,
        eval_is_baseline=False,
    ),
    _rnn(
        ZoneoutGRU,
        build=_recurrent(ZoneoutGRU, "zoneout_hidden"),
        moments=moments.of_zoneout_rnn,
        eval_is_baseline=False,
    ),
    Layer(
        ConcreteDropout,
        "concrete_dropout",
        lambda p, seed: ConcreteDropout(p, seed=seed),
        _example(6, 5),
        moments.of_concrete,
        lambda p, seed, x: ops.concrete_dropout(x, torch.logit(torch.tensor(p)), seed=seed),
        support=False,
        at_zero="refused",
        at_one="refused",
    ),
    Layer(
        MultiSampleDropout,
        "multi_sample_dropout",
        lambda p, seed: MultiSampleDropout(p, 3, seed=seed),
        _example(4, 5),
        moments.of_samples,
        lambda p, seed, x: ops.multi_sample_dropout(x, p, 3, seed=seed),
        lambda module, x: x.unsqueeze(0),
    ),
)

LAYERS = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""The registry: name of the class to what is known about it."""
