"""Weights from files as people save them, and files that hold none."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from droplab.errors import ArgumentError, DataError
from droplab.train.state_file import load_state


def net(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))


@pytest.mark.parametrize(
    "form",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"module." + name: value for name, value in state.items()},
        lambda state: {
            "state_dict": {"model._orig_mod." + name: value for name, value in state.items()}
        },
    ],
)
def test_the_usual_forms_are_read(tmp_path, form):
    trained, fresh = net(), net()
    torch.save(form(trained.state_dict()), tmp_path / "w.pt")
    load_state(fresh, tmp_path / "w.pt")
    for one, two in zip(trained.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, two)


def test_safetensors_are_read(tmp_path):
    trained, fresh = net(), net()
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    load_state(fresh, tmp_path / "w.safetensors")
    assert torch.equal(trained[0].weight, fresh[0].weight)


class Runs:
    """Code that unpickling would run."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (net(), "weights_only=True, got UnpicklingError; save model.state_dict"),
        ({"state_dict": Runs()}, "weights_only=True, got UnpicklingError"),
        ({"loss": 0.5}, "a checkpoint with one under state_dict, .*, got keys loss"),
        ([1, 2], "got a list"),
        ({}, "got keys none"),
        (net(4).state_dict(), r"expected '0\.weight' of shape \(3, 2\), .*got \(4, 2\)"),
        (
            nn.Sequential(nn.Linear(2, 3)).state_dict(),
            r"expected the weights of the Sequential, got none for '2\.weight' and 1 more$",
        ),
        ({**net().state_dict(), "3.bias": torch.zeros(1)}, r"got '3\.bias', which it has not"),
    ],
)
def test_other_files_get_one_sentence(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pt")
    model = net()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ArgumentError, match=words):
        load_state(model, tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_what_is_no_file_of_weights(tmp_path):
    with pytest.raises(ArgumentError, match="expected a file of weights, found none there"):
        load_state(net(), tmp_path / "w.pt")
    with pytest.raises(DataError, match="an ordinary file"):
        load_state(net(), tmp_path)
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(ArgumentError, match=name):
            load_state(net(), tmp_path / name)
