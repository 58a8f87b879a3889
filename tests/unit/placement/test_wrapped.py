"""Compiled, distributed, scripted and exported models."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.ao import quantization
from torch.utils.checkpoint import checkpoint

from droplab.errors import PlacementError
from droplab.placement import disabled, plan, rates, set_rate, sites

# Torch's own: it reads .grad of hidden tensors, and imports what it has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
]

KEYS = {"fc2": 11, "fc3": 12}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("seeded", [True, False])
def test_rates_and_steps_do_not_recompile_and_masks_equal_eager_ones(net, x, seeded):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS if seeded else None)
    counter = CompileCounter()
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    for step in range(4):
        applied.p.copy_(torch.tensor([0.1 * step, 0.9 - 0.1 * step]))
        applied.set_step(step)
        torch.manual_seed(step)
        out = compiled(x)
        applied.set_step(step)
        torch.manual_seed(step)
        assert torch.equal(out, net(x))
    assert counter.frame_count == 1
    applied.check_fired()


def test_without_seeds_and_steps_nothing_recompiles_either(net, x):
    applied = plan(net, 0.5).apply()
    counter = CompileCounter()
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    outs = [compiled(x) for _ in range(5)]
    assert counter.frame_count == 1
    assert not torch.equal(outs[0], outs[1])
    applied.check_fired()


def test_apply_and_revert_both_reset_the_compiler(net, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append(1))
    made = plan(net, 0.5)
    made.apply()
    assert len(calls) == 1
    made.revert()
    assert len(calls) == 2


@pytest.mark.slow
def test_inductor_forward_and_backward(net, x):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    outs = []
    for model in (torch.compile(net, fullgraph=True), net):
        applied.set_step(1)
        net.zero_grad()
        out = model(x)
        out.square().sum().backward()
        outs.append((out.detach(), net.fc1.weight.grad.clone()))
    torch.testing.assert_close(outs[0], outs[1])


def test_apply_and_revert_reach_code_that_was_compiled_before(net, x):
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    plain = compiled(x)
    made = plan(compiled, {"fc3": 1.0})
    made.apply()
    assert torch.equal(compiled(x), net.fc3.bias.expand(4, 10))
    made.revert()
    assert torch.equal(compiled(x), plain)


def test_names_do_not_show_the_wrapper(net, x):
    wrapped = torch.compile(net, backend="eager")
    assert [s.name for s in sites(wrapped)] == ["fc1", "fc2", "fc3"]
    assert sites(wrapped, x)[1].shape == (4, 16)
    net.fc2 = torch.compile(net.fc2, backend="eager")
    assert [s.name for s in sites(net)] == ["fc1", "fc2", "fc3"]
    applied = plan(net, {"fc2": 1.0}).apply()
    net(x)
    applied.check_fired()


def test_a_layer_that_runs_twice_in_compiled_code(x):
    layer = nn.Linear(20, 20)
    model = nn.Sequential(layer, layer)
    applied = plan(model, {"0": 0.5}).apply()
    applied.seed({"0": 1})
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for step in range(3):
        applied.set_step(step)
        out = compiled(x)
        applied.set_step(step)
        assert torch.equal(out, model(x))
        assert applied._hooks[0].count == 2


def test_checkpointing_inside_compiled_code_repeats_the_masks(net, x):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    grads = []
    for model in (
        torch.compile(lambda x: checkpoint(net, x, use_reentrant=False), backend="aot_eager"),
        net,
    ):
        applied.set_step(2)
        net.zero_grad()
        model(x).square().sum().backward()
        grads.append(net.fc1.weight.grad.clone())
    torch.testing.assert_close(*grads)


def test_compiled_code_inside_a_checkpoint_is_refused_with_a_seed(net, x):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    compiled = torch.compile(net, backend="aot_eager")
    applied.set_step(0)
    out = checkpoint(compiled, x, use_reentrant=False)
    with pytest.raises(PlacementError, match="fc2: activation checkpointing"):
        out.sum().backward()


@pytest.mark.parametrize("training", [True, False])
def test_export(net, x, training):
    applied = plan(net, 0.5).apply()
    applied.seed(KEYS)
    net.train(training)
    want = net(x)
    applied.set_step(0)
    exported = torch.export.export(net, (x,)).module()
    torch.testing.assert_close(exported(x), want)


def test_rates_of_compiled_models(build, batch):
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), Hard())
    x = torch.ones(8, 6)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    compiled(x)
    assert dict(rates(compiled, x)) == {"1": 0.5, "2.F.dropout": 0.25}
    with disabled(compiled):
        assert torch.equal(compiled(x), compiled(x))
    assert not torch.equal(compiled(x), compiled(x))
    set_rate(compiled, "*", 1.0)
    assert not compiled(x).any()


class Hard(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.25, self.training)


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel(net, x):
    wrapped = nn.parallel.DistributedDataParallel(net)
    applied = plan(wrapped, 0.5).apply()
    assert applied.names == ("fc2", "fc3")
    assert list(rates(wrapped)) == ["fc2", "fc3"]
    wrapped(x).sum().backward()
    applied.check_fired()


def scripted(module, how="script"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            torch.jit.script(module)
            if how == "script"
            else torch.jit.trace(module, torch.ones(1, 4))
        )


@pytest.mark.parametrize("how", ["script", "trace"])
def test_a_scripted_model_is_refused(how):
    model = scripted(nn.Sequential(nn.Linear(4, 4)), how)
    with pytest.raises(PlacementError, match=r"torch.jit has scripted or traced.*before scripting"):
        sites(model)


def test_a_site_inside_a_scripted_module_is_refused_by_name_and_left_out_else():
    inside = scripted(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1)))
    model = nn.Sequential(nn.Linear(4, 4), inside, nn.Linear(4, 2))
    x = torch.ones(2, 4)
    for example in (None, x):
        found = {s.name: s for s in sites(model, example)}
        assert "inside a scripted module" in found["1.0"].refused
        assert plan(model, 0.3, example=example).rates == {"2": 0.3}
        with pytest.raises(PlacementError, match=r"cannot place dropout at '1\.0': inside a scri"):
            plan(model, {"1.0": 0.3}, example=example)
    assert dict(rates(model, x)) == {}


def test_data_parallel_is_refused(net):
    with pytest.raises(PlacementError, match="DataParallel, whose threads would race"):
        plan(nn.DataParallel(net), 0.5)


class Fusible(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.conv = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.conv(self.first(x))))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning")
@pytest.mark.parametrize("way", ["fuse", "fuse_qat", "prepare_qat"])
def test_a_fused_group_keeps_the_site_of_its_layer(way):
    model = Fusible().train(way != "fuse")
    plan(model, {"conv": 0.5}).apply()
    fuse = quantization.fuse_modules if way == "fuse" else quantization.fuse_modules_qat
    fused = fuse(model, [["conv", "norm", "act"]])
    if way == "prepare_qat":
        fused.qconfig = quantization.get_default_qat_qconfig("x86")
        fused = quantization.prepare_qat(fused)
    assert dict(rates(fused)) == {"conv": 0.5}
    assert type(fused.conv) is not nn.Conv2d
    got = []
    fused.conv.register_forward_pre_hook(lambda module, args: got.append(args[0]))
    fused.train()(torch.ones(8, 3, 9, 9))
    dropped = (got[0] == 0).flatten(2).all(2)
    assert dropped.any()
    assert not dropped.all()


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
def test_a_plan_is_taken_out_of_the_layer_that_its_own_was_fused_into():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    applied = plan(model, {"0": 0.5, "2": 0.5}).apply()
    quantization.fuse_modules(model, [["0", "1"]], inplace=True)
    assert dict(rates(model)) == {"0": 0.5, "2": 0.5}
    with pytest.raises(PlacementError, match="replaced by another one after apply; nothing of the"):
        applied.revert()
    assert dict(rates(model)) == {}


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_a_model_prepared_for_quantisation_is_placed_trained_and_converted():
    model = nn.Sequential(
        quantization.QuantStub(),
        Fusible(),
        nn.Flatten(),
        nn.Linear(100, 2),
        quantization.DeQuantStub(),
    )
    model = quantization.fuse_modules_qat(model, [["1.conv", "1.norm", "1.act"]])
    model.qconfig = quantization.get_default_qat_qconfig("x86")
    quantization.prepare_qat(model, inplace=True)
    x = torch.rand(4, 3, 9, 9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert plan(model, {"1.conv": 0.5, "3": 0.5}, example=x).names == ("1.conv", "3")
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # empty ones as well
    applied = plan(model, {"1.conv": 0.5, "3": 0.5}, example=x).apply()
    model(x).sum().backward()
    applied.check_fired()
    converted = quantization.convert(model.eval())
    want = converted(x)
    assert torch.equal(converted.train()(x), want)  # for inference: it drops nothing
