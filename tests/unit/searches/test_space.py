"""Spaces: what they mean on a model, what is chosen, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from droplab.errors import ArgumentError, RecipeError
from droplab.models import MLP
from droplab.placement import OwnDropout
from droplab.recipe import Arm
from droplab.searches import read_space
from droplab.searches._space import Space, block_of


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(8, 8), "down": nn.Linear(8, 8)}) for _ in range(2)
        )
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.first(x).relu()
        for layer in self.layers:
            x = layer["down"](layer["up"](x).relu()).relu()
        return self.head(self.drop(x))


def blocks():
    model = Blocks()
    return model, OwnDropout.of(model, torch.zeros(2, 4))


def names(space):
    return [knob.name for knob in space.knobs]


def test_every_rule_on_one_model():
    model, own = blocks()
    sites = ["layers.0.up", "layers.0.down", "layers.1.up", "layers.1.down", "head"]
    assert names(Space.of(read_space("site"), model, own)) == sites
    by_block = Space.of(read_space("block"), model, own)
    assert names(by_block) == ["block layers.0", "block layers.1", "block head"]
    arm = by_block.arm("a", {"block layers.0": 0.1, "block layers.1": 0.2, "block head": 0.3})
    assert arm.rates == dict(zip(sites, [0.1, 0.1, 0.2, 0.2, 0.3], strict=True))
    depth = Space.of(read_space("depth"), model, own)
    rates = list(depth.arm("a", {"all": 0.2, "all growth": 0.5}).rates.values())
    assert rates == pytest.approx([0.2, 0.275, 0.35, 0.425, 0.5])
    assert set(Space.of(read_space("all"), model, own).arm("a", {"all": 0.3}).rates) == set(sites)


@pytest.mark.parametrize("rule", ["site", "block", "depth", "all"])
def test_a_choice_is_found_again_from_the_arm_that_it_makes(rule):
    model, own = blocks()
    table = {
        "rates": [{"sites": ["layers.*"], "by": rule}, {"sites": "head", "p": [0.0, 0.5, 0.1]}],
        "existing": [{"names": ["drop"], "p": [0.1, 0.3]}],
        "kinds": ["element", "alpha"],
        "schedules": ["none", {"name": "early", "steps": 5}],
    }
    space = Space.of(read_space(table), model, own)
    for share in (0.0, 0.25, 1.0):
        choice = {**space.common(share), "kind": "alpha", "schedule": "early, steps 5"}
        arm = space.arm("a", choice)
        assert arm.existing["drop"] == pytest.approx(0.1 + 0.2 * share)
        found = space.choice(arm, arm.rates)
        if not any(arm.rates.values()):  # nothing is left to have a kind or a schedule
            continue
        assert space.arm("a", found) == arm
    outside = Arm("b", dict.fromkeys(space.places[:-1], 0.9), existing={"drop": 0.1})
    assert space.choice(outside, outside.rates) is None


def test_blocks_of_usual_names():
    assert block_of("encoder.layers.3.self_attn.out_proj") == "encoder.layers.3"
    assert block_of("layer1.0.conv2") == "layer1.0"
    assert block_of("features.4") == "features"
    assert block_of("fc2") == "fc2"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"rates": [{"sites": ["nope*"]}]}, "nope"),
        ({"rates": [{"sites": ["fc2"]}, {"sites": ["fc*"]}]}, "two parts mean 'fc2'"),
        ({"existing": [{"names": ["*.drop"]}]}, "drop"),
        ({"existing": [{"p": [0, 0.5]}]}, "names"),
        ({"rates": [{"p": [0.5, 0.5]}]}, "expected a range"),
        ({"rates": [{"p": [0, 50]}]}, r"\[0, 1\]"),
        ({"rates": [{"p": [0, 0.5, 0.2]}]}, "multiple"),
        ({"rates": [{"by": "sites"}]}, "did you mean 'site'"),
        ({"rates": {"sites": "fc2"}}, "expected a list"),
        ({"rate": []}, "did you mean 'rates'"),
        ({"kinds": ["path"]}, "expected kinds"),
        ({"schedules": ["late"]}, "expected tables"),
        ({"objective": ["val_loss", "val_loss"]}, "two different"),
        ({"constraints": {"val_loss": ["< 0.5", "> 0.6"]}}, "no plan can meet both"),
        ({"constraints": {"val_accuracy": "< 92"}}, "percentage"),
        ({"constraints": {"val_loss": "small"}}, "comparison"),
    ],
)
def test_bad_spaces_are_refused_in_a_sentence(table, message):
    with pytest.raises((ArgumentError, RecipeError), match=message):
        Space.of(read_space(table), MLP(4, (3, 3), 2), OwnDropout())


def test_a_space_from_a_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('objective = "val_ece"\n[[rates]]\nsites = "fc3"\np = [0.1, 0.4, 0.1]\n')
    space = Space.of(read_space(path), MLP(4, (3, 3), 2))
    assert space.spec.objective == ("val_ece",)
    assert [(k.name, k.low, k.high, k.step) for k in space.knobs] == [("fc3", 0.1, 0.4, 0.1)]
    with pytest.raises(ArgumentError, match=r"did you mean 'depth'"):
        read_space("dephts")
