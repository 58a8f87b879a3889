"""What a verdict says, as frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from droplab.errors import ArgumentError, nearest
from droplab.verdict._metrics import RunMetrics

Word = Literal["helps", "hurts", "not shown to help", "too few seeds", "unstable"]
TONES: Mapping[Word, str] = {"helps": "yes", "hurts": "no", "unstable": "no"}
"""How a page colours a word: "yes", "no", or not at all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and standard deviation over seeds (NaN for one seed) of one metric of one arm."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The paired difference of one arm to the baseline, in one metric.

    Args:
        arm: Name of the arm.
        metric: Name of the metric.
        n: Number of seeds that both have; 0 if the arm is unstable.
        before: Mean of the baseline over these seeds.
        after: Mean of the arm over the same seeds.
        mean: Mean of arm less baseline.
        low: Lower end of the simultaneous interval.
        high: Upper end of it.
        p: p of the max-T sign-flip test over all arms that have the seeds for a verdict; over
            folds, of the corrected t test.
        better: True or False where the interval excludes 0, None where it does not.
    """

    arm: str
    metric: str
    n: int
    before: float
    after: float
    mean: float
    low: float
    high: float
    p: float
    better: bool | None


@dataclass(frozen=True, slots=True)
class ArmVerdict:
    """One arm: its numbers, and what the primary metric says of it.

    Args:
        name: Name of the arm.
        rates: Its rates, site to p.
        seeds: The seeds it is judged on.
        metrics: Mean and spread of every metric at the judged epoch.
        differences: Difference to the baseline for every metric; empty for the baseline itself.
        word: What the primary metric says; None for the baseline.
        sentence: The same in a sentence.
        seconds: Time per replica, mean over seeds.
        existing: What it does to dropout that the model has: name or pattern, as the recipe writes
            it, to p.
        schedule: How its rates change with the step; "" if they stay.
    """

    name: str
    rates: Mapping[str, float]
    seeds: tuple[int, ...]
    metrics: Mapping[str, Summary]
    differences: Mapping[str, Difference]
    word: Word | None
    sentence: str
    seconds: float
    existing: Mapping[str, float] = field(default_factory=dict[str, float])
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Whether the baseline overfits.

    Args:
        overfits: Whether it does, by the rules of docs/verdict.md.
        gap: By how much its score is better on training than on validation examples at the judged
            epoch, in eval mode: training less validation accuracy, for a classifier.
        best_epoch: Epoch at which its mean validation loss is lowest.
        rise: How far validation loss has risen since, relative to that minimum.
        fall: How far training loss has fallen since, relative to its value then.
        sentence: The same in words.
    """

    overfits: bool
    gap: float
    best_epoch: int
    rise: float
    fall: float
    sentence: str


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """One condition of the target, judged for one arm."""

    metric: str
    op: str
    value: float
    reached: float
    met: bool


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """The target: every condition for every arm, and whether the chosen arm meets them all."""

    met: bool
    met_by: tuple[str, ...]
    arms: Mapping[str, tuple[ConditionVerdict, ...]]
    sentence: str


@dataclass(frozen=True, slots=True)
class Best:
    """The arm with the best mean, and the others that cannot be told apart from it."""

    arm: str
    tied: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class TestVerdict:
    """What the chosen arm and the baseline reached on the test split."""

    __test__ = False  # pytest: a verdict, not a test

    arms: Mapping[str, Mapping[str, Summary]]
    differences: Mapping[str, Difference]
    sentence: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that the run took, all replicas together, and per replica and epoch."""

    seconds: float
    replicas: int
    per_epoch: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run shows, in numbers and in words.

    Args:
        headline: The verdict in one sentence.
        also: What the chosen arm does to the score (to the loss, where the score decides); "" if
            unsaid.
        primary: The metric that decides.
        level: Coverage of the intervals, over all arms at once.
        epoch: The epoch at which arms are judged: the last.
        baseline: Name of the arm that the others are compared with.
        own_dropout: What the model drops by itself in the baseline, and in every arm that does not
            change it: place to p. Empty if nothing, or if the run does not say.
        chosen: The other arm with the best mean of the primary metric, if there is one.
        arms: Every arm, in the recipe's order.
        best: The best of all arms and what cannot be told apart from it.
        diagnosis: Whether the baseline overfits; None without its rows.
        target: Whether the target is met; None if the recipe has none.
        test: Results on the test split; None if it was not touched.
        cost: What the run took.
        caveats: What limits the claim.
        metrics: What was measured: the name, label, direction and unit of each metric.
        folds: Folds of a repeat, where each seed is one of them; None without folds.
    """

    headline: str
    also: str
    primary: str
    level: float
    epoch: int
    baseline: str
    own_dropout: Mapping[str, float]
    chosen: str | None
    arms: tuple[ArmVerdict, ...]
    best: Best | None
    diagnosis: Diagnosis | None
    target: TargetVerdict | None
    test: TestVerdict | None
    cost: Cost
    caveats: tuple[str, ...]
    metrics: RunMetrics
    folds: int | None = None

    def arm(self, name: str) -> ArmVerdict:
        """Return the arm called `name`.

        Raises:
            ArgumentError: If there is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        names = [arm.name for arm in self.arms]
        raise ArgumentError(f"verdict: no arm '{name}'{nearest(name, names)}")

    @property
    def unit(self) -> str:
        """What arms are paired by: "seed", or "fold" (of the same repeat, with the same seed)."""
        return "seed" if self.folds is None else "fold"

    @property
    def without(self) -> str:
        """What the baseline is called in a chart: "without dropout", if it is."""
        return "the model's own dropout" if self.own_dropout else "without dropout"

    def rates_text(self, arm: str) -> str:
        """Write where an arm drops, and at which rate.

        Raises:
            ArgumentError: If there is no such arm.
        """
        found = self.arm(arm)
        used = [f"{site} {rate:g}" for site, rate in found.rates.items() if rate]
        used += [found.schedule] if found.schedule else []
        used += [f"own {name} {rate:g}" for name, rate in found.existing.items()]
        return " · ".join(used) or ("the model's own dropout" if self.own_dropout else "no dropout")

    def to_dict(self) -> dict[str, Any]:
        """Return the same as nested dictionaries that JSON can hold; what is not finite is None."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
