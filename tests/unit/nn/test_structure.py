"""What is dropped together: paths, blocks, words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError
from droplab.nn import (
    DropBlock1d,
    DropBlock2d,
    DropPath,
    EmbeddingDropout,
    GaussianDropout,
    GaussianNoise,
    MultiSampleDropout,
    multi_sample_loss,
)


def test_batch_mode_drops_all_samples_or_none() -> None:
    layer = DropPath(0.5, mode="batch", seed=1)
    sums = {float(layer(torch.ones(4, 3)).sum()) for _ in range(50)}
    assert sums == {0.0, 24.0}


def test_paths_can_stay_unscaled() -> None:
    layer = DropPath(0.5, scale_by_keep=False, seed=1)
    assert set(layer(torch.ones(50, 1)).flatten().tolist()) == {0.0, 1.0}
    x = torch.ones(3, 2)
    assert DropPath(0.5, False).eval()(x) is x


def test_timms_names_work() -> None:
    layer = DropPath(drop_prob=0.1, scale_by_keep=True)
    layer.drop_prob = 0.4
    assert layer.p == layer.drop_prob == 0.4
    assert repr(layer) == "DropPath(drop_prob=0.4, mode='row')"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'batch'"):
        DropPath(0.5, mode="batchs")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_what_is_dropped_is_a_union_of_blocks(block: int) -> None:
    dropped = DropBlock2d(0.3, block, seed=2)(torch.ones(20, 5, 9, 11)) == 0
    # Blocks reach over the edge, so the map is looked at with everything outside dropped.
    outside = nn.functional.pad(dropped.float(), [block - 1] * 4, value=1.0)
    whole = -nn.functional.max_pool2d(-outside, block, stride=1)  # 1 where a full block fits
    covered = nn.functional.max_pool2d(whole, block, stride=1)
    assert torch.equal(covered, dropped.float())
    line = DropBlock1d(0.3, block, seed=2)(torch.ones(20, 5, 13)) == 0
    outside = nn.functional.pad(line.float(), [block - 1] * 2, value=1.0)
    whole = -nn.functional.max_pool1d(-outside, block, stride=1)
    assert torch.equal(nn.functional.max_pool1d(whole, block, stride=1), line.float())


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_block_has_a_size(size) -> None:
    with pytest.raises(ArgumentError, match="block_size"):
        DropBlock2d(0.1, size)


def test_a_run_longer_than_the_line_is_refused() -> None:
    with pytest.raises(ArgumentError, match="block_size must be at most L = 4, got 5"):
        DropBlock1d(0.1, 5)(torch.ones(1, 1, 4))


def test_a_block_may_fill_the_map() -> None:
    assert DropBlock2d(0.5, 4, seed=1)(torch.ones(2, 3, 4, 4)).isfinite().all()


def test_dropping_words_equals_dropping_rows_of_the_embedding() -> None:
    embedding = nn.Embedding(6, 3)
    words = torch.arange(6).repeat(2)
    output = EmbeddingDropout(6, 0.5, seed=3)(embedding(words), words)
    kept = output[:6].abs().sum(-1) > 0
    rows = embedding.weight * kept[:, None] * 2.0
    torch.testing.assert_close(output, nn.functional.embedding(words, rows))
    assert kept.any()
    assert not kept.all()


def test_samples_differ_and_their_losses_are_averaged() -> None:
    features, target = torch.randn(4, 10), torch.tensor([0, 1, 2, 0])
    classifier = nn.Linear(10, 3)
    drop = MultiSampleDropout(0.5, 5, seed=1)
    outputs = classifier(drop(features))
    assert outputs.shape == (5, 4, 3)
    assert not torch.equal(outputs[0], outputs[1])
    loss = multi_sample_loss(nn.functional.cross_entropy, outputs, target)
    each = [nn.functional.cross_entropy(output, target) for output in outputs]
    torch.testing.assert_close(loss, sum(each) / 5)
    assert torch.equal(classifier(drop.eval()(features)).mean(0), classifier(features))


@pytest.mark.parametrize("samples", [0, 2.5, True])
def test_samples_are_counted(samples) -> None:
    with pytest.raises(ArgumentError, match="samples"):
        MultiSampleDropout(0.5, samples)


def test_gaussian_dropout_has_no_rate_one() -> None:
    with pytest.raises(ArgumentError, match="variance"):
        GaussianDropout(1.0)
    layer = GaussianDropout(0.5)
    with pytest.raises(ArgumentError, match="variance"):
        layer.p = 1.0


def test_noise_can_be_changed() -> None:
    layer = GaussianNoise(0.5, seed=1)
    layer.std = 0.0
    assert torch.equal(layer(torch.ones(9)), torch.ones(9))
    with pytest.raises(ArgumentError, match="std"):
        layer.std = -1.0
