"""Autocast, compilation, vmap, activation checkpointing."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from droplab.errors import ArgumentError
from droplab.testing._case import LayerCase, convert, refusal, same


class TransformChecks(LayerCase):
    """Checks under what torch wraps around a model."""

    def test_autocast(self) -> None:
        inputs = self.inputs()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = self.run(self.example(), *inputs)
        assert output.isfinite().all()
        if self.support:
            assert torch.equal(output, self.run(self.example(), *inputs))

    def test_compiled_equals_eager_and_rates_do_not_recompile(self) -> None:
        torch._dynamo.reset()
        inputs = self.inputs()
        layer, eager = self.example(), self.example()
        compiled = torch.compile(layer, fullgraph=True, backend=self.backend)
        for call in range(2):
            output, expected = self.run(compiled, *inputs), self.run(eager, *inputs)
            torch.testing.assert_close(output, expected, msg=lambda m: f"call {call}: {m}")
        if self.has_rate:
            modules: list[Any] = [layer, eager]
            for module in modules:
                module.p = 0.25
        with torch.compiler.set_stance("fail_on_recompile"):
            output = self.run(compiled, *inputs)
        torch.testing.assert_close(output, self.run(eager, *inputs))
        torch._dynamo.reset()

    def test_compiled_gradient_equals_eager(self) -> None:
        torch._dynamo.reset()
        gradients = []
        for compiled in (False, True):
            layer = self.example()
            inputs = convert(self.inputs(), lambda x: x.clone().requires_grad_())
            call = layer
            if compiled:
                call = torch.compile(layer, fullgraph=True, backend=self.backend)
            self.run(call, *inputs).square().sum().backward()
            gradients.append(inputs[0].grad)
        torch.testing.assert_close(*gradients)
        torch._dynamo.reset()

    def test_vmap_over_inputs_equals_one_by_one(self) -> None:
        inputs = self.inputs()
        stacked = tuple(torch.stack((x, x.flip(0) if x.is_floating_point() else x)) for x in inputs)
        layer = self.example()
        output = vmap(partial(self.run, layer))(*stacked)
        for member in range(2):
            expected = self.run(self.example(), *(x[member] for x in stacked))
            torch.testing.assert_close(output[member], expected)

    def test_vmap_over_layers_gives_each_its_rate_and_masks(self) -> None:
        inputs = self.inputs()
        layers = [self.build(0.25, 3), self.build(0.5, 4)]
        state = stack_module_state(layers)
        base = copy.deepcopy(layers[0])

        def call(parameters: dict, buffers: dict) -> torch.Tensor:
            output = functional_call(base, (parameters, buffers), inputs)
            return output if isinstance(output, torch.Tensor) else output[0]

        for _ in range(2):
            output = vmap(call)(*state)
            for member, layer in enumerate(layers):
                torch.testing.assert_close(output[member], self.run(layer, *inputs))

    def test_checkpointing_repeats_drawn_masks(self) -> None:
        gradients = []
        for wrapped in (False, True):
            layer = self.example(seed=None)
            inputs = convert(self.inputs(), lambda x: x.clone().requires_grad_())
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(1)
                if wrapped:
                    output = checkpoint(self.run, layer, *inputs, use_reentrant=False)
                else:
                    output = self.run(layer, *inputs)
                output.square().sum().backward()  # pyright: ignore[reportOptionalMemberAccess]
            gradients.append(inputs[0].grad)
        assert same(*gradients)

    def test_checkpointing_a_seeded_layer_is_refused(self) -> None:
        inputs = convert(self.inputs(), lambda x: x.clone().requires_grad_())
        for reentrant in (False, True):
            output = checkpoint(self._square, self.example(), *inputs, use_reentrant=reentrant)
            message = refusal(output.sum().backward, ArgumentError)  # pyright: ignore[reportOptionalMemberAccess]
            assert message is not None, "a seeded layer was recomputed with other masks"
            assert "checkpoint" in message

    def _square(self, layer: torch.nn.Module, *inputs: torch.Tensor) -> torch.Tensor:
        return self.run(layer, *inputs).square()
