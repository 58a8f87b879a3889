"""State: what is saved, copied, moved."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import nn

from droplab.testing._case import LayerCase


class StateChecks(LayerCase):
    """Checks that the layer behaves as a part of somebody's model."""

    def test_state_dict_holds_parameters_alone(self) -> None:
        layer = self.example()
        assert list(layer.state_dict()) == [name for name, _ in layer.named_parameters()]
        result = layer.load_state_dict(self.example(seed=2).state_dict())
        assert not result.missing_keys
        assert not result.unexpected_keys

    def test_copies_go_on_where_the_layer_is(self) -> None:
        inputs, layer = self.inputs(), self.example()
        self.run(layer, *inputs)
        copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
        expected = self.run(layer, *inputs)
        for other in copies:
            assert torch.equal(self.run(other, *inputs), expected)
            assert repr(other) == repr(layer)

    def test_copies_without_a_seed_work(self) -> None:
        layer = self.example(seed=None)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            with torch.random.fork_rng(devices=()):
                torch.manual_seed(1)
                expected = self.run(layer, *self.inputs())
                torch.manual_seed(1)
                assert torch.equal(self.run(other, *self.inputs()), expected)

    def test_narrowing_the_model_keeps_the_rate_exact(self) -> None:
        inputs = self.inputs()
        layer, other = self.build(0.3, 1), self.build(0.3, 1)
        for name, value in layer.named_parameters():
            other.get_parameter(name).data.copy_(value.half().bfloat16().float())
            value.data.copy_(other.get_parameter(name))
        layer.half().bfloat16().float()
        assert torch.equal(self.run(layer, *inputs), self.run(other, *inputs))

    def test_a_meta_device_does_not_swallow_the_rate(self) -> None:
        inputs = self.inputs()
        expected = self.build(0.3, 1)
        with torch.device("meta"):
            layer = self.build(0.3, 1)
        layer.to_empty(device="cpu")
        layer.load_state_dict(expected.state_dict())
        assert torch.equal(self.run(layer, *inputs), self.run(expected, *inputs))

    def test_a_container_trains_and_moves_it(self) -> None:
        model = nn.Sequential(self.example())
        model.eval()
        assert not any(module.training for module in model.modules())
        model.train().to("cpu").double()
        assert all(module.training for module in model.modules())

    def test_repr_names_the_seed_only_if_there_is_one(self) -> None:
        assert "seed=7" in repr(self.example(seed=7))
        assert "seed" not in repr(self.example(seed=None))
