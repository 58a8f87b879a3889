"""A plan at work: what apply does to a model, and that revert undoes it to the bit."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from droplab import ops
from droplab.errors import PlacementError
from droplab.placement import clear, plan, rates, set_rate, sites

KEYS = {"fc2": 11, "fc3": 12}


def grads(model, x):
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_the_layers_input_is_dropped_and_nothing_else(net, x):
    applied = plan(net, {"fc2": 0.5}).apply()
    applied.seed({"fc2": 3})
    seen = {}
    net.fc2.register_forward_hook(lambda m, args, out: seen.update(x=args[0]))
    out = net(x)
    hidden = F.relu(net.fc1(x))
    dropped = ops.dropout(hidden, 0.5, key=applied.keys[0])
    assert torch.equal(seen["x"], dropped)
    assert not torch.equal(dropped, hidden)
    assert torch.equal(out, net.fc3(F.relu(F.linear(dropped, net.fc2.weight, net.fc2.bias))))


@pytest.mark.parametrize("name", ["net", "residual", "conv", "recurrent"])
@pytest.mark.parametrize("seeded", [True, False])
def test_a_rate_of_zero_is_the_identity_bit_for_bit(build, batch, name, seeded):
    model, example = build(name), batch(name)
    found = sites(model, example)
    want, want_grads = model(example), grads(model, example)
    applied = plan(model, {s.name: 0.0 for s in found if not s.refused}, example=example).apply()
    if seeded:
        applied.seed({site: i for i, site in enumerate(applied.names)})
    assert torch.equal(model(example), want)
    assert all(map(torch.equal, grads(model, example), want_grads))
    applied.check_fired()


def test_a_rate_of_one_gives_finite_zeros(net, x):
    with plan(net, {"fc3": 1.0}).applied():
        out = net(x)
        assert torch.equal(out, net.fc3.bias.expand_as(out))
        assert all(g.isfinite().all() for g in grads(net, x))


@pytest.mark.parametrize("name", ["net", "residual", "conv", "recurrent"])
def test_eval_is_the_identity_bit_for_bit(build, batch, name):
    model, example = build(name).eval(), batch(name)
    want = model(example)
    with plan(model, 0.5, example=example).applied() as applied:
        assert torch.equal(model(example), want)
        assert not any(applied.fired.values())


@pytest.mark.parametrize("name", ["net", "residual", "conv", "recurrent", "dropping"])
def test_revert_gives_back_the_very_same_object(build, batch, fingerprint, same, name):
    model = build(name)
    model.eval()  # a BatchNorm would learn from the calls below
    before = fingerprint(model)
    made = plan(model, 0.5, example=batch(name))
    made.apply()
    model(batch(name))
    made.revert()
    same(before, fingerprint(model))
    made.apply().revert()
    same(before, fingerprint(model))


def test_hooks_of_others_stay_in_place_and_in_order(net, x, hooks):
    log = []
    net.fc2.register_forward_pre_hook(lambda m, a: log.append("before"))
    made = plan(net, 0.5)
    made.apply()
    handle = net.fc2.register_forward_pre_hook(lambda m, a: log.append("after"))
    net(x)
    made.revert()
    net(x)
    assert log == ["before", "after"] * 2
    handle.remove()
    assert len(net.fc2._forward_pre_hooks) == 1


def test_state_dict_keys_do_not_change_and_weights_load(net, build, x):
    keys = list(net.state_dict())
    with plan(net, 0.5).applied():
        assert list(net.state_dict()) == keys
        build("net").load_state_dict(net.state_dict())
        net.load_state_dict(build("net").state_dict())
        assert len(list(net.parameters())) == 6


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, saved, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_drop_alike_and_have_rates_of_their_own(net, x, copied):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    twin = copied(net)
    assert torch.equal(twin(x), net(x))
    set_rate(twin, "fc2", 0.1)
    assert dict(rates(twin)) == {"fc2": 0.1, "fc3": 0.5}
    assert dict(rates(net)) == {"fc2": 0.5, "fc3": 0.5}


class Everything(nn.Module):
    """Branches, dropout of its own as a module, in a recurrent layer and by a function."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 6)
        self.rnn, self.drop = nn.LSTM(6, 6, 2, dropout=0.1), nn.Dropout(0.1)

    def forward(self, x):
        x = x + self.down(F.relu(self.up(x)))
        return F.dropout(self.drop(self.rnn(x)[0]), 0.1, self.training)


def test_a_model_that_is_saved_whole_is_loaded_by_who_names_its_own_classes_alone():
    model, x = Everything(), torch.ones(3, 2, 6)
    set_rate(model, "*", 0.2, example=x)
    applied = plan(model, {"down": 0.5, "path/down": 0.1}, example=x).apply(own=("drop", "rnn"))
    applied.seed(dict.fromkeys(applied.streams, next(iter(KEYS.values()))))
    applied.guard(0)
    model(x).sum().backward()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    with torch.serialization.safe_globals([Everything, nn.Linear, nn.LSTM, nn.Dropout]):
        loaded = torch.load(file, weights_only=True)
    assert torch.equal(loaded(x), model(x))
    assert dict(rates(loaded, x)) == dict(rates(model, x))


def test_clear_leaves_plain_torch_of_a_model_that_a_trial_has_trained(hooks):
    model, x = Everything(), torch.ones(3, 2, 6)
    clean = hooks(model)
    set_rate(model, "*", 0.2, example=x)
    applied = plan(model, {"down": 0.5}, example=x).apply(own=("drop", "rnn"))
    applied.seed(dict.fromkeys(applied.streams, 1))
    applied.guard(0)
    model(x).sum().backward()
    assert clear(model) == ("down",)
    assert hooks(model) == clean
    file = io.BytesIO()
    torch.save(model, file)
    assert b"droplab" not in file.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        assert torch.equal(torch.jit.script(model.eval())(x), model(x))


def test_clear_takes_the_guard_off_the_wrapper_of_a_compiled_model(net, x, hooks):
    compiled = torch.compile(net, backend="eager")
    clean = hooks(compiled)
    applied = plan(compiled, 0.5).apply()
    applied.seed(KEYS)
    applied.guard(0)
    assert clear(compiled) == ("fc2", "fc3")
    assert hooks(compiled) == clean
    assert torch.equal(compiled(x), net(x))


def test_clear_takes_everything_out_of_a_copy_and_leaves_the_original(net, x, hooks):
    clean = hooks(net)
    made = plan(net, 0.5)
    made.apply()
    twin = copy.deepcopy(net)
    assert clear(twin) == ("fc2", "fc3")
    assert hooks(twin) == clean
    assert torch.equal(twin(x), twin(x))
    assert clear(twin) == ()
    made.revert()
    assert hooks(net) == clean


def test_moving_to_another_dtype_keeps_working(net, x):
    applied = plan(net, 0.5).apply()
    net.to(torch.float64)
    assert net(x.double()).dtype == torch.float64
    assert applied.p.dtype == torch.float64
    net.to(torch.bfloat16)
    assert net(x.bfloat16()).dtype == torch.bfloat16


def test_autocast(net, x):
    with plan(net, 0.5).applied(), torch.autocast("cpu", torch.bfloat16):
        assert net(x).dtype == torch.bfloat16


def test_inputs_by_keyword():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.fc = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(input=self.stem(input=x))

    model, x = Keyword(), torch.randn(3, 4)
    found = sites(model, x)
    assert [s.left_out for s in found] == ["the model's own input", ""]
    applied = plan(model, {"fc": 1.0}, example=x).apply()
    assert torch.equal(model(x), model.fc.bias.expand(3, 4))
    assert applied.fired == {"fc": 1}


def test_a_module_used_twice_draws_two_masks():
    layer = nn.Linear(64, 64, bias=False)
    nn.init.eye_(layer.weight)
    model = nn.Sequential(layer, layer)
    applied = plan(model, {"0": 0.5}, example=torch.ones(1, 64)).apply()
    applied.seed({"0": 5})
    out = model(torch.ones(1, 64))
    assert applied.fired == {"0": 2}
    assert set(out.unique().tolist()) == {0.0, 4.0}
    assert 4 < (out != 0).sum() < 28  # a quarter of 64, and half of 64 were both masks one
    assert (
        "called 2 times, each with its own mask"
        in plan(model, {"0": 0.5}, example=torch.ones(1, 64)).edits[0].reason
    )


def test_integers_at_a_site_are_refused_by_name():
    class Odd(nn.Linear):
        def forward(self, x):
            return super().forward(x.float())

    model = nn.Sequential(nn.Identity(), Odd(3, 3))
    with (
        plan(model, {"1": 0.5}).applied(),
        pytest.raises(PlacementError, match=r"1: expected a floating-point tensor.*int64"),
    ):
        model(torch.ones(2, 3, dtype=torch.int64))


def test_applying_twice_is_refused(net):
    made = plan(net, 0.5)
    made.apply()
    with pytest.raises(PlacementError, match=r"apply: .* not applied, got one that is; revert"):
        made.apply()
    with pytest.raises(PlacementError, match=r"at 'fc3', got p = 0.5; revert it first"):
        plan(net, {"fc3": 0.1}).apply()
    assert len(net.fc2._forward_pre_hooks) == len(net.fc3._forward_pre_hooks) == 1
    plan(net, {"fc1": 0.1}).apply()
    assert set(rates(net)) == {"fc1", "fc2", "fc3"}


def test_reverting_twice_or_before_apply_is_refused(net):
    made = plan(net, 0.5)
    with pytest.raises(PlacementError, match="revert: expected an applied plan"):
        made.revert()
    applied = made.apply()
    applied.revert()
    for again in (applied.revert, made.revert):
        with pytest.raises(PlacementError, match="revert: expected an applied plan"):
            again()


def test_reverting_after_the_model_changed_takes_out_the_rest_and_says_so(net, hooks):
    old = net.fc2
    made = plan(net, 0.5)
    made.apply()
    net.fc2 = nn.Linear(16, 12)
    with pytest.raises(PlacementError, match="changes at 'fc2': its layer was replaced"):
        made.revert()
    assert not old._forward_pre_hooks
    assert not net.fc3._forward_pre_hooks


def test_reverting_after_a_hook_was_taken_by_someone_else_says_so(net):
    made = plan(net, 0.5)
    made.apply()
    net.fc3._forward_pre_hooks.clear()
    with pytest.raises(PlacementError, match="changes at 'fc3': its hook was removed"):
        made.revert()
    assert not net.fc2._forward_pre_hooks


def test_applying_to_a_model_that_changed_is_refused(net):
    made = plan(net, 0.5)
    net.fc3 = nn.Identity()
    with pytest.raises(PlacementError, match="expected a Linear at 'fc3', got a Identity"):
        made.apply()
    assert not net.fc2._forward_pre_hooks


def test_the_context_manager_reverts_also_after_an_error(net):
    with pytest.raises(RuntimeError, match="mine"), plan(net, 0.5).applied():
        raise RuntimeError("mine")
    assert not net.fc2._forward_pre_hooks
    with plan(net, 0.5).applied() as applied:
        applied.revert()  # by hand inside is fine


@pytest.mark.parametrize("spoil", ["eval", "replace", "hook", "never"])
def test_a_site_that_never_fires_is_an_error_with_the_cause(build, batch, spoil):
    model = build("residual")
    applied = plan(model, {"blocks.0.a": 0.5, "heads.unused": 0.5, "blocks.0.b": 0.5}).apply()
    cause = "forward never calls it"
    if spoil == "eval":
        model.heads["unused"].eval()
        cause = "in eval mode"
    elif spoil == "replace":
        model.heads["unused"] = nn.Linear(8, 3)
        cause = "replaced by another one"
    elif spoil == "hook":
        model.heads["unused"]._forward_pre_hooks.clear()
        cause = "its hook was removed"
    model(batch("residual"))
    with pytest.raises(PlacementError, match=f"'heads.unused': .*{cause}") as caught:
        applied.check_fired()
    assert "blocks.0" not in str(caught.value)


def test_a_head_that_attention_never_calls_is_explained():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with pytest.raises(PlacementError, match="MultiheadAttention multiplies by its weight"):
        plan(layer, {"self_attn.out_proj": 0.1})
