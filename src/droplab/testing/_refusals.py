"""What a layer refuses."""

from __future__ import annotations

import math
from typing import Any

import torch

from droplab.errors import ArgumentError
from droplab.testing._case import LayerCase, convert, refusal


class RefusalChecks(LayerCase):
    """Checks of bad arguments and inputs.

    Attributes:
        bad_rates: What `build` must refuse as a rate, and assigning to `p` as well.
    """

    bad_rates: tuple[Any, ...] = (-0.1, 1.5, 30, math.nan, math.inf, "0.3", None, 1e-7, 1 - 1e-7)

    def test_bad_rates_are_refused(self) -> None:
        layer = self.example()
        for p in self.bad_rates:
            assert refusal(lambda: self.build(p, None), ArgumentError), p
            if self.has_rate:
                assert refusal(lambda: setattr(layer, "p", p), ArgumentError), p
        if self.has_rate:
            assert layer.p == self.rate

    def test_bad_seeds_are_refused(self) -> None:
        for seed in (-1, 2**63, 1.5, "1"):
            assert refusal(lambda: self.example(seed=seed), ArgumentError), seed  # pyright: ignore[reportArgumentType]

    def test_refusals_name_the_layer(self) -> None:
        layer: Any = self.example()
        inputs = convert(self.inputs(), lambda x: x.to(torch.complex64))
        for label in (type(layer).__name__, "encoder.3"):
            message = refusal(lambda: self.run(layer, *inputs), ArgumentError)
            assert message is not None, "complex input is accepted"
            assert message.startswith(label), message
            layer.label = "encoder.3"

    def test_integer_and_complex_inputs_are_refused(self) -> None:
        for dtype in (torch.int64, torch.bool, torch.complex64):
            inputs = convert(self.inputs(), lambda x: x.to(dtype))
            assert refusal(lambda: self.run(self.example(), *inputs), ArgumentError), dtype
