"""How much a site has kept is measured, and told apart from what chance explains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from droplab import placement
from droplab.placement import Applied, set_rate
from droplab.placement._kept import Kept
from droplab.rng import stream_key
from droplab.studies import Trial
from tests.unit.studies import loops
from tests.unit.studies.loops import begin, message


def placed(model: nn.Module, rates: dict[str, float], kind=None, own=()) -> Applied:
    applied = placement.plan(model, rates, kind).apply(own=own)
    applied.seed({name: stream_key(0, name) for name in applied.streams})
    applied.guard(0)
    return applied


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_what_is_kept_is_counted_in_calls_0_1_2_4_and_8(p: float):
    model = nn.Sequential(nn.Linear(30, 30), nn.Dropout(p), nn.Linear(30, 1))
    applied = placed(model, {"0": p}, own=["1"])
    x = torch.randn(40, 30)
    x[:, :10] = 0  # tells nothing
    for _ in range(10):
        model(x)
    kept = applied.kept
    assert kept["0"][1] == 5 * 40 * 20
    assert kept["1"][1] == 5 * 40 * 30
    for name in "01":
        count, seen = kept[name]
        assert abs(count - seen * (1 - p)) <= 5 * (seen * p * (1 - p)) ** 0.5
    applied.check_kept({"0": p})


def test_elements_that_share_a_mask_count_once():
    model = nn.Sequential(nn.Conv2d(8, 8, 1))
    applied = placed(model, {"0": 0.5}, "channel")
    model(torch.randn(6, 8, 5, 5))
    assert applied.kept["0"][1] == 6 * 8
    applied.check_kept({"0": 0.5})


def test_packed_sequences_are_counted():
    model = nn.GRU(4, 4)
    applied = placed(nn.ModuleDict({"gru": model}), {"gru": 0.5}, "element")
    model(pack_sequence([torch.randn(7, 4), torch.randn(3, 4)]))
    assert applied.kept["gru"][1] == 10 * 4


def test_without_a_guard_nothing_is_measured():
    model = nn.Sequential(nn.Linear(4, 4))
    applied = placement.plan(model, {"0": 0.5}).apply()
    model(torch.ones(3, 4))
    assert applied.kept == {}


@pytest.mark.parametrize(("p", "n"), [(0.01, 20), (0.5, 40), (0.3, 5000), (0.0, 100)])
def test_chance_alone_is_never_far(p: float, n: int):
    generator = torch.Generator().manual_seed(1)
    for _ in range(2000):  # false alarms: 2000 x 3e-11 at most
        found = Kept()
        x = torch.ones(n)
        found.look(0, x, x * (torch.rand(n, generator=generator) >= p))
        assert not found.is_far(p)


def test_another_rate_than_that_of_the_arm_ends_its_trial(tmp_path: Path):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        set_rate(model, "2", 0.9 if trial.arm == "some" else 0.0)
        loops.fit(trial, model)

    mine = begin(tmp_path, arms={"none": {}, "some": {"2": 0.2}}, seeds=1)
    mine.run(train)
    assert "2: expected 80.0% of its input to be kept in this arm, got 7.5%" in message(mine)


def test_a_schedule_may_change_the_rate(tmp_path: Path):
    arms = {"none": {}, "early": {"2": 0.5, "schedule": {"name": "early", "steps": 2}}}
    mine = begin(tmp_path, arms=arms, seeds=1)
    mine.run(loops.plain)
    assert {member.state for member in mine.result().members} == {"done"}
