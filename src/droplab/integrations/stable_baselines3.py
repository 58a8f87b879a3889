"""stable-baselines3: a study of an agent, whose networks its own algorithm builds and trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from droplab import studies
from droplab.errors import ArgumentError, nearest, quote
from droplab.importing import optional
from droplab.integrations._told import AnyTrial
from droplab.numeric import whole
from droplab.studies import Study, Trial

METRIC = "mean_reward"
"""What is measured of an agent."""


def study(
    make_algorithm: Callable[[int], Any],
    make_env: Callable[[], Any],
    folder: str | Path,
    *,
    steps: int,
    every: int,
    episodes: int = 10,
    part: str = "policy",
    **how: Any,
) -> Study:
    """Return a study of an agent; its `run()` lets every arm learn with every seed.

    Each trial makes the algorithm with its seed, puts the arm's dropout into what it has built and
    calls its `learn`. Meanwhile and in the end it plays episodes on an environment of its own and
    reports their mean reward, `mean_reward`.

    Args:
        make_algorithm: Called with a seed, returns an algorithm:
            `lambda seed: PPO("MlpPolicy", "CartPole-v1", seed=seed)`.
        make_env: Returns an environment to play on.
        folder: The study's folder.
        steps: Steps to learn for.
        every: Steps between two measurements.
        episodes: Episodes of one measurement.
        part: What dropout is put into: "policy", all that is trained, or a part of the policy, such
            as "critic".
        how: As in `droplab.study`: arms, seeds and the rest. The metric is there already.

    Raises:
        BackendError: If stable-baselines3 is not installed.
        RecipeError: If a value is impossible.
    """
    _package("callbacks")
    for name, value in (("steps", steps), ("every", every), ("episodes", episodes)):
        if (whole(value) or 0) < 1:
            raise ArgumentError(
                f"{name}: expected a whole number of at least 1, got {quote(value)}"
            )
    learn = _Learn(make_algorithm, make_env, steps, every, episodes, part)
    return studies.study(folder, train=learn, **{"metrics": {METRIC: "higher"}, **how})


def report(trial: AnyTrial, env: Any, *, every: int, episodes: int = 10) -> Any:
    """Return a callback for `learn` that plays episodes and reports their mean reward to a trial.

    For a training function, or a script, of your own: place `algorithm.policy`, and give this to
    `algorithm.learn`.

    Args:
        trial: What a study gave, or `droplab.trial()`.
        env: An environment to play on, which the algorithm does not learn from.
        every: Steps between two measurements; there is one in the end, too.
        episodes: Episodes of one measurement. They begin alike in every arm.

    Returns:
        A `stable_baselines3.common.callbacks.BaseCallback`.

    Raises:
        BackendError: If stable-baselines3 is not installed.
    """
    evaluate = _package("evaluation").evaluate_policy
    watched = _package("monitor").Monitor(env)
    playing = _package("vec_env").DummyVecEnv([lambda: watched])

    class Report(_package("callbacks").BaseCallback):
        """Tells a trial how the agent plays."""

        last = 0

        def _on_rollout_start(self) -> None:
            # before the first update nothing has dropped yet
            if self.model._n_updates and self.num_timesteps - self.last >= every:
                self._measure()

        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            if self.num_timesteps > self.last:
                self._measure()

        def _measure(self) -> None:
            self.last = self.num_timesteps
            playing.seed(trial.seed)
            mean, _ = evaluate(self.model, playing, n_eval_episodes=episodes)
            trial.report(**{METRIC: mean})

    return Report()


def _package(part: str) -> Any:
    name = f"stable_baselines3.common.{part}"
    return optional(name, install="droplab[stable-baselines3]")


@dataclass(frozen=True)
class _Learn:
    """Trains one trial."""

    make_algorithm: Callable[[int], Any]
    make_env: Callable[[], Any]
    steps: int
    every: int
    episodes: int
    part: str

    @property
    def __wrapped__(self) -> Any:
        """What the training is called after."""
        return self.make_algorithm

    def __call__(self, trial: Trial) -> None:
        algorithm = self.make_algorithm(trial.seed)
        policy = algorithm.policy
        parts = {"policy": policy, **dict(policy.named_children())}
        if not isinstance(parts.get(self.part), nn.Module):
            raise ArgumentError(
                f"part: expected 'policy', or a part of it, got {quote(self.part)}"
                f"{nearest(self.part, parts)}"
            )
        trial.place(parts[self.part])
        env = self.make_env()
        try:
            told = report(trial, env, every=self.every, episodes=self.episodes)
            algorithm.learn(self.steps, callback=told)
        finally:
            env.close()
