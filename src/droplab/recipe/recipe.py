"""The recipe: everything that determines an experiment, as pure data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, replace
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, model_validator

from droplab.errors import RecipeError, nearest, quote
from droplab.limits import ARMS, USUAL_SEEDS
from droplab.recipe._digest import digest
from droplab.recipe._loop import LoopSpec
from droplab.recipe._losses import LOSSES
from droplab.recipe._metrics import Measure, Metric, metrics_of, test_metrics_of
from droplab.recipe._spec import spec
from droplab.recipe._tasks import FURTHER, TASKS
from droplab.recipe._values import (
    Accumulated,
    AsTuple,
    Count,
    Filled,
    Label,
    Looks,
    Norm,
    OneTask,
    Precision,
    Scored,
    Seeds,
    Share,
    Size,
    Text,
    check_repeats,
)
from droplab.recipe.data import DataSpec, stops_on_fold
from droplab.recipe.specs import Arm, ModelSpec
from droplab.recipe.target import Target, nearest_metric
from droplab.recipe.training import (
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    SchedulerSpec,
    StoppingSpec,
)

DEFAULT_SEEDS = tuple(range(USUAL_SEEDS))
"""Eight seeds: enough for an exact sign-flip test to speak at 5 %, and cheap."""

SCORE_TRAIN = 10_000
"""Training examples that are scored after each epoch, if a recipe does not say how many."""

MARGIN = 0.05
"""The smallest improvement of interest, as a share of the baseline's distance from perfect."""


def _not_of_this_task(place: str, name: str, task: str | None, own: Mapping[str, Metric]) -> str:
    others = [each for each in TASKS if name in metrics_of(TASKS[each])]
    if not others:
        return f"{place}: expected a metric, got {quote(name)}{nearest_metric(name, own)}"
    text = f"{place}: expected a metric of {task or 'classification'}, got '{name}'"
    if task is None:  # what the targets would tell is not known yet
        return f'{text}; write task = "{others[0]}" if that is what is learned'
    return f"{text}{nearest(name, own)}"


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _arms(arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
    if not arms:
        raise ValueError("expected at least one arm, the baseline, got none")
    if len(arms) > ARMS:
        raise ValueError(f"expected at most {ARMS} arms, got {len(arms)}")
    twice = [name for name, count in Counter(arm.name for arm in arms).items() if count > 1]
    if twice:
        raise ValueError(f"expected different names, got {_quoted(twice)} more than once")
    return arms


def _check_baseline(arms: tuple[Arm, ...]) -> None:
    baselines = [arm.name for arm in _baselines(arms)]
    if len(baselines) != 1:
        raise ValueError(
            "arms: expected exactly one baseline, an arm without rates, to compare the others "
            "with, got "
            + (f"{len(baselines)} ({_quoted(baselines)})" if baselines else "none")
            + ("; keep one of them" if baselines else "; add one with nothing but a name")
        )


def _further(value: Any) -> Any:
    """Return a list of metrics in which a bare name stands for itself."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list of metrics, got {quote(value)}; write it in [brackets]")
    items = cast("list[Any]", value)
    return tuple({"name": item} if isinstance(item, str) else item for item in items) or None


def _baselines(arms: Sequence[Arm]) -> list[Arm]:
    """The arms that leave the model as it is; without one, those that switch all dropout off."""
    bare = [arm for arm in arms if arm.is_baseline]
    return bare or [arm for arm in arms if arm.drops_nothing]


@spec
class Recipe:
    """One experiment: data, model, optimizer, length, seeds, arms and target.

    The arms may differ in nothing but dropout: that is the shape of the class, not a promise.
    All arguments are keyword-only.

    Args:
        name: What the command line and the reports call it.
        title: One line for people.
        story: What is wrong and what may be changed.
        hints: What to try, from gentle to telling.
        data: Which data.
        model: Which model.
        optimizer: Which optimizer.
        clip: Largest norm of a model's gradient, above which it is scaled down; None: none.
        scheduler: How the learning rate changes from epoch to epoch; None: it does not.
        epochs: Passes over the training examples.
        batch_size: Examples that go through the model together.
        accumulate: How many such mini-batches a step of the optimizer has; None: one.
        precision: "bfloat16" to compute the model's forward so, by torch's autocast; weights, loss
            and optimizer stay float32. None: all in float32.
        seeds: One run an arm for each of them. Left out: `DEFAULT_SEEDS`, or with `data.folds` one
            repeat. With folds a seed is a unit, one fold of one repeat, and repeats are whole.
        arms: Where dropout goes, one baseline among them.
        target: What an arm has to reach, or None.
        primary: The metric that decides, one of `metrics`.
        margin: The smallest improvement of interest, as a share of the baseline's distance from
            perfect (from 0 for a loss or an error, from 1 for a score); None: `MARGIN`.
        margin_size: The same in the unit of `primary`, where a share of it means nothing (a loss
            that can be negative); None: `margin` counts.
        score_train: How many training examples are scored in eval mode after each epoch, always
            the same ones, or "all"; after the last epoch it is all. None: at most `SCORE_TRAIN`.
        task: What is learned: one of `TASKS`. None: the targets tell when they are read, if they
            leave no doubt; until then it counts as classification.
        loss: What is made small; None: the usual loss of the task.
        also_measure: Metrics beside those of the task: names of `FURTHER`, or one's own.
        stopping: Which epoch early stopping keeps; unless it says otherwise, the best of all.
        loop: Somebody's own loop, in place of data, model, optimizer and batch size; see
            `own_loop`. `droplab.run` cannot train such a recipe.
        looks: How often the verdict is looked at: 2 where more seeds may follow the first ones.

    Raises:
        RecipeError: If a value is impossible, naming every problem at once.

    Example:
        >>> recipe = Recipe(
        ...     name="tiny", data=DataSpec("digits", validation=400), model=ModelSpec("mlp"),
        ...     optimizer=OptimizerSpec("Adam"), epochs=3, batch_size=32,
        ...     arms=(Arm("none"), Arm("half", {"fc2": 0.5})),
        ... )
        >>> recipe.baseline.name, recipe.primary, len(recipe.seeds)
        ('none', 'val_loss', 8)
    """

    _: KW_ONLY
    name: Label
    title: Text = ""
    story: Text = ""
    hints: Annotated[tuple[Text, ...], AsTuple] = ()
    data: DataSpec
    model: ModelSpec
    optimizer: OptimizerSpec
    epochs: Count
    batch_size: Count
    seeds: Seeds = ()
    arms: Annotated[tuple[Arm, ...], AsTuple, AfterValidator(_arms)]
    target: Target | None = None
    primary: Filled = "val_loss"
    margin: Share | None = None
    margin_size: Size | None = None
    clip: Norm | None = None
    scheduler: SchedulerSpec | None = None
    score_train: Scored = None
    task: OneTask = None
    loss: LossSpec | None = None
    also_measure: Annotated[tuple[MetricSpec, ...] | None, BeforeValidator(_further)] = None
    stopping: StoppingSpec = StoppingSpec()
    accumulate: Accumulated = None
    precision: Precision = None
    loop: LoopSpec | None = None
    looks: Looks = 1

    @model_validator(mode="after")
    def _check_arms(self) -> Recipe:
        if self.loop is not None and self.loop.baseline is not None:
            self.arm(self.loop.baseline)
        else:
            _check_baseline(self.arms)
        return self

    @model_validator(mode="after")
    def _check_seeds(self) -> Recipe:
        folds = self.data.folds
        if not self.seeds:  # left out
            own = DEFAULT_SEEDS if folds is None else tuple(range(folds))
            object.__setattr__(self, "seeds", own)
        if folds is not None:
            check_repeats(self.seeds, folds, "data.folds" if self.loop is None else "folds")
        if folds is not None and self.loop is None and self.data.stop_on_fold is None:
            held = stops_on_fold(None, folds, self.primary)
            object.__setattr__(self, "data", replace(self.data, stop_on_fold=held))
        return self

    @model_validator(mode="after")
    def _check_margin(self) -> Recipe:
        if self.margin is not None and self.margin_size is not None:
            raise ValueError("margin: expected margin or margin_size, got both; keep one")
        return self

    @model_validator(mode="after")
    def _check_metrics(self) -> Recipe:
        if self.loop is None:
            self._check_further()
        conditions = self.target.conditions if self.target else ()
        named = [("primary", self.primary), *(("target", each.metric) for each in conditions)]
        for place, name in named:
            if name not in self.metrics:
                if self.loop is not None:
                    raise ValueError(
                        f"{place}: expected one of the metrics that are declared, got "
                        f"{quote(name)}{nearest(name, self.metrics)}"
                    )
                raise ValueError(_not_of_this_task(place, name, self.task, self.metrics))
        for condition in conditions:
            if self.metrics[condition.metric].fraction:
                condition.check_fraction()
        if (
            self.loop is None
            and self.data.stop_on_fold
            and (self._decides is None or (self.primary, self.task) == ("val_nll", "regression"))
        ):
            raise ValueError(
                f"data.stop_on_fold: expected a primary metric of the examples of one fold, got "
                f"{quote(self.primary)}, which training examples have a part in; leave it out"
            )
        if self.metrics[self.primary].fraction and self.stopping.min_gain >= 1:
            raise ValueError(
                f"stopping.min_gain: expected a fraction below 1, as {self.primary} is one, got "
                f"{quote(self.stopping.min_gain)}; a percentage point is 0.01"
            )
        if self.loss is not None and (self.task or "classification") not in self.loss.tasks:
            own = self.loss.tasks
            hint = f"; it is a loss of {' and '.join(own)}"
            if self.task is None:
                hint += f': write task = "{own[0]}" if that is what is learned'
            else:
                fit = [name for name, known in LOSSES.items() if self.task in known.tasks]
                hint += f", and of {self.task} there is {' or '.join(fit)}"
            raise ValueError(
                f"loss: expected a loss of {self.task or 'classification'}, got "
                f"'{self.loss.name}'{hint}"
            )
        return self

    def _check_further(self) -> None:
        task = self.task or "classification"
        known = [measure.name for measure in FURTHER[task]]
        taken = {measure.name for measure in TASKS[task]}
        for each in self.also_measure or ():
            if each.name in taken or (each.path is not None and each.name in known):
                raise ValueError(
                    f"also_measure: '{each.name}' is measured already, or is a name of droplab's "
                    "own; take another"
                )
            if each.path is None and each.name not in known:
                have = f"its own are {', '.join(known)}" if known else "it has none"
                raise ValueError(
                    f"also_measure: {task} has no further metric {quote(each.name)}; {have}, and "
                    "one of yours needs a path"
                )
            taken.add(each.name)

    @property
    def baseline(self) -> Arm:
        """The arm to compare with.

        It is the one that leaves the model as it is; or, without such an arm, the one that has
        only zeros, `existing` among them.
        """
        named = self.loop and self.loop.baseline
        return _baselines(self.arms)[0] if named is None else self.arm(named)

    @property
    def reports_once(self) -> bool:
        """Whether each trial of a loop is measured once, at its end."""
        return self.loop is not None and self.epochs == 1

    @property
    def step_size(self) -> int:
        """Examples that a step of the optimizer is made of, save the last one of an epoch."""
        return self.batch_size * (self.accumulate or 1)

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site, or pattern of sites, that some arm names, in order of first appearance."""
        return tuple(dict.fromkeys(site for arm in self.arms for site in arm.rates))

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What is measured on each split: the loss, the score, and others."""
        task = self.task or "classification"
        named = {measure.name: measure for measure in FURTHER[task]}
        more = (
            named[each.name] if each.path is None else each.measure
            for each in self.also_measure or ()
        )
        return (*TASKS[task], *more)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What is measured after every epoch, by name; of an own loop, what decides comes first."""
        if self.loop is not None:
            return self.loop.measured(self.primary)
        held = {} if self._held is None else {self._held.stopping.name: self._held.stopping}
        return {**metrics_of(self.measures), **held}

    @property
    def _decides(self) -> Measure | None:
        """What the primary metric is on the validation examples alone; None of any other."""
        return next((m for m in self.measures if m.validation.name == self.primary), None)

    @property
    def _held(self) -> Measure | None:
        return self._decides if self.data.stop_on_fold else None

    @property
    def stops_by(self) -> str:
        """The metric by which early stopping chooses an epoch: the primary one, of its own fold."""
        return self.primary if self._held is None else self._held.stopping.name

    @property
    def test_metrics(self) -> Mapping[str, Metric]:
        """What is measured once, on the test split, by name; of an own loop, nothing."""
        return {} if self.loop is not None else test_metrics_of(self.measures)

    @property
    def level(self) -> float:
        """Coverage of a verdict's intervals: all looks together may be wrong in 5 % of runs."""
        return 1 - 0.05 / self.looks

    @property
    def digest(self) -> str:
        """SHA-256 over everything that determines the rows and the question.

        Two runs with the same digest are the same experiment. Name, title, story and hints do not
        count, nor does the order of keys or the spelling of a number (1 and 1.0).
        """
        return digest(self)

    def selected(self, names: Sequence[str] | None) -> tuple[Arm, ...]:
        """Return the arms that are asked for by name, in the recipe's order; all if none is.

        Raises:
            RecipeError: If a name is not an arm.
        """
        for name in names or ():
            if name not in (known := [arm.name for arm in self.arms]):
                raise RecipeError(
                    f"arm: expected an arm of {self.name}, got {quote(name)}{nearest(name, known)}"
                )
        return tuple(arm for arm in self.arms if not names or arm.name in names)

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`.

        Raises:
            RecipeError: If there is none.
        """
        known = {arm.name: arm for arm in self.arms}
        if name in known:
            return known[name]
        raise RecipeError(f"{self.name}: no arm '{name}'{nearest(name, known)}")
