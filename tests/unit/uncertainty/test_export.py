"""Models as files that run without droplab."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from droplab import nn as layers
from droplab.cli.export import command
from droplab.errors import ArgumentError
from droplab.placement import plan
from droplab.uncertainty import export, sample

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def mlp(drop=None):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 40), drop or nn.Dropout(0.3), nn.ReLU(), nn.Linear(40, 3))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)
        self.drop = nn.Dropout2d(0.2)

    def forward(self, x):
        hidden = self.drop(self.first(x)).relu().flatten(1)
        return self.last(F.dropout(hidden, 0.5, self.training))


class Residual(nn.Module):
    """Adds what is dropped to what is not, in place, which torch.vmap refuses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.drop = nn.Linear(6, 6), nn.Dropout(0.3)

    def forward(self, x):
        out = self.fc(x)
        out += self.drop(x)
        return out


class Always(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


@pytest.fixture
def read(monkeypatch):
    """What `export` has read from the file that it wrote, to compare it: to read it takes long."""
    programs = []
    load = torch.export.load
    monkeypatch.setattr(
        torch.export, "load", lambda file: programs.append(load(file)) or programs[-1]
    )
    return programs


def operators(program):
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("drop", [nn.Dropout(0.3), layers.Dropout(0.3)], ids=["torch", "droplab"])
def test_passes_in_the_graph_are_those_of_sample_at_any_size(tmp_path, drop, read):
    model = mlp(drop)
    found = export(model, X, tmp_path / "m.pt2", to="pt2", dropout="mc", passes=2, seed=7)
    assert found.batch is None
    assert found.difference < 1e-6
    [program] = read
    more = torch.randn(17, 6, generator=torch.Generator().manual_seed(1))
    samples = program.module()(more).detach()
    torch.testing.assert_close(samples, sample(model, more, 2, seed=7))
    assert not torch.equal(samples[0], samples[1])
    assert not any("droplab" in name or "aten.rand" in name for name in operators(program))


def test_without_dropout_the_graph_has_none_and_the_model_keeps_its_own(tmp_path):
    model = mlp().train()
    applied = plan(model, 0.4, example=X).apply()
    export(model, X, tmp_path / "m.pt2", to="pt2")
    assert model.training
    assert applied.active
    names = operators(torch.export.load(tmp_path / "m.pt2"))
    assert any("linear" in name or "mm" in name for name in names)
    assert not any("drop" in name or "rand" in name or "bernoulli" in name for name in names)


def test_a_placed_convolution_has_its_passes_at_the_size_of_the_example(tmp_path, read):
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Convolution()
    found = export(model, x, tmp_path / "m.pt2", to="pt2", dropout="mc", passes=2, seed=1)
    assert found.batch == 3
    [program] = read
    torch.testing.assert_close(program.module()(x).detach(), sample(model, x, 2, seed=1))


def test_passes_that_cannot_go_together_follow_each_other(tmp_path, read):
    model = Residual()
    found = export(model, X, tmp_path / "m.pt2", to="pt2", dropout="mc", passes=2, seed=1)
    assert found.batch == len(X)
    [program] = read
    samples = program.module()(X).detach()
    torch.testing.assert_close(samples, sample(model, X, 2, seed=1))
    assert not torch.equal(samples[0], samples[1])
    torch.testing.assert_close(torch.vmap(torch.sin)(X), X.sin())  # nothing is left of the failure


def test_onnx_gives_the_same_numbers(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own
        found = export(model, X, tmp_path / "m.onnx", to="onnx", dropout="mc", passes=2, seed=3)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    [made] = session.run(None, {found.inputs[0]: X[:2].numpy()})
    torch.testing.assert_close(torch.from_numpy(made), sample(model, X[:2], 2, seed=3))


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(tmp_path):
    target = tmp_path / "m.pt2"
    with pytest.raises(ArgumentError, match=r"the model calls .* drops in eval mode as well"):
        export(Always(), X, target, to="pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        scripted = torch.jit.script(nn.Linear(6, 2))
    with pytest.raises(ArgumentError, match="scripted"):
        export(scripted, X, target, to="pt2")
    with pytest.raises(ArgumentError, match="without any dropout"):
        export(nn.Linear(6, 2), X, target, to="pt2", dropout="mc")
    with pytest.raises(ArgumentError, match="'onnx' or 'pt2'"):
        export(mlp(), X, target, to="tf")
    assert not list(tmp_path.iterdir())


def test_numbers_that_differ_from_pytorch_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("droplab.uncertainty._export.outputs", lambda out: out + torch.rand(()))
    with pytest.raises(ArgumentError):
        export(nn.Linear(6, 2), X, tmp_path / "m.pt2", to="pt2")
    assert not list(tmp_path.iterdir())


def test_the_command_exports_a_file_with_weights(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "nets.py"
    file.write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(6, 2))\n"
    )
    model = nn.Sequential(nn.Linear(6, 2))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    out = tmp_path / "m.pt2"
    given = [f"{file}:make", "--weights", str(tmp_path / "w.safetensors"), "--to", "pt2"]
    result = CliRunner().invoke(command, [*given, "--out", str(out), "--example", "4x6"])
    assert result.exit_code == 0, result.output
    assert "no dropout; any number of inputs" in result.output
    torch.testing.assert_close(torch.export.load(out).module()(X), model(X))
    result = CliRunner().invoke(command, [*given, "--out", str(out)])
    assert "expected --example" in str(result.exception)
