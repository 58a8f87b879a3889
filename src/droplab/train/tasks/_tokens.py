"""Tokens: logits (B, T, C) for token numbers (B, T), some of which may count for nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from droplab.train.tasks._losses import CrossEntropy
from droplab.train.tasks._shares import log_shares
from droplab.train.tasks._task import Meter, Task, Terms

IGNORED = -100
"""The target that counts for nothing unless a recipe names another: torch's own."""


class Tokens(Task):
    """One of several classes at every place of a sequence, weighed token by token."""

    name = "tokens"
    usual = CrossEntropy(ignore_index=IGNORED)

    @property
    def ignored(self) -> int:
        """The target that counts for nothing."""
        found = self.loss.ignored if isinstance(self.loss, CrossEntropy) else None
        return IGNORED if found is None else found

    def constant(self, targets: Tensor, others: Tensor) -> Tensor:
        """Return the logarithms of the shares of the tokens, at each place."""
        known, beyond = (each[each != self.ignored] for each in (targets, others))
        shares = log_shares(known, beyond, self.loss)
        return shares.expand(targets.shape[1], len(shares))

    def wanted(self, targets: Tensor) -> str:
        """Say which outputs are expected."""
        return f"logits of shape ({', '.join(map(str, targets.shape))}, classes)"

    def takes(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether there are logits for each token."""
        return outputs.ndim == targets.ndim + 1 and outputs.shape[:-1] == targets.shape

    def hits(self, outputs: Tensor, targets: Tensor) -> Terms:
        """Return how many tokens of each example are right, and how many count."""
        counts = targets != self.ignored
        right = (outputs.argmax(-1) == targets) & counts
        return right.flatten(1).sum(1), counts.flatten(1).sum(1)

    def meter(self, members: int = 1, device: torch.device | None = None) -> TokensMeter:
        """Return a new meter."""
        return TokensMeter(self, members, device)


class TokensMeter(Meter):
    """Loss, accuracy and perplexity: the exponential of the mean cross entropy of a token."""

    def __init__(self, task: Tokens, members: int = 1, device: torch.device | None = None) -> None:
        super().__init__(task, members, device)
        self._ignored = task.ignored
        self._right, self._entropy, self._tokens = self.zeros(), self.zeros(), self.zeros()

    def measure(self, outputs: Tensor, targets: Tensor) -> None:
        """Add logits (K, B, T, C)."""
        counts = targets != self._ignored
        right = (outputs.argmax(-1) == targets) & counts
        losses = F.cross_entropy(
            outputs.flatten(0, -2),
            targets.flatten(),
            reduction="none",
            ignore_index=self._ignored,
        )
        self._right += right.view(self.members, -1).sum(1)
        self._entropy += losses.double().view(self.members, -1).sum(1)
        self._tokens += counts.view(self.members, -1).sum(1)
        if self.parts is not None:
            self.keep_terms("accuracy", right.sum(2), counts.sum(2))

    def results(self) -> list[Tensor]:
        """Return accuracy and perplexity."""
        return [self._right / self._tokens, (self._entropy / self._tokens).exp()]
