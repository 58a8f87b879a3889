"""Shapes, strides and dtypes."""

from __future__ import annotations

import torch
from torch import Tensor

from droplab.probability import rounded
from droplab.testing._case import LayerCase, convert, same

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class LayoutChecks(LayerCase):
    """Checks that the layer takes whatever its input looks like."""

    def test_dtype_and_mask_are_kept_in_every_dtype(self) -> None:
        masks: list[Tensor] = []
        for dtype in DTYPES:
            inputs = convert(self.inputs(), lambda x: x.to(dtype))
            output = self.run(self.example().to(dtype), *inputs)
            assert output.dtype == dtype
            assert output.isfinite().all(), dtype
            masks.append(output == 0)
        if self.support:
            assert all(torch.equal(mask, masks[0]) for mask in masks)

    def test_narrow_dtypes_round_once(self) -> None:
        if not self.support:
            return
        for dtype in DTYPES:
            inputs = convert(self.inputs(), lambda x: x.to(dtype))
            output = self.run(self.build(0.3, 1).to(dtype), *inputs).double()
            exact = (inputs[0].double() / (1.0 - rounded(0.3))).expand_as(output)
            # Half a unit in the last place, and a little for the product in float32.
            allowed = exact.abs() * (0.51 * torch.finfo(dtype).eps + 1e-7 * (dtype != DTYPES[0]))
            assert ((output == 0) | ((output - exact).abs() <= allowed)).all(), dtype

    def test_strides_do_not_matter(self) -> None:
        inputs = self.inputs()
        spread = convert(inputs, lambda x: torch.stack((x, x), -1)[..., 0])
        assert not spread[0].is_contiguous()
        assert same(self.run(self.example(), *spread), self.run(self.example(), *inputs))

    def test_empty_batches_pass(self) -> None:
        empty = tuple(x[:0] for x in self.inputs())
        for dtype in (torch.float32, torch.bfloat16):
            layer = self.example().to(dtype)
            output = self.run(layer, *convert(empty, lambda x: x.to(dtype)))
            assert output.numel() == 0

    def test_prime_and_single_lengths(self) -> None:
        for length in (1, 2, 3, 37):
            inputs = tuple(x[:1].expand(length, *x.shape[1:]).contiguous() for x in self.inputs())
            layer = self.example(p=0.0 if self.at_zero == "baseline" else None)
            output = self.run(layer, *inputs)
            assert output.isfinite().all()
            if self.at_zero == "baseline":
                baseline = self.baseline(layer, *inputs)
                assert torch.equal(output, baseline.expand_as(output))

    def test_input_is_not_written_to(self) -> None:
        inputs = self.inputs()
        self.run(self.example(), *inputs)
        assert all(torch.equal(x, y) for x, y in zip(inputs, self.inputs(), strict=True))
