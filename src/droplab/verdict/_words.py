"""The verdict in a few sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from droplab.verdict._arms import NOT_SHOWN, sees_text
from droplab.verdict._constant import Beaten, with_constant
from droplab.verdict._margin import Margin
from droplab.verdict._method import NO_WORD, UNSTABLE, Method, OverFolds
from droplab.verdict._metrics import RunMetrics, WrittenMetric
from droplab.verdict._notes import About
from droplab.verdict._paired import counted, quoted
from droplab.verdict._types import QUESTIONS, ArmVerdict, Difference, Question, Trend, helps


@dataclass(frozen=True)
class Saying:
    """What every sentence of a verdict needs to know.

    Attributes:
        primary: The metric that decides.
        metrics: All that was measured.
        by: How differences are judged.
        about: What is known of data and model.
        margin: The smallest improvement of interest.
        epoch: The epoch at which arms are judged.
        baseline: Name of the baseline.
        once: Whether trials are measured once, at their end, whatever epochs they have.
    """

    primary: WrittenMetric
    metrics: RunMetrics
    by: Method
    about: About
    margin: Margin
    epoch: int
    baseline: str
    once: bool = False

    @property
    def subject(self) -> str:
        """What is judged."""
        if not self.about.is_dropout:
            return f"Changing '{self.about.column}'"
        if not self.about.own_dropout:
            return "Dropout"
        return "Changed dropout" if self.about.changed else "Dropout beyond the model's own"

    @property
    def without(self) -> str:
        """What the baseline is called."""
        named = self.about.own_dropout or not self.about.is_dropout
        return f"with '{self.baseline}'" if named else "without dropout"

    def when(self, question: Question) -> str:
        """What a question is about."""
        return "with early stopping" if question == "stopped" else self.after

    @property
    def after(self) -> str:
        """The epoch at which arms are judged."""
        if self.once:
            return "at the end"
        return f"after {self.epoch} epoch{'s' if self.epoch > 1 else ''}"

    @property
    def on(self) -> str:
        """What the claim rests on."""
        if self.by.rows_vary:
            drawn = "" if isinstance(self.by, OverFolds) else "and splits "
            return f"{drawn}of these examples"
        if not self.about.seen:
            return "on rows that droplab did not measure"
        size = self.about.validation
        n = f"{counted(size)} " if size else ""
        if self.about.validated_on == "searched":
            return "on the validation examples by which a search chose, and this training set"
        never = ", which the search never scored," if self.metrics.fresh else ""
        return f"on these {n}{self.metrics.examples} examples{never} and this training set"


@dataclass(frozen=True)
class _Answers:
    """What every arm with dropout answers to one question, the best mean first."""

    question: Question
    arms: tuple[tuple[str, str, Difference], ...]  # name, word, difference

    @classmethod
    def of(cls, question: Question, arms: Sequence[ArmVerdict], say: Saying) -> _Answers:
        found: list[tuple[str, str, Difference]] = []
        for arm in arms:
            if question == "stopped" and arm.stopped and arm.stopped.difference:
                found.append((arm.name, arm.stopped.word or "", arm.stopped.difference))
            elif question == "budget":
                found.append((arm.name, arm.word or "", arm.differences[say.primary.name]))
        sign = -1 if say.primary.higher_is_better else 1
        found.sort(key=lambda each: sign * each[2].mean if math.isfinite(each[2].mean) else 0)
        found.sort(key=lambda each: not math.isfinite(each[2].mean))
        return cls(question, tuple(found))

    @property
    def judged(self) -> tuple[tuple[str, str, Difference], ...]:
        return tuple(each for each in self.arms if each[1] not in NO_WORD)

    @property
    def hurting(self) -> list[str]:
        return [name for name, word, _ in self.arms if word == "hurts"]

    @property
    def leading(self) -> tuple[str, str, Difference]:
        """The arm that the answer is about: the best that helps, else the best of the others."""
        helping = [each for each in self.judged if helps(each[1])]
        others = [each for each in self.judged if each[1] != "hurts"]
        return (helping or others or self.judged)[0]

    @property
    def phrase(self) -> str:
        """What dropout as a whole does."""
        if helps(self.leading[1]):
            said = {word for _, word, _ in self.judged if helps(word)}
            return "helps" if "helps" in said else self.leading[1]
        whole = len(self.judged) == len(self.arms)
        if whole and len(self.hurting) == len(self.arms):
            return "hurts"
        absent = [word for _, word, _ in self.arms if word.startswith("does not help")]
        if absent and len(absent) + len(self.hurting) == len(self.arms):
            return absent[0]
        return f"is {NOT_SHOWN}"


def headline(
    arms: Sequence[ArmVerdict],
    best: str | None,
    questions: Sequence[Question],
    gain: Difference | None,
    beside: Sequence[Beaten],
    say: Saying,
) -> str:
    """Return the verdict on dropout as a whole: what it does, by how much, and on what it rests.

    Args:
        arms: Every arm; the baseline is the one without a word.
        best: The arm with the best mean, the baseline among the candidates; None if there is none.
        questions: What was asked, and could be.
        gain: What stopping the baseline early does to it, if it is known.
        beside: What the arms do beside a constant answer.
        say: What every sentence needs.
    """
    others = [arm for arm in arms if arm.word is not None]
    said = _on_dropout(others, questions, gain, say)
    return with_constant(said, beside, best, [arm.name for arm in arms], say.metrics)


def _on_dropout(
    others: Sequence[ArmVerdict],
    questions: Sequence[Question],
    gain: Difference | None,
    say: Saying,
) -> str:
    if not others:
        return "There is no arm but the baseline, so there is nothing to compare."
    answers = [_Answers.of(question, others, say) for question in questions]
    spoken = [each for each in answers if each.judged]
    if not spoken:
        return _no_verdict(answers[0], say)
    texts = [_numbers(each, spoken, say) for each in spoken]
    if gain is not None and "stopped" in questions:
        texts.append(_gain(gain, say))
    return f"{_lead(spoken, say)}: {'. '.join(texts)}. {_ground(spoken, say)}."


def _no_verdict(answers: _Answers, say: Saying) -> str:
    few = [each for each in answers.arms if each[1] != UNSTABLE]
    if not few:
        return (
            "No verdict: every arm but the baseline had a loss that became NaN or infinite on some "
            f"{say.by.unit}."
        )
    name, _, found = few[0]
    if not found.n:
        return f"No verdict: '{name}' has {say.by.too_few(found.n)}."
    so_far = _values(name, found, say)
    when = "with early stopping" if answers.question == "stopped" else say.after
    if say.by.spent:
        return f"No verdict: {say.by.spent}. Over {say.by.count(found.n)}, {when} {so_far}."
    return f"No verdict yet: {say.by.too_few(found.n)}. So far, {when} {so_far}."


def _lead(spoken: Sequence[_Answers], say: Saying) -> str:
    first, *more = spoken
    if not more:
        return f"{say.subject} {first.phrase} {say.when(first.question)}"
    (second,) = more
    if first.phrase == second.phrase:
        both = f"{say.when(first.question)} and {say.when(second.question)}"
        return f"{say.subject} {first.phrase}, {both}"
    when = say.when(first.question)
    return (
        f"{when[0].upper()}{when[1:]} {say.subject[0].lower()}{say.subject[1:]} {first.phrase}, "
        f"{say.when(second.question)} it {second.phrase}"
    )


def _values(name: str, found: Difference, say: Saying) -> str:
    before, after = say.primary.apart(found.before, found.after)
    if found.mean == 0:
        after = before
    return f"{say.primary.label} is {before} {say.without} and {after} with '{name}'"


def _numbers(answers: _Answers, spoken: Sequence[_Answers], say: Saying) -> str:
    """Say what the leading arm reached, and what that shows or does not."""
    name, word, found = answers.leading
    percent = f"{100 * say.by.level:g} %"
    change = say.primary.difference(found.mean)
    interval = say.primary.interval(found.low, found.high)
    first, *more = spoken
    if answers is first:
        when = f"{say.when(answers.question)} " if more else ""
        at_best = "" if len(answers.arms) == 1 or helps(word) else ", at best"
        text = f"{when}{_values(name, found, say)}{at_best}"
        text += f", a difference of {change} ({percent} interval {interval})"
    else:
        before, after = say.primary.apart(found.before, found.after)
        mine = "" if name == first.leading[0] else f" with '{name}'"
        text = f"Stopped early it is {before} and {after}{mine} ({change}, {interval})"
    if found.low == found.high == 0:
        text += f"; it is exactly the same on every {say.by.unit}"
    elif word == NOT_SHOWN:
        same = [d for _, w, d in answers.judged if w == NOT_SHOWN and not d.low == d.high == 0]
        text += f"; {sees_text(same, say.primary, say.by)}"
    elif word.startswith("does not help"):
        every = "" if len(answers.arms) == 1 else " by any arm"
        text += f"; an improvement by {say.margin.text} or more{every} is excluded"
    hurting = [each for each in answers.hurting if each != name]
    if hurting and not helps(word) and answers.phrase != "hurts":
        text += f"; {quoted(hurting)} {'hurts' if len(hurting) == 1 else 'hurt'}"
    silent = [each[0] for each in answers.arms if each[1] in NO_WORD]
    if silent and not helps(word):
        text += f"; there is no verdict on {quoted(silent)}"
    return text


def _gain(gain: Difference, say: Saying) -> str:
    """Say what stopping early does to the baseline, without a word on dropout."""
    better = gain.mean if say.primary.higher_is_better else -gain.mean
    if gain.low == gain.high == 0:
        return "Stopping the baseline early changes nothing"
    ends = (gain.low, gain.high) if say.primary.higher_is_better else (-gain.high, -gain.low)
    verb = "gains" if better >= 0 else "loses"
    if better < 0:
        ends = (-ends[1], -ends[0])
    return (
        f"Stopping the baseline by itself {verb} {say.primary.size(better)} "
        f"({say.primary.interval(*ends)})"
    )


def _ground(spoken: Sequence[_Answers], say: Saying) -> str:
    """Say how many pairs and which examples the claim rests on, and what the latter add."""
    found = [each.leading[2] for each in spoken]
    pairs = say.by.count(min(each.n for each in found))
    comma = " " if say.by.rows_vary else ", "
    ground = f"over {pairs}{comma}{say.on}"
    wide = [each for each in found if math.isfinite(each.wide_low)]
    if len(wide) < len(found):
        return f"Measured {ground}"
    texts = [say.primary.interval(each.wide_low, each.wide_high) for each in wide]
    holds = [each.wide_low <= 0 <= each.wide_high and each.better is not None for each in wide]
    if len(texts) == 1:
        said = f"the interval is {texts[0]}{', which holds 0' if holds[0] else ''}"
    else:
        said = f"the intervals are {texts[0]} and {texts[1]}"
        both, one = ", which both hold 0", f", and the {('first', 'second')[holds[1]]} holds 0"
        said += both if all(holds) else one if any(holds) else ""
    return f"With the error of the examples themselves {said}; measured {ground}"


def trend_text(trends: Sequence[Trend], say: Saying) -> str:
    """Say how the metric changes along the rates, where that was shown; else nothing."""
    said: list[str] = []
    for question in QUESTIONS:
        clear = {
            each.shape: each
            for each in trends
            if each.question == question and each.p <= 1 - say.by.level
        }
        if not clear:
            continue
        how = [
            {True: "rises", False: "falls"}[clear["linear"].mean > 0] if "linear" in clear else "",
            "bends" if "quadratic" in clear else "",
        ]
        said.append(f"{say.when(question)} {say.primary.label} {' and '.join(filter(None, how))}")
    if not said:
        return ""
    first, *rest = said
    where = f"; {rest[0]} with it" if rest else ""
    return f"The rate matters: {first} with it{where}."


def also(chosen: ArmVerdict | None, say: Saying) -> str:
    """Return what the chosen arm does to the score, or to the loss where the score decides.

    One of them alone is easily taken for the other: dropout often helps the first to no avail of
    the second.
    """
    metric = say.metrics.partner(say.primary)
    if chosen is None or chosen.word in NO_WORD or metric == say.primary:
        return ""
    found = chosen.differences[metric.name]
    if found.n == 0:
        return ""
    before, after = metric.apart(found.before, found.after)
    said = f"{metric.title} with '{chosen.name}' is {after} against {before}"
    if found.low == found.high == 0:
        return f"{said}, the same on every {say.by.unit}."
    holds = ", which holds 0" if found.better is None else ""
    return (
        f"{said}, a difference of {metric.difference(found.mean)} "
        f"({100 * say.by.level:g} % interval {metric.interval(found.low, found.high)}{holds})."
    )
