"""Dropout of whole words."""

from __future__ import annotations

from torch import Tensor

from droplab import ops
from droplab.errors import ArgumentError
from droplab.nn._stochastic import StochasticLayer
from droplab.numeric import whole


class EmbeddingDropout(StochasticLayer):
    """Drops words of the vocabulary at random, wherever in the batch they stand.

    y_i = 0 with probability p, decided once for each word of the vocabulary, else x_i / (1 - p).

    It goes behind the embedding, `drop(embedding(words), words)`, and equals dropping rows of the
    embedding matrix without touching it.

    Args:
        num_embeddings: Size of the vocabulary.
        p: Probability of dropping a word; can be assigned to later.
        seed: Makes the masks a function of (seed, index of the call).

    Shape:
        embedded: (*, D); words: (*). The output has the shape of `embedded`.

    Raises:
        ArgumentError: As `Dropout`; if `num_embeddings` is not a positive integer; when called, if
            words are not integers or do not fit the embedding.

    Randomness:
        One key a call, as `Dropout`; one decision per word of the vocabulary.

    Source:
        Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural
        Networks", NIPS 2016, section 4.2.

    Example:
        >>> import torch
        >>> drop = EmbeddingDropout(10, 0.5, seed=1)
        >>> y = drop(torch.ones(3, 2), torch.tensor([4, 2, 4]))
        >>> torch.equal(y[0], y[2])
        True
    """

    def __init__(self, num_embeddings: int, p: float = 0.1, *, seed: int | None = None) -> None:
        super().__init__(p, seed)
        size = whole(num_embeddings)
        if size is None or size < 1:
            raise ArgumentError(
                f"{self.label}: num_embeddings: expected the size of the vocabulary, an integer of "
                "at least 1; use that of the embedding layer"
            )
        self.num_embeddings = size

    def forward(self, embedded: Tensor, words: Tensor) -> Tensor:
        if not self.training:
            return embedded
        key = self.next_key()
        return ops.embedding_dropout(embedded, words, self.num_embeddings, self.rate, key=key)

    def _describe(self) -> list[str]:
        return [str(self.num_embeddings), *super()._describe()]
