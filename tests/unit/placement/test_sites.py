"""Which sites a model has, and what is known of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import PlacementError
from droplab.placement import plan, sites


def by_name(found):
    return {site.name: site for site in found}


def test_sites_are_the_inputs_of_weight_layers_in_order(net):
    found = sites(net)
    assert [s.name for s in found] == ["fc1", "fc2", "fc3"]
    assert [s.left_out for s in found] == ["the model's own input (assumed)", "", ""]
    assert all(s.assumed for s in found)
    assert "assumed" in str(found)


def test_an_example_replaces_every_assumption(net, x):
    found = sites(net, x)
    assert not any(s.assumed for s in found)
    assert [s.shape for s in found] == [(4, 20), (4, 16), (4, 12)]
    assert [s.calls for s in found] == [1, 1, 1]
    assert [s.left_out for s in found] == ["the model's own input", "", ""]
    assert "assumed" not in str(found)


def test_default_kinds_follow_the_layer(build):
    model = nn.Sequential(nn.Linear(2, 2), nn.Conv2d(2, 2, 1), nn.GRU(2, 2), nn.LSTMCell(2, 2))
    assert [s.kind for s in sites(model)] == ["element", "channel", "locked", "element"]
    assert [s.role for s in sites(model)] == ["linear", "conv", "recurrent", "cell"]
    transposed = nn.ModuleList([nn.Linear(1, 1), nn.ConvTranspose1d(1, 1, 1), nn.RNN(1, 1)])
    assert [s.kind for s in sites(transposed)] == ["element", "channel", "locked"]


@pytest.mark.parametrize("example", [None, torch.randn(3, 4)])
def test_alpha_dropout_after_selu_through_what_keeps_its_values(example):
    model = nn.Sequential(
        nn.Linear(4, 4), nn.SELU(), nn.Dropout(0.1), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
    )
    assert [s.kind for s in sites(model, example)] == ["element", "alpha", "element"]


def test_selu_in_functional_form_is_seen_with_an_example():
    class Snn(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.c(torch.tanh(self.b(torch.selu(self.a(x)).reshape(-1, 4))))

    assert [s.kind for s in sites(Snn())] == ["element"] * 3
    assert [s.kind for s in sites(Snn(), torch.randn(2, 4))] == ["element", "alpha", "element"]


def test_the_own_input_is_seen_through_arithmetic_and_not_through_weights(build, batch):
    found = by_name(sites(build("conv"), batch("conv")))
    assert found["conv1"].left_out == "the model's own input"
    embedded = by_name(sites(build("recurrent"), batch("recurrent")))
    assert embedded["lstm"].left_out == ""
    assert by_name(sites(build("recurrent")))["lstm"].left_out == ""  # the embedding comes first


def test_a_batch_norm_is_found_where_it_runs_not_where_it_is_written(build, batch):
    found = by_name(sites(build("conv"), batch("conv")))
    assert "BatchNorm follows" in found["conv2"].left_out
    assert found["fc"].left_out == ""
    assert "assumed" not in found["conv2"].left_out


def test_a_batch_norm_is_assumed_from_the_order_without_an_example():
    model = nn.Sequential(
        nn.Linear(4, 4), nn.Linear(4, 4), nn.Identity(), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    first, second, last = sites(model)
    assert "own input" in first.left_out
    assert "BatchNorm follows the layer (assumed)" in second.left_out
    assert last.left_out == ""


def test_a_batch_norm_after_an_activation_counts_but_not_after_other_weights():
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(4, 4)
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x):
            return self.norm(torch.relu(self.b(self.a(self.stem(x)))))

    found = by_name(sites(Late(), torch.randn(3, 4)))
    assert found["a"].left_out == ""
    assert "BatchNorm" in found["b"].left_out


def test_layers_that_never_run_are_refused(build, batch):
    found = by_name(sites(build("residual"), batch("residual")))
    assert found["heads.unused"].refused == "never called in the example"
    assert found["heads.x"].refused == ""
    mha = by_name(sites(nn.TransformerEncoderLayer(8, 2, 16)))
    assert "MultiheadAttention" in mha["self_attn.out_proj"].refused
    assert mha["linear1"].refused == mha["linear1"].left_out == ""


def test_branches_that_read_one_tensor_know_each_other():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.out = nn.Linear(4, 4), nn.Linear(4, 4)
            self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.stem(x)
            return self.out(torch.softmax(self.q(x) @ self.k(x).T, -1) @ self.v(x))

    found = by_name(sites(Attention(), torch.randn(3, 4)))
    assert found["q"].shares == ("k", "v")
    assert found["out"].shares == ()


def test_one_module_used_twice_is_one_site_with_two_calls():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), layer, nn.ReLU(), layer)
    found = sites(model, torch.randn(2, 4))
    assert [(s.name, s.aliases, s.calls) for s in found] == [("0", (), 1), ("1", ("3",), 2)]


def test_tied_weights_are_two_sites(build, batch):
    model = build("residual")
    model.blocks[1].a.weight = model.blocks[0].a.weight
    names = [s.name for s in sites(model, batch("residual"))]
    assert "blocks.0.a" in names
    assert "blocks.1.a" in names


def test_a_model_that_is_a_layer_has_the_site_dot():
    (site,) = sites(nn.Linear(3, 3))
    assert site.name == "."


def test_dropout_that_drops_the_input_already_is_told():
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.Dropout(0.1),
        nn.ReLU(),
        nn.Linear(4, 4),
        nn.Dropout(0.0),
        nn.Linear(4, 4),
    )
    assert [s.dropped_by for s in sites(model, torch.randn(2, 4))] == ["", "1", ""]
    edit = plan(model, 0.3, example=torch.randn(2, 4)).edits[0]
    assert "comes on top of the dropout of '1', which is there already" in edit.reason


def test_a_model_with_dropout_placed_is_recorded_as_without(build, batch):
    model, example = build("residual"), batch("residual")
    before = sites(model, example)
    applied = plan(model, 0.5).apply()
    applied.seed(dict.fromkeys(applied.names, 1))
    assert sites(model, example) == before
    assert not any(applied.fired.values())


def test_recording_leaves_the_model_and_the_generators_as_they_were(
    build, batch, fingerprint, same
):
    for name in ("conv", "dropping", "residual"):
        model, example = build(name), batch(name)
        model.eval()
        next(iter(model.children())).train()
        before, state = fingerprint(model), torch.get_rng_state()
        sites(model, example)
        same(before, fingerprint(model))
        assert torch.equal(state, torch.get_rng_state())


def test_layers_that_are_skipped_at_random_are_still_recorded():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.layerdrop = 1.0

        def forward(self, x):
            x = self.a(x)
            return x if self.training and torch.rand(()) < self.layerdrop else self.b(x)

    model = Skipping()
    assert by_name(sites(model, torch.randn(2, 2)))["b"].calls == 1
    assert model.layerdrop == 1.0


@pytest.mark.parametrize(
    "example", [(torch.randn(4, 20),), [torch.randn(4, 20)], {"x": torch.randn(4, 20)}]
)
def test_an_example_may_be_arguments_or_keywords(net, example):
    assert sites(net, example)[1].shape == (4, 16)


def test_an_example_of_the_wrong_shape_is_refused_with_the_models_own_error(net, hooks):
    before = hooks(net)
    with pytest.raises(PlacementError, match=r"example: .* got shape \(4, 7\).* Net fails: .*mat1"):
        sites(net, torch.randn(4, 7))
    assert hooks(net) == before
    assert net.training


def test_a_class_in_place_of_a_model_is_refused():
    with pytest.raises(PlacementError, match="create an instance of the class"):
        sites(nn.Linear)
