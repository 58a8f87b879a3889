"""Dropout of whole words."""

from __future__ import annotations

from torch import Tensor

from droplab.errors import ArgumentError
from droplab.ops import _prologue as prologue
from droplab.ops._noise import keep_mask
from droplab.ops._reference import scaled


def embedding_dropout(
    embedded: Tensor,
    words: Tensor,
    num_embeddings: int,
    p: float | Tensor = 0.1,
    training: bool = True,
    *,
    seed: int | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Return `embedded` with words dropped from the vocabulary, wherever in the batch they stand.

    y_i = 0 if u_w < p for the word w at position i, else embedded_i / (1 - p).

    This equals dropping rows of the embedding matrix, without touching the matrix: it works with
    any embedding, also one whose weight is tied to the output layer.

    Args:
        embedded: What the embedding made of `words`: float64, float32, bfloat16 or float16.
        words: Word numbers in [0, num_embeddings), int64 or int32.
        num_embeddings: Size of the vocabulary.
        p: Probability of dropping a word: a float, or a float tensor of shape ().
        training: If false, `embedded` comes back as it is.
        seed: As in `dropout`.
        key: As in `dropout`.

    Shape:
        words: any; embedded: (*words.shape, D). The output has that of `embedded`.

    Returns:
        A tensor like `embedded`.

    Raises:
        ArgumentError: If the shapes do not fit, words are not integers, or as `dropout` does.
        IndexError: If a word number is out of range (on the CPU; on CUDA a device assertion).

    Randomness:
        As `dropout`; one decision per word of the vocabulary.

    Source:
        Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", NIPS 2016, section 4.2.

    Example:
        >>> import torch
        >>> words = torch.tensor([4, 2, 4])
        >>> y = embedding_dropout(torch.ones(3, 2), words, 10, 0.5, seed=1)
        >>> torch.equal(y[0], y[2])
        True
    """
    where = "embedding_dropout"
    if words.dtype.is_floating_point or words.dtype.is_complex or words.element_size() < 4:
        raise ArgumentError(
            f"{where}: expected word numbers, int64 or int32, got {words.dtype}; pass what the "
            "embedding layer was called with"
        )
    if embedded.shape[:-1] != words.shape or embedded.dim() != words.dim() + 1:
        raise ArgumentError(
            f"{where}: expected embedded of shape (*words.shape, D) for words of shape "
            f"{tuple(words.shape)}, got {tuple(embedded.shape)}; pass the embedding of these words"
        )
    if prologue.is_off(p, training, embedded, where):
        return embedded
    key = prologue.resolve_key(seed, key, where)
    scale = prologue.keep_scale(prologue.rate_tensor(p, embedded, where))
    keep = keep_mask((num_embeddings,), p, key=key, device=embedded.device)
    return prologue.masked(keep[words].unsqueeze(-1), scaled(embedded, scale), embedded)
