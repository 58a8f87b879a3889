"""Functional dropout with reproducible masks.

A mask is a pure function of a key and of the index of the element: the same on every device, in
every dtype, for any number of threads, and in the backward pass, which makes it again instead of
keeping it. `docs/masks.md` describes the generator and its layout.
"""

from __future__ import annotations

from droplab.ops._alpha import alpha_dropout, feature_alpha_dropout
from droplab.ops._channels import dropout1d, dropout2d, dropout3d
from droplab.ops._concrete import concrete_dropout
from droplab.ops._drop_block import drop_block1d, drop_block2d
from droplab.ops._drop_path import drop_path
from droplab.ops._dropout import dropout
from droplab.ops._embedding import embedding_dropout
from droplab.ops._frozen import frozen_masks, masks_are_frozen
from droplab.ops._gaussian import gaussian_dropout, gaussian_noise
from droplab.ops._graph import plain_operators
from droplab.ops._keys import given_keys, make_key, mask_key
from droplab.ops._layer_key import draw_layer_key, next_key
from droplab.ops._locked import locked_dropout
from droplab.ops._multi_sample import multi_sample_dropout
from droplab.ops._noise import keep_mask, normal, uniform
from droplab.ops._selftest import Check, SelfTest, selftest
from droplab.ops._stacked import StackedDraws
from droplab.ops._zoneout import zoneout
from droplab.ops.rank import set_rank

__all__ = [
    "Check",
    "SelfTest",
    "StackedDraws",
    "alpha_dropout",
    "concrete_dropout",
    "draw_layer_key",
    "drop_block1d",
    "drop_block2d",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "embedding_dropout",
    "feature_alpha_dropout",
    "frozen_masks",
    "gaussian_dropout",
    "gaussian_noise",
    "given_keys",
    "keep_mask",
    "locked_dropout",
    "make_key",
    "mask_key",
    "masks_are_frozen",
    "multi_sample_dropout",
    "next_key",
    "normal",
    "plain_operators",
    "selftest",
    "set_rank",
    "uniform",
    "zoneout",
]
