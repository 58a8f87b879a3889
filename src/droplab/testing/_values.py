"""What comes out: the ends of the range of p, eval mode, support, gradients."""

from __future__ import annotations

import torch
from torch.func import functional_call

from droplab.errors import ArgumentError
from droplab.ops import frozen_masks
from droplab.probability import rounded
from droplab.testing._case import LayerCase, convert, refusal


class ValueChecks(LayerCase):
    """Checks of output values."""

    def test_p_zero_is_the_baseline_bit_for_bit(self) -> None:
        if self.at_zero == "refused":
            assert refusal(lambda: self.build(0.0, 1), ArgumentError)
            return
        layer, inputs = self.build(0.0, 1), self.inputs()
        output = self.run(layer, *inputs)
        assert torch.equal(output, self.baseline(layer, *inputs).expand_as(output))

    def test_p_zero_draws_nothing(self) -> None:
        if self.at_zero == "refused":
            return
        layer, inputs = self.build(0.0, None), self.inputs()
        torch._dynamo.reset()
        compiled = torch.compile(layer, fullgraph=True, backend=self.backend)
        for call in (layer, compiled):
            before = torch.get_rng_state()
            output = self.run(call, *inputs)
            assert torch.equal(torch.get_rng_state(), before), "p = 0 draws random numbers"
            # A compiled recurrent layer is no loop of torch's own, so within rounding.
            expected = self.baseline(layer, *inputs).expand_as(output)
            torch.testing.assert_close(output, expected)
        torch._dynamo.reset()

    def test_p_one_is_finite_and_zero_where_it_should(self) -> None:
        if self.at_one == "refused":
            assert refusal(lambda: self.build(1.0, 1), ArgumentError)
            return
        layer = self.build(1.0, 1)
        inputs = convert(self.inputs(), lambda x: x.clone().requires_grad_())
        output = self.run(layer, *inputs)
        (gradient,) = torch.autograd.grad(output.sum(), inputs[0], allow_unused=True)
        assert output.isfinite().all()
        assert gradient is None or gradient.isfinite().all()
        if self.at_one == "zeros":
            assert not output.any()
            assert gradient is None or not gradient.any()

    def test_eval_changes_nothing_and_draws_nothing(self) -> None:
        layer, inputs = self.example(seed=None).eval(), self.inputs()
        before = torch.get_rng_state()
        output = self.run(layer, *inputs)
        assert torch.equal(torch.get_rng_state(), before), "eval mode draws random numbers"
        assert torch.equal(output, self.run(layer, *inputs))
        if self.eval_is_baseline:
            expected = self.baseline(layer, *inputs)
            assert torch.equal(output, expected), "dropout is left on in eval mode"

    def test_eval_does_not_count_calls(self) -> None:
        inputs = self.inputs()
        layer, other = self.example(seed=1), self.example(seed=1)
        self.run(layer.eval(), *inputs)
        assert torch.equal(self.run(layer.train(), *inputs), self.run(other, *inputs))

    def test_support_is_zero_or_scaled_input(self) -> None:
        if not self.support:
            return
        for p in (0.1, 0.3, self.rate):
            for dtype in (torch.float64, torch.float32):
                inputs = convert(self.inputs(), lambda x: x.to(dtype))
                output = self.run(self.build(p, 1).to(dtype), *inputs)
                scale = torch.tensor(1.0 / (1.0 - rounded(p)), dtype=dtype)
                kept = (inputs[0] * scale).expand_as(output)
                assert ((output == 0) | (output == kept)).all(), f"p = {p}, {dtype}"

    def test_gradient_has_the_mask_of_the_output(self) -> None:
        if not self.support:
            return
        x, *rest = self.inputs()
        x = x.clone().requires_grad_()
        output = self.run(self.example(), x, *rest)
        shares = torch.zeros_like(output)
        for index in range(output.shape[0]):  # one output slice at a time: slices may share x
            chosen = torch.zeros_like(output)
            chosen[index] = 1.0
            (gradient,) = torch.autograd.grad(output, x, chosen, retain_graph=True)
            shares[index] = gradient.expand_as(output)[index]
        scale = torch.tensor(1.0 / (1.0 - rounded(self.rate)))
        assert torch.equal(shares, torch.where(output == 0, 0.0, scale))

    def test_gradcheck_with_frozen_masks(self) -> None:
        layer = self.example(seed=None).double()
        inputs = self.inputs()
        floats = [x.double().requires_grad_() for x in inputs if x.is_floating_point()]
        names = [name for name, _ in layer.named_parameters()]
        weights = [value.detach().clone().requires_grad_() for value in layer.parameters()]

        def call(*values: torch.Tensor) -> torch.Tensor:
            given = iter(values)
            arguments = tuple(next(given) if x.is_floating_point() else x for x in inputs)
            parameters = dict(zip(names, given, strict=True))
            output = functional_call(layer, parameters, arguments)
            return output if isinstance(output, torch.Tensor) else output[0]

        with frozen_masks(seed=3):
            assert torch.autograd.gradcheck(call, (*floats, *weights))
