"""Random layers for PyTorch: thin modules over `droplab.ops`, drop-ins where torch has a twin.

`docs/layers.md` has a card for each: what it does, its formula, when to use it, and its source.
"""

from __future__ import annotations

from droplab.nn import schedules
from droplab.nn._alpha import AlphaDropout, FeatureAlphaDropout
from droplab.nn._calls import call_indices, restore_call_indices
from droplab.nn._channels import Dropout1d, Dropout2d, Dropout3d
from droplab.nn._concrete import ConcreteDropout
from droplab.nn._drop_block import DropBlock1d, DropBlock2d
from droplab.nn._drop_connect import DropConnect, drop_connect, remove_drop_connect
from droplab.nn._drop_path import DropPath
from droplab.nn._dropout import Dropout
from droplab.nn._embedding import EmbeddingDropout
from droplab.nn._gaussian import GaussianDropout, GaussianNoise
from droplab.nn._locked import LockedDropout
from droplab.nn._max_norm import max_norm_
from droplab.nn._multi_sample import MultiSampleDropout, multi_sample_loss
from droplab.nn._r_drop import r_drop_loss
from droplab.nn._recurrent import (
    RecurrentDropoutGRU,
    RecurrentDropoutLSTM,
    ZoneoutGRU,
    ZoneoutLSTM,
)
from droplab.nn._seeded import SeededLayer
from droplab.nn._stochastic import StochasticLayer
from droplab.nn._weight_drop import WeightDrop, remove_weight_drop, weight_drop
from droplab.nn._zoneout import Zoneout

__all__ = [
    "AlphaDropout",
    "ConcreteDropout",
    "DropBlock1d",
    "DropBlock2d",
    "DropConnect",
    "DropPath",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "EmbeddingDropout",
    "FeatureAlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "LockedDropout",
    "MultiSampleDropout",
    "RecurrentDropoutGRU",
    "RecurrentDropoutLSTM",
    "SeededLayer",
    "StochasticLayer",
    "WeightDrop",
    "Zoneout",
    "ZoneoutGRU",
    "ZoneoutLSTM",
    "call_indices",
    "drop_connect",
    "max_norm_",
    "multi_sample_loss",
    "r_drop_loss",
    "remove_drop_connect",
    "remove_weight_drop",
    "restore_call_indices",
    "schedules",
    "weight_drop",
]
