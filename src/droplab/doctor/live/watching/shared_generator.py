"""DRP045: two models with different rates are trained, and see different orders because of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from droplab.doctor.finding import Finding
from droplab.doctor.live import _kinds

if TYPE_CHECKING:
    from droplab.doctor.live.watch import Watch

CODE = "DRP045"


def check(watch: Watch) -> Iterator[Finding]:
    """Compare the orders that the loader drew for models that differ in their rates."""
    roots = [root for root in watch.roots if watch.trained(root)]
    arms = [(root, _rates(watch, root), _orders(watch, root)) for root in roots]
    for at, (root, rates, orders) in enumerate(arms):
        for other, other_rates, other_orders in arms[:at]:
            if rates == other_rates or type(root) is not type(other):
                continue
            epochs = min(len(orders), len(other_orders))
            if not epochs or orders[:epochs] == other_orders[:epochs]:
                continue
            if not any(draw.after_dropout for draw in watch.orders):
                continue
            same = sum(a == b for a, b in zip(orders, other_orders, strict=False))
            yield watch.finding(
                CODE,
                "the loader draws its order from the generator that dropout uses: models with "
                f"rates {_shown(other_rates)} and {_shown(rates)} saw different batches",
                "give the loader its own generator=torch.Generator().manual_seed(seed)",
                evidence={"epochs": epochs, "epochs with the same order": same},
            )
            return


def _rates(watch: Watch, root: nn.Module) -> tuple[float, ...]:
    del watch
    rates = (_kinds.rate_of(module) for module in root.modules() if _kinds.is_dropout(module))
    return tuple(rate for rate in rates if rate)


def _orders(watch: Watch, root: nn.Module) -> list[int]:
    """Return the seeds of the orders drawn just before trained passes of a model."""
    found: list[int] = []
    for draw in watch.orders:
        after = watch.passes[draw.at : draw.at + 1]
        if after and after[0].root is root and after[0].trained:
            found.append(draw.seed)
    return found


def _shown(rates: tuple[float, ...]) -> str:
    return ", ".join(f"{rate:g}" for rate in rates) or "0"
