"""An agent of stable-baselines3 under a study."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")
pytestmark = pytest.mark.filterwarnings("ignore")  # of gymnasium

import gymnasium  # noqa: E402
from stable_baselines3 import DQN, PPO  # noqa: E402

from droplab.errors import ArgumentError, RunError  # noqa: E402
from droplab.integrations import stable_baselines3  # noqa: E402
from droplab.studies import study as own_study  # noqa: E402
from tests.unit.studies.loops import message  # noqa: E402


def ppo(seed: int):
    return PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16, n_epochs=1, seed=seed)


def dqn(seed: int):
    return DQN("MlpPolicy", "CartPole-v1", learning_starts=20, batch_size=8, seed=seed)


def cart():
    return gymnasium.make("CartPole-v1")


ARMS = {"none": {}, "half": {"mlp_extractor.value_net.2": 0.5}}


def begin(folder: Path, make=ppo, **changes):
    how = {"arms": ARMS, "seeds": 1, "steps": 64, "every": 32, "episodes": 2, "quiet": True}
    return stable_baselines3.study(make, cart, folder / "study", **{**how, **changes})


def test_an_agent_learns_in_every_arm(tmp_path: Path):
    study = begin(tmp_path)
    verdict = study.run()
    assert verdict.primary == "mean_reward"
    result = study.result()
    assert {member.state for member in result.members} == {"done"}
    assert len(result.rows) == 2 * 2
    assert all(1 <= row.mean_reward <= 500 for row in result.rows)
    assert json.loads(result.notes["trial/half/0"])["fired"]["mlp_extractor.value_net.2"]
    assert "Not dropout alone" not in verdict.headline


def test_an_algorithm_that_replays_and_a_part_of_its_policy(tmp_path: Path):
    arms = {"none": {}, "half": {"q_net.2": 0.5}}
    study = begin(tmp_path, dqn, part="q_net", arms=arms, steps=60, every=30)
    study.run()
    assert {member.state for member in study.result().members} == {"done"}
    assert json.loads(study.result().notes["trial/half/0"])["fired"]


def test_a_callback_in_a_function_of_ones_own(tmp_path: Path):
    def train(trial):
        agent = ppo(trial.seed)
        trial.place(agent.policy)
        agent.learn(64, callback=stable_baselines3.report(trial, cart(), every=32, episodes=2))

    metrics = {"mean_reward": "higher"}
    own = own_study(tmp_path / "own", arms=ARMS, seeds=1, metrics=metrics, quiet=True)
    own.run(train)
    ready = begin(tmp_path)
    ready.run()
    assert [r.values for r in own.result().rows] == [r.values for r in ready.result().rows]


def test_mistakes_are_said_in_a_sentence(tmp_path: Path):
    study = begin(tmp_path, part="critik")
    with pytest.raises(RunError, match="every trial failed"):
        study.run()
    assert re.search("part: expected 'policy', or a part of it, got 'critik'", message(study))
    with pytest.raises(ArgumentError, match="every: expected a whole number"):
        begin(tmp_path, every=0)
