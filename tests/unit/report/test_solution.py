"""The best arm as a change of source: it applies, and it makes the network of the arm."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
import torch
from torch import nn

from droplab import models, placement
from droplab.recipe import Arm, ModelSpec, load
from droplab.report import render, solution
from droplab.report._solution import patch, source
from droplab.verdict import judge

WIDTHS = (64, 128, 64, 10)


def network(text: str) -> nn.Module:
    names: dict[str, type[nn.Module]] = {}
    exec(text, names)
    return names["Net"]()


def test_the_plain_file_is_the_network_of_the_recipe():
    plain = network(source(WIDTHS, {"fc1": 0.1, "fc3": 0.5})).eval()
    own = models.build(load("digits").model).eval()
    plain.load_state_dict(own.state_dict())
    x = torch.linspace(0, 1, 2 * 64).reshape(2, 1, 8, 8)
    assert torch.equal(plain(x), own(x))


def test_the_diff_applies_and_drops_at_the_sites_of_the_arm(tmp_path):
    arm = load("digits").arm("input")
    (tmp_path / "net.py").write_text(source(WIDTHS, {}))
    diff = solution(load("digits"), "input")
    assert diff is not None
    subprocess.run(["git", "apply"], input=diff, text=True, cwd=tmp_path, check=True)
    text = (tmp_path / "net.py").read_text()
    assert text == source(WIDTHS, arm.rates)
    net = network(text)
    rates = {str(name): p for name, p in placement.rates(net).items()}
    assert rates == {f"{site}_dropout": p for site, p in arm.rates.items()}
    came: dict[str, torch.Tensor] = {}
    for name, layer in net.named_children():
        if name in arm.rates:
            layer.register_forward_pre_hook(lambda _, x, n=name: came.update({n: x[0]}))
        else:
            layer.register_forward_hook(lambda _, x, y, n=name: came.update({n: y}))
    net(torch.rand(2, 1, 8, 8))
    for site in arm.rates:
        assert came[site] is came[f"{site}_dropout"], "the layer gets what the dropout gives"


@pytest.mark.parametrize(
    "recipe",
    [
        replace(load("digits"), model=ModelSpec("my.nets:Net", {"hidden": [3]})),
        replace(load("digits"), model=ModelSpec("mlp", {"in_features": 64, "hidden": 3})),
        replace(load("digits"), model=ModelSpec("mlp", {"in_features": 64, "depth": 3})),
        replace(load("digits"), arms=(Arm("none"), Arm("0.5", {"fc9": 0.5}))),
        replace(load("digits"), arms=(Arm("none"), Arm("0.5", {"fc2": 0.5}, "alpha"))),
    ],
)
def test_a_network_that_is_not_known_has_no_plain_file(recipe):
    assert solution(recipe, "0.5") is None


def test_the_baseline_has_no_change():
    assert solution(load("digits"), "none") is None


def test_the_users_own_patch_comes_first(fashion):
    verdict = judge(fashion)
    assert patch(fashion, verdict).diff == fashion.notes["patch"]
    bare = replace(fashion, notes={})
    assert patch(bare, verdict).diff == solution(fashion.recipe, "input")
    assert "droplab's own" in patch(bare, verdict).note
    refused = replace(fashion, notes={"patch refused": "net.py: fc2 is made in a loop"})
    assert patch(refused, verdict).diff == ""
    assert "net.py: fc2 is made in a loop" in render(refused, verdict).replace("&#39;", "'")


def test_where_dropout_does_not_help_nothing_has_to_be_changed(make_run):
    recipe = replace(load("fashion-overfit"), target=None)
    shapes = {arm.name: (0.5, 0.45, 0.84, 0.1, 0.95, 0.1) for arm in recipe.arms}
    shapes["none"] = (0.3, 0.29, 0.86, 0.1, 0.95, 0.1)
    result = make_run(recipe, shapes)
    verdict = judge(result)
    note = patch(result, verdict).note
    assert note.startswith("'none' is the best arm, so nothing has to be changed.")
    assert "hurts" in render(result, verdict)


def test_a_change_that_was_not_shown_to_help_says_so(make_run):
    recipe = replace(load("fashion-overfit"), target=None)
    shapes = {arm.name: (0.5, 0.45, 0.84, 0.1, 0.95, 0.1) for arm in recipe.arms}
    verdict = judge(make_run(recipe, shapes))
    chosen = verdict.arm(verdict.chosen)
    assert chosen.word == "not shown to help"
    note = patch(make_run(recipe, shapes), replace(verdict, best=None)).note
    assert f"'{chosen.name}' is not shown to help." in note
    assert "not shown to help" in render(make_run(recipe, shapes), verdict)
