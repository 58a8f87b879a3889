"""What a verdict says, as frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from droplab.errors import ArgumentError, nearest
from droplab.verdict._metrics import RunMetrics

Question = Literal["budget", "stopped"]
QUESTIONS: tuple[Question, ...] = get_args(Question)
"""What can be asked of an arm: whether it helps after all epochs, and whether it helps where each
replica is stopped early."""

Word = str
"""What is said of an arm: "helps", "helps, by less than 5 %", "hurts", "does not help by 5 % or
more", "not shown to help", "too few seeds", "seeds added" or "unstable"; the 5 % are the recipe's
margin."""


def tone(word: Word | None) -> str:
    """Return how a page colours a word: "yes", "no", or "" for not at all.

    Example:
        >>> tone("helps, by less than 5 %"), tone("hurts"), tone("not shown to help")
        ('yes', 'no', '')
    """
    if word is None:
        return ""
    return "yes" if helps(word) else "no" if word in ("hurts", "unstable") else ""


def helps(word: Word | None) -> bool:
    """Return whether a word says that an arm helps, by however much."""
    return word is not None and word.startswith("helps")


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
        p: p of the max-T sign-flip test over all arms that have the seeds for a verdict, and for
            the metric that decides over all that is asked of them; over folds, of the corrected t
            test.
        better: True or False where the interval excludes 0, None where it does not.
        wide_low: Lower end of the interval with the examples' own error; NaN where it is unknown.
        wide_high: Upper end of it.
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
    wide_low: float = math.nan
    wide_high: float = math.nan


@dataclass(frozen=True, slots=True)
class StoppedArm:
    """One arm where each replica is stopped early: see docs/verdict.md.

    Args:
        summary: Mean and spread of the metric that decides.
        difference: Difference to the baseline, stopped early as well; None for the baseline.
        word: What it says; None for the baseline.
        sentence: The same in a sentence.
        epochs: The epoch at which all validation examples stop a replica, by seed.
        values: The metric that decides, by seed.
    """

    summary: Summary
    difference: Difference | None
    word: Word | None
    sentence: str
    epochs: Mapping[int, int]
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Trend:
    """How the metric that decides changes along the rates of a sweep over one rate.

    Args:
        question: What was asked.
        shape: "linear" (it rises or falls) or "quadratic" (it bends).
        mean: Mean of the contrast over seeds: above 0 where the metric rises with the rate, or is
            larger at both ends than in the middle.
        p: As that of a `Difference`, in the same family.
    """

    question: Question
    shape: str
    mean: float
    p: float


@dataclass(frozen=True, slots=True)
class ClassRecall:
    """The recall of one class, of one arm beside the baseline: the share of it that is found.

    Args:
        label: The class.
        examples: How many validation examples have it, the mean over seeds.
        difference: The paired difference to the baseline; its interval and p are over all classes
            and arms at once.
    """

    label: str
    examples: float
    difference: Difference


@dataclass(frozen=True, slots=True)
class ArmVerdict:
    """One arm: its numbers, and what the primary metric says of it.

    Args:
        name: Name of the arm.
        rates: Its rates, site to p.
        seeds: The seeds it is judged on.
        metrics: Mean and spread of every metric at the judged epoch.
        differences: Difference to the baseline for every metric; empty for the baseline itself.
        word: What the primary metric says after all epochs (where each replica is stopped early, if
            only that is asked); None for the baseline.
        sentence: The same in a sentence.
        seconds: Time per replica, mean over seeds.
        existing: What it does to dropout that the model has: name or pattern, as the recipe writes
            it, to p.
        schedule: How its rates change with the step; "" if they stay.
        stopped: The same where each replica is stopped early; None where that is not asked, or the
            run has not what it takes.
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
    stopped: StoppedArm | None = None

    @property
    def words(self) -> tuple[Word, ...]:
        """What is said of it, to each question in order; nothing for the baseline."""
        if self.word is None:
            return ()
        later = self.stopped.word if self.stopped else None
        return (self.word,) if later is None else (self.word, later)

    @property
    def said(self) -> tuple[tuple[Word, str], ...]:
        """Each word and how a table has it, as the second is about early stopping."""
        texts = [f"stopped early: {w}" if i else w for i, w in enumerate(self.words)]
        return tuple(zip(self.words, texts, strict=True))

    @property
    def helps(self) -> bool:
        """Whether it helps by the answer to any question."""
        return any(helps(word) for word in self.words)


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
    """What the chosen arm and the baseline reached on the test split.

    Args:
        arms: Mean and spread of every metric.
        differences: Difference of the chosen arm to the baseline in every metric.
        sentence: The same in words, and what stopping early gave.
        early: The same where replicas were stopped early; None where that is not known.
    """

    __test__ = False  # pytest: a verdict, not a test

    arms: Mapping[str, Mapping[str, Summary]]
    differences: Mapping[str, Difference]
    sentence: str
    early: TestVerdict | None = None


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
        also: What belongs beside it: what the chosen arm does to the score (to the loss, where the
            score decides), how the metric changes with the rate, and which words would not stand
            if differences were skewed, of which classes the recall falls; "" if none of it is said.
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
        questions: What was asked and could be answered.
        gain: What stopping the baseline early does to it; no p, since it is no question.
        margin: The smallest improvement of interest, as words have it: "5 %".
        trends: How the metric changes along the rates, if the arms differ in one rate alone.
        recalls: The recall of each class at the judged epoch, arm by arm; empty where the run does
            not know it.
        once: Whether trials are measured once, at their end, whatever epochs they have.
        column: In what arms of rows from elsewhere differ, if not in dropout; "" if in that.
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
    questions: tuple[Question, ...] = ("budget",)
    gain: Difference | None = None
    margin: str = ""
    trends: tuple[Trend, ...] = ()
    recalls: tuple[ClassRecall, ...] = ()
    once: bool = False
    column: str = ""

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

    def __str__(self) -> str:
        """Write the verdict and what limits it, a line each."""
        notes = [f"Note: {each}" for each in self.caveats]
        return "\n".join([self.headline, *filter(None, [self.also]), *notes])

    @property
    def unit(self) -> str:
        """What arms are paired by: "seed", or "fold" (of the same repeat, with the same seed)."""
        return "seed" if self.folds is None else "fold"

    @property
    def at_once(self) -> str:
        """What the intervals of the metric that decides hold for together."""
        both = " and both questions" if len(self.questions) > 1 else ""
        return f"over all arms{both} at once"

    @property
    def when(self) -> str:
        """When arms are judged, as a table has it."""
        return "at the end" if self.once else f"after epoch {self.epoch}"

    @property
    def without(self) -> str:
        """What the baseline is called in a chart: "without dropout", if it is."""
        own = "the model's own dropout" if self.own_dropout else "without dropout"
        return self.rates_text(self.baseline) if self.column else own

    def rates_text(self, arm: str) -> str:
        """Write where an arm drops, and at which rate.

        Raises:
            ArgumentError: If there is no such arm.
        """
        found = self.arm(arm)
        named = len(self.arms) > 1 and not any(each.rates or each.existing for each in self.arms)
        if self.column or named:  # of rows from elsewhere, arms may have nothing but names
            return f"{self.column} {arm}" if self.column else "rates not given"
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
