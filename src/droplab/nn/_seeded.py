"""What all random layers share: the seed, and the key of the next call."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from droplab.nn._labelled import Labelled
from droplab.ops import draw_layer_key, make_key, next_key
from droplab.rng import check_seed

_site_numbers = itertools.count()


class SeededLayer(Labelled):
    """Base of every random layer in this package; not needed around them.

    What changes from call to call is kept in tensors, so that it does not recompile a compiled
    model, and in buffers, so that it follows the model to a device and can be swapped by
    `torch.func.functional_call`. None of it is in the `state_dict`.

    Args:
        seed: An integer in [0, 2**63): masks depend on it and on the index of the call. None draws
            a key from torch's default generator at every call.

    Attributes:
        stream: int64 tensor (2,) of a layer with a seed: stream key, and index of the next call.
        label: What error messages call this layer; the name of its class unless set. Whatever the
            forward pass refuses begins with it.
    """

    _held: ClassVar[tuple[str, ...]] = ("stream",)
    """Buffers that follow the model to a device, but neither change their dtype nor get lost."""

    seed: int | None
    stream: Tensor

    def __init__(self, seed: int | None) -> None:
        # Not super(): the drop-in layers also inherit from torch's, whose constructors set p.
        nn.Module.__init__(self)
        self.seed = None if seed is None else check_seed(seed, where=f"{self.label}: seed")
        self._seeded = seed is not None
        if seed is not None:
            stream = make_key(seed)
            stream[1] = 0  # the rank is put in when a key is made
            self.register_buffer("stream", stream, persistent=False)
        else:
            self._site = _new_site()

    @property
    def calls(self) -> int:
        """Index of the next call of a layer with a seed; 0 for one without."""
        return int(self.stream[1]) if self._seeded else 0

    @property
    def strength(self) -> Tensor | None:
        """The tensor that is 0 where this layer changes nothing; None if there is none."""
        return None

    def next_key(self, *, always: bool = False) -> Tensor:
        """Return the key of this call, and count the call.

        Args:
            always: Draw a key even where `strength` is 0, for something else that needs one.

        Raises:
            ArgumentError: If the layer has a seed and a backward pass is running, see
                `droplab.ops.next_key`.
        """
        if self._seeded:
            return next_key(self.stream)
        return draw_layer_key(self._site, None if always else self.strength)

    def extra_repr(self) -> str:
        return ", ".join(self._describe())

    def _describe(self) -> list[str]:
        return [f"seed={self.seed}"] if self._seeded else []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        held = {name: self._buffers[name] for name in self._held if name in self._buffers}
        super()._apply(fn, recurse)
        for name, old in held.items():
            new = self._buffers[name]
            if old is not None and new is not None and new is not old:
                self._buffers[name] = old if new.is_meta else old.to(new.device)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self._seeded:
            # A copy is another layer, and a number from another process may be taken here.
            self._site = _new_site()


def _new_site() -> Tensor:
    return torch.tensor(next(_site_numbers), device="cpu")
