# ruff: noqa: NPY002 # loops of other people draw from it
"""A study of somebody's own loop: its rows, what fails, what is resumed, what is refused."""

from __future__ import annotations

import json
import math
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from droplab import results
from droplab.errors import ArgumentError, RunError
from droplab.lab._disk import RunsOnDisk
from droplab.recipe import load
from droplab.studies import Study, Trial, run
from droplab.studies._ended import reason
from tests.forks import fork, needs_forks
from tests.unit.studies import loops
from tests.unit.studies.loops import begin, message


def states(found: Study) -> dict[tuple[str, int], str]:
    return {(member.arm, member.seed): member.state for member in found.result().members}


def test_a_study_is_a_run_with_a_verdict_and_a_report(tmp_path: Path):
    mine = begin(tmp_path, seeds=6)
    verdict = mine.run(loops.plain)
    assert [arm.name for arm in verdict.arms] == ["none", "half"]
    assert verdict.primary == "val_loss"
    assert verdict.headline in str(verdict)
    result = results.load(tmp_path / "study")
    assert len(result.rows) == 6 * 2 * 2
    assert result.recipe.epochs == 2
    assert result.recipe.loop is not None
    assert result.recipe.loop.train == "tests.unit.studies.loops:plain"
    page = mine.report().read_text()
    assert verdict.headline.split(":")[0] in page
    assert "own:loop" not in page
    assert "none: 2 8 (kept 100.0\u00a0%); half: 2 8 (kept " in page


def test_a_recipe_of_a_study_cannot_be_run_by_the_engine(tmp_path: Path):
    mine = begin(tmp_path, seeds=1)
    mine.run(loops.plain)
    recipe = load(tmp_path / "study" / "recipe.toml")
    assert recipe == mine.result().recipe
    with pytest.raises(ArgumentError, match="loops:plain"):
        run(recipe, tmp_path / "other")


def test_the_lab_shows_a_study(tmp_path: Path):
    begin(tmp_path).run(loops.fails_in_one)
    shown = RunsOnDisk(tmp_path).run("study").snapshot()
    assert [metric["name"] for metric in shown["metrics"]] == ["val_loss", "train_loss"]
    states = {(each["arm"], each["seed"]): each["state"] for each in shown["members"]}
    assert states["half", 1] == "failed"
    assert shown["run"]["state"] == "stopped"
    assert shown["verdict"]["headline"]


def test_workers_give_the_same_rows(tmp_path: Path):
    one, two = begin(tmp_path / "a"), begin(tmp_path / "b")
    one.run(loops.plain)
    two.run(loops.plain, workers=2)
    rows = [[(r.arm, r.seed, r.epoch, r.values) for r in s.result().rows] for s in (one, two)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("drops", ["sites", "module", "function"])
def test_batches_and_augmentation_are_the_same_in_every_arm(tmp_path: Path, drops: str):
    seen: dict[tuple[str, int], list[torch.Tensor]] = {}
    arms = {"none": {"existing": {"2": 0.0}}, "more": {"existing": {"2": 0.8}}, "base": {}}

    class ByHand(nn.Module):
        def __init__(self, p: float) -> None:
            super().__init__()
            self.p, self.net = p, loops.network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(nn.functional.dropout(x, self.p, self.training))

    def train(trial: Trial) -> None:
        model: nn.Module = loops.own_network() if drops == "module" else loops.network()
        if drops == "function":  # at p = 0 torch draws nothing
            model = ByHand(0.5 if trial.arm == "half" else 0.0)
        loops.fit(trial, trial.place(model), seen=seen.setdefault((trial.arm, trial.seed), []))

    mine = begin(tmp_path, arms=arms if drops == "module" else {"none": {}, "half": {"*2": 0.5}})
    mine.run(train)
    names = [arm.name for arm in mine.recipe.arms]
    for seed in (0, 1):
        first = torch.stack(seen[names[0], seed])
        for arm in names[1:]:
            assert torch.equal(torch.stack(seen[arm, seed]), first)
    assert not torch.equal(torch.stack(seen[names[0], 0]), torch.stack(seen[names[0], 1]))


def test_a_rate_of_zero_is_the_baseline_bit_for_bit(tmp_path: Path):
    mine = begin(tmp_path, arms={"none": {"existing": {"2": 0.3}}, "zero": {}, "half": {"3": 0.5}})

    def train(trial: Trial) -> None:
        loops.fit(trial, trial.place(loops.own_network()))

    mine.run(train)
    rows = {arm: [r.values for r in mine.result().rows if r.arm == arm] for arm in ("none", "zero")}
    assert rows["none"] == rows["zero"]


def test_the_generators_are_given_back(tmp_path: Path):
    torch.manual_seed(1), np.random.seed(2), random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    begin(tmp_path).run(loops.plain)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_each_epoch_has_a_seed_of_its_own(tmp_path: Path):
    drawn: dict[tuple[str, int], list[float]] = {}

    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        numbers = drawn.setdefault((trial.arm, trial.seed), [])
        for epoch in trial.epochs(3):
            numbers += [torch.rand(()).item(), np.random.rand(), random.random()]
            if trial.arm == "half" and epoch == 1:
                torch.rand(100)  # what one epoch draws too much does not reach the next
            model(torch.ones(2, 6))
            trial.report(val_loss=trial.rng.random())

    begin(tmp_path).run(train)
    assert drawn["none", 0] == drawn["half", 0] != drawn["none", 1]
    assert len(set(drawn["none", 0])) == 9


def test_an_error_of_the_library_is_told_with_the_line_that_led_there():
    with pytest.raises(ValueError, match="Expecting") as raised:
        json.loads("{")
    assert re.search(r"\(.*test_own_loops\.py:\d+\)$", reason(raised.value))


def test_a_trial_that_raises_is_kept_and_the_others_go_on(tmp_path: Path):
    mine = begin(tmp_path)
    verdict = mine.run(loops.fails_in_one)
    assert "A trial failed and is not counted ('half', seed 1: ValueError" in verdict.caveats[0]
    found = states(mine)
    assert found.pop(("half", 1)) == "failed"
    assert set(found.values()) == {"done"}
    assert "the disk of the dog" in message(mine)
    assert "loops.py:" in message(mine)
    with pytest.raises(RunError, match="resume=True"):
        begin(tmp_path).run(loops.plain)
    ran: list[tuple[str, int]] = []

    def train(trial: Trial) -> None:
        ran.append((trial.arm, trial.seed))
        loops.plain(trial)

    again = begin(tmp_path, resume=True)
    again.run(train)
    assert ran == [("half", 1)]
    assert set(states(again).values()) == {"done"}


def test_a_trial_that_fails_late_leaves_no_rows_that_count(tmp_path: Path):
    def train(trial: Trial) -> None:
        loops.plain(trial)
        if trial.arm == "half":
            raise RuntimeError("in the end")

    mine = begin(tmp_path, arms={**loops.ARMS, "less": 0.1}, seeds=6)
    verdict = mine.run(train)
    assert verdict.arm("half").seeds == ()
    assert verdict.arm("less").seeds == tuple(range(6))


def test_a_loop_may_measure_before_its_first_step(tmp_path: Path):
    """As many scripts do that count steps: then no site has fired at the first report."""

    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        x, y = loops.data()[1]
        for step in range(9):
            if step % 4 == 0:
                model.eval()
                trial.report(val_loss=(model(x) - y).square().mean())
                model.train()
            optimizer.zero_grad()
            (model(x[:10]) - y[:10]).square().mean().backward()
            optimizer.step()

    mine = begin(tmp_path)
    mine.run(train)
    assert set(states(mine).values()) == {"done"}
    first = [row.values["val_loss"] for row in mine.result().rows if row.epoch == 1]
    assert len(first) == 4
    assert len(set(first)) == 2  # an untrained model has no arm
    assert len({row.values["val_loss"] for row in mine.result().rows if row.epoch == 3}) == 4


def test_a_model_that_is_never_trained_is_said_at_the_second_report(tmp_path: Path):
    told: list[int] = []

    def train(trial: Trial) -> None:
        model = trial.place(loops.network()).eval()
        for report in range(4):
            told.append(report)
            trial.report(val_loss=model(torch.ones(1, 6)).sum())

    with pytest.raises(RunError, match="fire in the first step, got none from '2': its layer is"):
        begin(tmp_path, seeds=1).run(train)
    assert told == [0, 1] * 2


def test_all_that_fail_are_one_error(tmp_path: Path):
    def train(trial: Trial) -> None:
        raise RuntimeError("no data")

    with pytest.raises(RunError, match=r"every trial failed.*no data"):
        begin(tmp_path).run(train)


def test_trials_of_unequal_length_are_judged_at_their_last_common_epoch(tmp_path: Path):
    def train(trial: Trial) -> None:
        loops.fit(trial, trial.place(loops.network()), epochs=3 if trial.arm == "none" else 2)

    verdict = begin(tmp_path, seeds=6).run(train)
    assert verdict.epoch == 2
    assert any("unequal length" in each and "longest has 3" in each for each in verdict.caveats)


def test_nan_makes_an_arm_unstable(tmp_path: Path):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        for _ in trial.epochs(2):
            model(torch.randn(2, 6))
            bad = trial.arm == "half" and trial.seed == 0
            trial.report(val_loss=math.nan if bad else torch.rand(()))

    mine = begin(tmp_path, seeds=6)
    assert mine.run(train).arm("half").word == "unstable"
    assert states(mine)["half", 0] == "nan"


def test_a_loop_over_trials(tmp_path: Path):
    mine = begin(tmp_path)
    for trial in mine:
        loops.plain(trial)
        if (trial.arm, trial.seed) == ("half", 0):
            break
    # what was left with `break` is run again, and the loop before it is closed
    assert states(mine)["none", 0] == "done"
    left: list[tuple[str, int]] = []
    for trial in mine:
        left.append((trial.arm, trial.seed))
        with trial:
            if trial.seed == 1 and trial.arm == "none":
                raise ValueError("odd")
            loops.plain(trial)
    assert left == [("half", 0), ("none", 1), ("half", 1)]
    assert states(mine) == {
        ("none", 0): "done",
        ("half", 0): "done",
        ("none", 1): "failed",
        ("half", 1): "done",
    }


def test_a_schedule_follows_the_steps(tmp_path: Path):
    rates: list[float] = []

    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in trial.epochs(4):
            if trial.arm == "early":
                from droplab import rates as rates_of

                rates.append(rates_of(model)["2"])
            model(torch.randn(3, 6)).sum().backward()
            optimizer.step()
            trial.report(val_loss=1.0)

    arms = {"none": {}, "early": {"2": 0.5, "schedule": {"name": "early", "steps": 2}}}
    begin(tmp_path, arms=arms, seeds=1).run(train)
    assert rates == [0.5, 0.5, 0.0, 0.0]


class Logged:
    """A loop that writes down when a trial begins and ends."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(self, trial: Trial) -> None:
        self._write(f"begin {trial.arm} {trial.seed}")
        loops.by_hand(trial)
        self._write(f"end {trial.arm} {trial.seed}")

    def _write(self, line: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{line}\n")


def drive(folder: Path, log: Path) -> None:
    begin(folder, seeds=4, resume=True).run(Logged(log), workers=2)


@needs_forks
@pytest.mark.slow
def test_a_driver_that_is_killed_loses_and_repeats_nothing_finished(tmp_path: Path):
    """With workers; without, drivers are killed in `test_kills_of_studies`."""
    log, folder = tmp_path / "log", tmp_path / "study"
    driver = fork(drive, tmp_path, log)
    while not log.exists() or log.read_text().count("end") < 3:
        assert driver.is_alive()
        time.sleep(0.05)  # nothing tells of a line in a file
    driver.kill()
    driver.join()
    time.sleep(0.5)  # its workers end with it
    done = [(m.arm, m.seed) for m in results.load(folder).members if m.state == "done"]
    assert done
    kept = [row for row in results.load(folder).rows if (row.arm, row.seed) in done]
    log.unlink()
    drive(tmp_path, log)
    begun = [tuple(line.split()[1:]) for line in log.read_text().splitlines() if "begin" in line]
    assert not {(arm, int(seed)) for arm, seed in begun} & set(done)
    result = results.load(folder)
    assert {member.state for member in result.members} == {"done"}
    assert len(result.rows) == 4 * 2 * 2
    assert [row for row in result.rows if (row.arm, row.seed) in done] == kept


def test_what_was_seen_of_a_trial_is_kept(tmp_path: Path):
    mine = begin(tmp_path)
    mine.run(loops.plain)
    notes = mine.result().notes
    seen = json.loads(notes["trial/half/1"])
    assert seen["fired"] == {"2": 8}
    assert seen["rates"] == {"2": 0.5}
    assert seen["parameters"] == [6 * 16 + 16 + 17]
    assert seen["examples"] == [20]
    assert list(seen["batches"]) == ["0", "1", "2", "4"]
    assert [steps for steps, *_ in seen["course"]] == [4, 8]
    assert json.loads(notes["arms"]) == {
        "none": {"rates": {"2": 0.0}, "existing": {}},
        "half": {"rates": {"2": 0.5}, "existing": {}},
    }


class Inside(nn.Module):
    """Drops where no module of torch's for it is, and has no hidden site that an arm names."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.gru = nn.GRU(6, 8, 2, dropout=0.4, batch_first=True)
        self.mix = nn.MultiheadAttention(8, 2, dropout=0.4, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.gru(x[:, None].expand(-1, 3, -1))
        if self.how == "mix":
            h = h + self.mix(h, h, h)[0]
        return self.out(h[:, -1])


@pytest.mark.parametrize("how", ["gru", "mix"])
def test_arms_may_change_nothing_but_dropout_inside_a_layer(how: str, tmp_path: Path):
    def train(trial):
        torch.manual_seed(trial.seed)  # the same weights in all arms, and others for each seed
        loops.fit(trial, trial.place(Inside(how)))

    arms = {"built": {}, "none": {"existing": {f"{how}.dropout": 0.0}}}
    mine = begin(tmp_path, arms=arms, seeds=2)
    verdict = mine.run(train)
    assert verdict.arm("none").differences["train_loss"].mean != 0
    assert not any("Not paired" in each for each in verdict.caveats)


def test_a_study_may_have_a_baseline_alone(tmp_path: Path):
    verdict = begin(tmp_path, arms={"none": {}}, seeds=2).run(loops.plain)
    assert verdict.headline == "There is no arm but the baseline, so there is nothing to compare."
