"""Keys: what a mask is a pure function of, besides the element's index."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from droplab.errors import ArgumentError
from droplab.numeric import whole
from droplab.ops._frozen import frozen_base
from droplab.ops.layout import CALL_BITS, CALL_LIMIT
from droplab.ops.rank import rank
from droplab.ops.transforms import draw_number, is_plain, under_vmap
from droplab.rng import check_seed, stream_key

# Opaque to the compiler, so that a compiled program draws from torch's generator exactly as eager
# code does, and reads rank and frozen state when it runs. The tag keeps two draws two draws, and
# lets activation checkpointing repeat them.
_CPU = torch.device("cpu")
_TAGS = (torch.Tag.nondeterministic_seeded,)
# The device is always the CPU; it is there for the compiler to look up whose generator to wind
# back when it recomputes a checkpoint. The number is another one for every draw of a traced
# program: whatever the tag says, the compiler merges equal calls when it trains, and two layers
# would get one mask.
torch.library.define(
    "droplab::draw_key", "(str site, int number, *, Device device) -> Tensor", tags=_TAGS
)
torch.library.define(
    "droplab::seeded_key", "(SymInt seed, Tensor call, str site) -> Tensor", tags=_TAGS
)


given_keys: list[Callable[[], Tensor]] = []
"""What gives keys, the last of them, to whatever draws one under vmap."""


def make_key(
    seed: int | None = None,
    call: int | Tensor = 0,
    *,
    site: str = "",
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the key of one mask: its stream and the index of the call.

    The first word is `stream_key(seed, "mask/" + site)`, the second is the call index with the rank
    of this process in the 16 bits above its 47. The same key gives the same mask on every device
    and in every dtype.

    Args:
        seed: An integer in [0, 2**63), or None to draw the stream from torch's default generator.
        call: Which call of this stream, in [0, 2**47): a step counter. An int64 tensor of any
            shape is accepted (one that changes does not recompile). Not used without a seed.
        site: What the mask is for; different sites have independent masks.
        device: Where the key is put. Masks on the CPU or by name need no other than the default.

    Shape:
        (2,), or (*call.shape, 2).

    Returns:
        An int64 tensor.

    Raises:
        ArgumentError: If `seed` or `call` is out of range.

    Randomness:
        Without a seed, two draws from torch's default CPU generator; under `vmap` they follow its
        `randomness` flag. With one, none.

    Example:
        >>> make_key(seed=7, call=3).shape
        torch.Size([2])
        >>> bool((make_key(seed=7, call=3) == make_key(seed=7, call=3)).all())
        True
    """
    key = _draw(site) if seed is None else _seeded(seed, call, site)
    return key if str(device) == "cpu" else key.to(device)


def _draw(site: str) -> Tensor:
    if under_vmap():
        # torch's own random functions follow the randomness flag of vmap; our operator, which has
        # no tensor to be batched over, cannot.
        return _draw_under_vmap(site)
    if is_plain():
        return draw_key(site)
    return torch.ops.droplab.draw_key(site, draw_number(), device=_CPU)


def _draw_under_vmap(site: str) -> Tensor:
    if given_keys:
        return given_keys[-1]()
    if frozen_base() is not None:
        return draw_key(site)
    try:
        key = torch.randint(CALL_LIMIT, (2,), device="cpu")
    except RuntimeError as error:
        raise ArgumentError(
            "dropout without a seed under torch.func.vmap: expected to be told whether the members "
            "share a mask; call vmap(..., randomness='different') or randomness='same', or pass "
            "key= or seed="
        ) from error
    # The other operator is used to put the rank in when the program runs, not when it is compiled.
    return torch.stack((key[0], torch.ops.droplab.seeded_key(0, key[1], "")[1]))


def draw_key(site: str = "") -> Tensor:
    """Return a key from torch's default CPU generator, or the frozen one."""
    base = frozen_base()
    if base is not None:
        return torch.tensor([mask_key(base, site), rank() << CALL_BITS], device="cpu")
    key = torch.randint(CALL_LIMIT, (2,), device="cpu")
    number = rank()
    if number:
        key[1] += number << CALL_BITS
    return key


def _seeded(seed: int, call: int | Tensor, site: str) -> Tensor:
    seed = check_seed(seed)
    if not isinstance(call, Tensor):
        index = whole(call)
        if index is None or not 0 <= index < CALL_LIMIT:
            raise ArgumentError(
                f"make_key: call: expected an integer in [0, 2**{CALL_BITS}) or an int64 tensor, "
                f"got {call!r}"
            )
        if is_plain():
            index = 0 if frozen_base() is not None else index
            words = [mask_key(seed, site), index + (rank() << CALL_BITS)]
            return torch.tensor(words, dtype=torch.int64, device="cpu")
        call = torch.tensor(index, dtype=torch.int64, device="cpu")
    elif call.dtype != torch.int64:
        raise ArgumentError(f"make_key: call: expected an int64 tensor, got {call.dtype}")
    return torch.ops.droplab.seeded_key(seed, call, site)


@lru_cache(maxsize=4096)
def mask_key(seed: int, site: str) -> int:
    """Return the stream key of the masks at `site`: the same in every arm of an experiment."""
    return stream_key(seed, f"mask/{site}")


def _seeded_key(seed: int, call: Tensor, site: str) -> Tensor:
    frozen = frozen_base() is not None
    second = torch.zeros_like(call) if frozen else call & (CALL_LIMIT - 1)
    second = second + (rank() << CALL_BITS)
    return torch.stack((torch.full_like(call, mask_key(seed, site)), second), dim=-1)


def _seeded_key_vmap(info, in_dims, seed, call, site):
    return _seeded_key(seed, call.movedim(in_dims[1], 0), site), 0


torch.library.impl("droplab::draw_key", "default", lambda site, number, device: draw_key(site))
torch.library.impl("droplab::seeded_key", "default", _seeded_key)
torch.library.register_fake(
    "droplab::draw_key",
    lambda site, number, device: torch.empty(2, dtype=torch.int64, device=device),
)
torch.library.register_fake(
    "droplab::seeded_key",
    lambda seed, call, site: call.new_empty((*call.shape, 2), dtype=torch.int64),
)
torch.library.register_vmap("droplab::seeded_key", _seeded_key_vmap)
