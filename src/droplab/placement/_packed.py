"""Dropout on packed sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from droplab import ops


def drop_packed(
    packed: PackedSequence, p: Tensor, key: Tensor | None, *, locked: bool
) -> PackedSequence:
    """Return `packed` with its data dropped.

    Locked masks equal those of the padded batch under the same key: one row for each sequence, in
    the order of the batch before it was sorted.

    Args:
        packed: What `pack_padded_sequence` returned.
        p: Drop probability.
        key: The mask's key, None to draw one.
        locked: Whether all time steps of a sequence share one mask.
    """
    data = packed.data
    if locked:
        sizes = packed.batch_sizes
        batch = int(sizes[0])
        rows = torch.cat([torch.arange(int(n)) for n in sizes]).to(data.device)
        if packed.sorted_indices is not None:
            rows = packed.sorted_indices[rows]
        masks = ops.dropout(data.new_ones((batch, *data.shape[1:])), p, True, key=key)
        data = data * masks[rows]
    else:
        data = ops.dropout(data, p, True, key=key)
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
