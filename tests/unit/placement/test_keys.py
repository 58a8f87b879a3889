"""Keys: which mask a site draws in which step, and recomputation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from droplab import ops
from droplab.errors import PlacementError
from droplab.placement import plan

KEYS = {"fc2": 11, "fc3": 12}


@pytest.fixture
def applied(net):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    return applied


def grad(model, out):
    model.zero_grad()
    out.square().sum().backward()
    return model.fc1.weight.grad.clone()


def test_what_the_engine_sees(applied):
    assert applied.names == ("fc2", "fc3")
    assert applied.p.dtype == torch.float64
    assert applied.p.tolist() == [0.5, 0.5]
    assert applied.keys.dtype == torch.int64
    assert applied.keys.tolist() == [[11, 0], [12, 0]]
    applied.set_step(3)
    assert applied.keys.tolist() == [[11, 3 << 16], [12, 3 << 16]]


def test_masks_are_a_function_of_key_and_step(applied, net, x):
    applied.set_step(1)
    one = net(x)
    applied.set_step(2)
    two = net(x)
    torch.manual_seed(99)
    applied.set_step(1)
    assert torch.equal(net(x), one)
    assert not torch.equal(one, two)
    applied.seed({"fc2": 11, "fc3": 13})
    applied.set_step(1)
    assert not torch.equal(net(x), one)


def test_seeded_masks_leave_torchs_generator_alone(applied, net, x):
    state = torch.get_rng_state()
    net(x)
    assert torch.equal(state, torch.get_rng_state())


def test_an_unseeded_site_with_p_zero_draws_nothing(net, x):
    bare = net(x)
    plan(net, {"fc2": 0.0, "fc3": 0.0}).apply()
    for call in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        state = torch.get_rng_state()
        assert torch.equal(call(x), bare)
        assert torch.equal(state, torch.get_rng_state())
    torch._dynamo.reset()


def test_unseeded_masks_come_from_torchs_generator(applied, net, x):
    applied.seed(None)
    torch.manual_seed(5)
    one, two = net(x), net(x)
    torch.manual_seed(5)
    assert torch.equal(net(x), one)
    assert not torch.equal(one, two)


def test_rates_are_read_at_every_call_each_from_its_own_element(applied, net, x):
    applied.p[0] = 0.0
    applied.set_step(0)
    hidden = torch.relu(net.fc1(x))
    out = net(x)
    inner = torch.relu(net.fc2.__class__.forward(net.fc2, hidden))
    dropped = ops.dropout(inner, 0.5, key=applied.keys[1])
    assert torch.equal(out, nn.functional.linear(dropped, net.fc3.weight, net.fc3.bias))


def test_calls_of_one_step_never_share_a_mask(applied, net, x):
    applied.set_step(4)
    first, second, third = net(x), net(x), net(x)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    applied.keys[:, 1] = (4 << 16) + 2
    for hook in applied._hooks:
        hook.count = 0
    assert torch.equal(net(x), third)
    applied.set_step(4)
    assert torch.equal(net(x), first)


def test_fired_counts_over_steps(applied, net, x):
    for step in range(3):
        applied.set_step(step)
        net(x)
    assert applied.fired == {"fc2": 3, "fc3": 3}
    net.eval()(x)
    assert applied.fired == {"fc2": 3, "fc3": 3}


def test_frozen_masks_repeat_in_both_ways(applied, net, x):
    with ops.frozen_masks():
        assert torch.equal(net(x), net(x))
        applied.seed(None)
        out = net(x)
        assert torch.equal(net(x), out)
    assert not torch.equal(net(x), out)


def test_frozen_sites_have_masks_of_their_own():
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(3)))
    for layer in model:
        nn.init.eye_(layer.weight)
    with plan(model, 0.5).applied(), ops.frozen_masks():
        kept = (model(torch.ones(1, 64)) != 0).sum()
    assert kept < 28  # 16 +- 3.5 if the masks differ, 32 +- 4 if they are one


def test_ranks_do_not_share_masks(net, x):
    applied = plan(net, 0.5).apply()
    outs = []
    try:
        for rank in (0, 1):
            ops.set_rank(rank)
            applied.seed(KEYS)
            applied.set_step(7)
            outs.append(net(x))
    finally:
        ops.set_rank(None)
    assert not torch.equal(*outs)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fc2": 1}, "got none for fc3"),
        ({"fc2": 1, "fc3": 2, "fc1": 3}, "'fc1' is no site of this plan; did you mean"),
        ({"fc2": 1, "fc3": -2}, "seed.fc3: .*got -2"),
        ({"fc2": 1, "fc3": 2**63}, "seed.fc3"),
        ({"fc2": 1, "fc3": 0.5}, "seed.fc3: expected an integer"),
    ],
)
def test_bad_seeds_are_refused(applied, keys, message):
    with pytest.raises(PlacementError, match=message):
        applied.seed(keys)


@pytest.mark.parametrize("step", [-1, 1 << 31])
def test_steps_out_of_range_are_refused(applied, step):
    with pytest.raises(PlacementError, match="set_step: expected a step in"):
        applied.set_step(step)


def test_too_many_calls_in_a_step_are_refused_not_run_into_the_next_step(applied, net, x):
    applied._hooks[0].count = 1 << 16
    with pytest.raises(PlacementError, match="fc2: expected at most 65536 calls"):
        net(x)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("seeded", [True, False])
def test_activation_checkpointing_repeats_the_masks(net, x, reentrant, seeded):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS if seeded else None)
    x.requires_grad_()
    applied.set_step(2)
    torch.manual_seed(3)
    plain = grad(net, net(x))
    applied.set_step(2)
    torch.manual_seed(3)
    again = grad(net, checkpoint(net, x, use_reentrant=reentrant))
    assert torch.equal(plain, again)


def test_checkpointing_a_site_that_fires_twice_a_step_is_refused(applied, net, x):
    out = net(x) + checkpoint(net, x, use_reentrant=False)
    with pytest.raises(PlacementError, match=r"fc2: activation checkpointing.*fired 2 times"):
        out.sum().backward()


def test_checkpointing_across_set_step_is_refused(applied, net, x):
    out = checkpoint(net, x, use_reentrant=False)
    applied.set_step(1)
    with pytest.raises(PlacementError, match="set_step was called between"):
        out.sum().backward()


def test_set_step_between_forward_and_backward_never_gives_another_mask(applied, net, x):
    out = net(x)
    applied.set_step(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_population_under_vmap_reads_substituted_rows(build, x):
    members = [build("net") for _ in range(3)]
    for i, member in enumerate(members):
        torch.manual_seed(i)
        nn.init.normal_(member.fc1.weight)
    base = build("net")
    shared = plan(base, 0.0).apply()
    p = torch.tensor([[0.0, 0.0], [0.3, 0.5], [0.5, 0.1]], dtype=torch.float64)
    keys = torch.tensor([[[k, 9 << 16], [k + 5, 9 << 16]] for k in range(3)])
    params, buffers = torch.func.stack_module_state(members)

    def step(params, p, keys):
        with shared.substituted(p, keys):
            return torch.func.functional_call(base, (params, buffers), (x,))

    out = torch.func.vmap(step)(params, p, keys)
    for k, member in enumerate(members):
        single = plan(member, 0.0).apply()
        single.seed({"fc2": k, "fc3": k + 5})
        single.p.copy_(p[k])
        single.set_step(9)
        torch.testing.assert_close(out[k], member(x))
    assert not shared.seeded
    assert torch.equal(base(x), base(x))  # its own rates are 0 again
