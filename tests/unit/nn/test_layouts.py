"""Layers that must know what an axis means ask, and do not guess."""

from __future__ import annotations

import pytest
import torch

from droplab.errors import ArgumentError
from droplab.nn import (
    DropBlock2d,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    DropPath,
    EmbeddingDropout,
    FeatureAlphaDropout,
    LockedDropout,
)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (Dropout2d(), (3, 4, 5), ["(N, C, H, W)", "(3, 4, 5)", "batched=False", "Dropout1d"]),
        (Dropout1d(), (3, 4), ["(N, C, L)", "batched=False", "(N, C) use Dropout"]),
        (Dropout3d(), (3, 4, 5, 6), ["(N, C, D, H, W)", "batched=False", "Dropout2d"]),
        (Dropout1d(), (2, 3, 4, 5), ["(N, C, L)", "Dropout2d"]),
        (Dropout2d(), (2, 3, 4, 5, 6), ["(N, C, H, W)", "Dropout3d"]),
        (Dropout2d(batched=False), (2, 3, 4, 5), ["(C, H, W)", "leave batched=False out"]),
        (Dropout2d(), (3, 4), ["(N, C, H, W)", "(N, C) use Dropout"]),
        (Dropout3d(), (2, 3, 4, 5, 6, 7), ["(N, C, D, H, W)", "noise_shape"]),
        (FeatureAlphaDropout(), (3,), ["(N, C, ...)", "AlphaDropout"]),
        (LockedDropout(), (3, 4), ["(T, B, C)", "(3, 4)"]),
        (LockedDropout(batch_first=True), (3, 4), ["(B, T, C)"]),
        (DropPath(0.5), (), ["samples on the first axis"]),
        (DropBlock2d(0.1, 3), (3, 8, 8), ["(N, C, H, W)", "unsqueeze(0)"]),
    ],
)
def test_a_wrong_layout_is_refused_with_what_was_meant(layer, shape, words) -> None:
    with pytest.raises(ArgumentError) as error:
        layer(torch.ones(shape))
    assert all(word in str(error.value) for word in words), str(error.value)


class OwnBlock(DropBlock2d):
    pass


@pytest.mark.parametrize("kind", [DropBlock2d, OwnBlock])
@pytest.mark.parametrize("label", [None, "encoder.3"])
def test_the_label_takes_the_place_of_the_functions_name(kind, label) -> None:
    layer = kind(0.1, 8)
    if label is not None:
        layer.label = label
    with pytest.raises(ArgumentError) as error:
        layer(torch.ones(1, 1, 7, 9))
    assert str(error.value) == (
        f"{label or kind.__name__}: block_size must be at most min(H, W) = 7, got 8; use 7, or "
        "DropPath to drop whole samples"
    )


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(Dropout1d, (4, 5)), (Dropout2d, (4, 5, 6)), (Dropout3d, (4, 2, 3, 5))],
)
def test_one_sample_has_the_masks_of_a_batch_of_one(layer, shape) -> None:
    x = torch.ones(shape)
    single = layer(seed=1, batched=False)(x)
    assert torch.equal(single, layer(seed=1)(x[None])[0])


@pytest.mark.parametrize(
    ("words", "embedded"),
    [
        (torch.zeros(2, 3), torch.ones(2, 3, 4)),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 3, 4)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 4)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3)),
    ],
)
def test_words_must_fit_their_embedding(words, embedded) -> None:
    with pytest.raises(ArgumentError, match="EmbeddingDropout"):
        EmbeddingDropout(10)(embedded, words)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_a_vocabulary_has_a_size(size) -> None:
    with pytest.raises(ArgumentError, match="num_embeddings"):
        EmbeddingDropout(size)


def test_a_word_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises(IndexError):
        EmbeddingDropout(3)(torch.ones(1, 4), torch.tensor([3]))
