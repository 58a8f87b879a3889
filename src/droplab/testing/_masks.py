"""Where masks come from: seeds, calls, torch's generator."""

from __future__ import annotations

import torch

from droplab.ops import frozen_masks
from droplab.testing._case import LayerCase


class MaskChecks(LayerCase):
    """Checks of what the masks depend on."""

    def test_same_seed_same_output(self) -> None:
        inputs = self.inputs()
        first, second = self.example(seed=5), self.example(seed=5)
        for call in range(3):
            assert torch.equal(self.run(first, *inputs), self.run(second, *inputs)), f"call {call}"

    def test_every_call_has_another_mask(self) -> None:
        inputs, layer = self.inputs(), self.example(seed=5)
        outputs = [self.run(layer, *inputs) for _ in range(8)]
        assert any(not torch.equal(outputs[0], output) for output in outputs[1:])
        assert any(not torch.equal(outputs[1], output) for output in outputs[2:])

    def test_every_seed_has_another_mask(self) -> None:
        inputs = self.inputs()
        outputs = [self.run(self.example(seed=seed), *inputs) for seed in range(8)]
        assert any(not torch.equal(outputs[0], output) for output in outputs[1:])

    def test_a_seed_leaves_torchs_generator_alone(self) -> None:
        inputs, layer = self.inputs(), self.example(seed=5)
        before = torch.get_rng_state()
        self.run(layer, *inputs)
        assert torch.equal(torch.get_rng_state(), before)

    def test_without_a_seed_masks_follow_torchs_generator(self) -> None:
        inputs, layer = self.inputs(), self.example(seed=None)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(3)
            first = [self.run(layer, *inputs) for _ in range(8)]
            torch.manual_seed(3)
            again = [self.run(layer, *inputs) for _ in range(8)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert any(not torch.equal(first[0], output) for output in first[1:])

    def test_frozen_masks_repeat_and_do_not_count(self) -> None:
        inputs = self.inputs()
        for seed in (None, 5):
            layer, other = self.example(seed=seed), self.example(seed=seed)
            with frozen_masks(seed=1):
                first = self.run(layer, *inputs)
                assert torch.equal(first, self.run(layer, *inputs)), f"seed {seed}"
            if seed is not None:
                assert torch.equal(self.run(layer, *inputs), self.run(other, *inputs))

    def test_training_does_change_the_output(self) -> None:
        inputs = self.inputs()
        outputs = [self.run(self.example(seed=seed), *inputs) for seed in range(8)]
        baseline = self.baseline(self.example(), *inputs)
        assert any(not torch.equal(out, baseline.expand_as(out)) for out in outputs)
