"""Training as the tutorials write it against droplab, seconds per epoch.

Both train the same network on the same data, one arm and one seed, and score it on the validation
images after each epoch. droplab also scores the training images in eval mode and writes row,
checkpoint and weights to disk, as it does for its users. The two take turns, so that what else the
machine does hits both. Then a convolutional network, and networks of one's own classes, against the
loop of a careful practitioner, with everything in memory and scored alike. Then the training loop
alone, in memory, against JAX's jitted loop of one model (`pip install jax`). `--quick` trains on a
tenth of the images.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import _loops
import torch
from _harness import Benchmark, Elsewhere, peak_bytes
from _populations import data_of, jax_population
from _tutorials import TUTORIALS, train
from torch import nn

from droplab.data import Split, Splits
from droplab.recipe import Recipe, load
from droplab.results import EpochRow
from droplab.studies import Experiment, Observer, choose_plan, resolve, run
from droplab.studies import _run as driver
from droplab.studies._scoring import with_recipe
from droplab.train import EpochResult, ExecutionPlan, Single, batch_order, fit, initial_model
from droplab.train.streams import scored_examples
from droplab.train.timing import usable_threads

TARGETS = {"fashion-tutorial": (3.5, 6.0), "mnist-mlp": (5.0, 40.0)}
"""The ratio to reach, and the one to aim for."""


class Clock(Observer):
    """Notes when each row was safe on disk, and lets the rival take its turn between rows."""

    def __init__(self, turn: Any) -> None:
        self.turn = turn
        self.seconds: list[float] = []
        self.rows: list[EpochRow] = []
        self.began = 0.0

    def started(self, recipe: Recipe, folder: Path, plan: Any, steps: int, steps_done: int) -> None:
        self.began = perf_counter()

    def epoch_done(self, row: EpochRow) -> None:
        self.seconds.append(perf_counter() - self.began)
        self.rows.append(row)
        self.turn()
        self.began = perf_counter()


def measure(bench: Benchmark, name: str, splits: Splits, epochs: int) -> None:
    """Train both ways in turns and add a row."""
    recipe = load(name)
    arm = recipe.arms[-1]
    recipe = dataclasses.replace(recipe, epochs=epochs, seeds=recipe.seeds[:1])
    rival = Elsewhere(train, TUTORIALS[name], *data_of(splits), recipe.seeds[0])
    theirs: list[tuple[float, float]] = []
    clock = Clock(lambda: theirs.append(next(rival)))
    with _Only(recipe, splits), tempfile.TemporaryDirectory() as folder:
        plan = choose_plan(driver.resolve(recipe), [arm])
        run(recipe, Path(folder) / "run", arms=[arm.name], plan=plan, observer=clock)
    tutorial = TUTORIALS[name]
    form = f"its loop, num_workers={tutorial.workers}"
    bench.add(
        f"{name}, one epoch",
        f"the tutorial ({form})",
        clock.seconds,
        [seconds for seconds, _ in theirs],
        train_images=len(splits.train),
        epochs=epochs,
        ours_accuracy=clock.rows[-1].val_accuracy,
        theirs_accuracy=theirs[-1][1],
        plan=plan.to_dict(),
        reach=TARGETS[name][0],
        aim=TARGETS[name][1],
        peak_memory_bytes=peak_bytes(),
        readme=not bench.quick,
    )
    bench.say(
        f"  validation accuracy after {epochs} epochs: tutorial {theirs[-1][1]:.2%}, "
        f"droplab {clock.rows[-1].val_accuracy:.2%}"
    )


class _Only:
    """Lets `run` see only a part of the recipe's data, for `--quick`."""

    def __init__(self, recipe: Recipe, splits: Splits) -> None:
        self.splits = splits

    def __enter__(self) -> None:
        self.real = driver.resolve
        splits = self.splits

        def resolved(*args: Any, **kwargs: Any) -> Any:
            return dataclasses.replace(self.real(*args, **kwargs), splits=splits)

        driver.resolve = resolved

    def __exit__(self, *_: object) -> None:
        driver.resolve = self.real


def in_memory(
    name: str, splits: Splits, epochs: int
) -> tuple[Experiment, ExecutionPlan, Callable[[Experiment], Iterator[EpochResult]]]:
    """The recipe with one seed, its plan, and how to train its last arm, nothing written."""
    recipe = dataclasses.replace(load(name), epochs=epochs, seeds=load(name).seeds[:1])
    with _Only(recipe, splits):
        experiment = driver.resolve(recipe)
        plan = choose_plan(experiment, recipe.arms[-1:])

    def train_one(source: Experiment) -> Iterator[EpochResult]:
        for epoch in fit(
            source.executor(recipe.arms[-1:], recipe.seeds, plan),
            splits.train,
            splits.validation,
            seeds=recipe.seeds,
            epochs=epochs,
            batch_size=recipe.batch_size,
            plan=plan,
        ):
            for result in epoch.results:
                assert result is not None  # it would have diverged
                yield result

    return experiment, plan, train_one


def against_jax(bench: Benchmark, name: str, splits: Splits, rounds: int) -> None:
    """Train an epoch of one model here and one in JAX's jitted loop, in turns; add a row."""
    try:
        import jax  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError:
        bench.skip("JAX", "not installed")
        return
    experiment, plan, train_one = in_memory(name, splits, rounds + 1)
    tutorial = TUTORIALS[name]
    options = (tutorial.widths, tutorial.lr, tutorial.batch_size)
    rate = max(experiment.rates[experiment.recipe.arms[-1].name].values())
    rival = jax_population(*options, *data_of(splits), 1, [rate])
    ours, scoring = train_one(experiment), Scoring()
    next(ours)  # both record or compile in their first epoch
    next(rival)
    mine: list[float] = []
    steps: list[float] = []
    theirs: list[float] = []
    accuracies = (0.0, 0.0)
    for _ in range(rounds):
        with scoring:
            result = next(ours)
        mine.append(result.seconds)
        steps.append(result.seconds - scoring.seconds)
        seconds, accuracy = next(rival)
        theirs.append(seconds)
        accuracies = (result.validation["accuracy"], accuracy)
    for what, own in (("one epoch in memory", mine), ("its steps alone", steps)):
        bench.add(
            f"{name}, {what}",
            "JAX, jitted loop of one model",
            own,
            theirs,
            train_images=len(splits.train),
            ours_accuracy=accuracies[0],
            theirs_accuracy=accuracies[1],
            plan=plan.to_dict(),
        )


class Scoring:
    """Measures the seconds that `fit` spends on scores inside the block."""

    seconds = 0.0

    def __enter__(self) -> None:
        self.seconds = 0.0
        self.real = Single.score

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            score = self.real(*args, **kwargs)
            self.seconds += perf_counter() - began
            return score

        Single.score = timed

    def __exit__(self, *_: object) -> None:
        Single.score = self.real


def cost_of_dropout(bench: Benchmark, name: str, splits: Splits, rounds: int) -> None:
    """Train an epoch with dropout at work and one without sites, in turns; add a row."""
    experiment, plan, train_one = in_memory(name, splits, rounds)
    rates = {arm.name: {} for arm in experiment.recipe.arms}
    bare = dataclasses.replace(experiment, rates=rates)
    runs = {"with": train_one(experiment), "without": train_one(bare)}
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for label in itertools.islice(itertools.cycle(runs), 2 * rounds):
        seconds[label].append(next(runs[label]).seconds)
    extra = statistics.median(
        a / b - 1 for a, b in zip(seconds["with"], seconds["without"], strict=True)
    )
    bench.add(
        f"{name}, dropout's share",
        "the same epoch without dropout",
        seconds["with"],
        seconds["without"],
        train_images=len(splits.train),
        extra=extra,
        plan=plan.to_dict(),
    )
    bench.say(f"  training with dropout costs {extra:+.1%} more")


def against_loops(bench: Benchmark, model: str, train: int, validation: int, epochs: int) -> None:
    """Train a network here and in plain loops, in turns; add a row for each loop."""
    case = _loops.CASES[model]
    try:
        case.make(0.0)
    except (ImportError, RuntimeError) as error:  # torchvision, which timm imports, may be broken
        bench.skip(case.title, str(error))
        return
    make, train, epochs = case.make, int(train * case.share), epochs * case.longer
    title = f"{case.title}{' on fashion-mnist' if case.data is None else ''}, one epoch"
    recipe = _loops.recipe(model, train, int(validation * case.share), epochs)
    experiment = resolve(recipe)
    splits: Any = experiment.splits
    arm = recipe.arms[-1]
    _same_training(experiment, make)
    plan = choose_plan(experiment, [arm])
    scored = scored_examples(train, with_recipe(plan, experiment).score_train)

    def trial(threads: int) -> float:
        part = subset(splits.train, 640)
        few = scored[scored < len(part)]
        options = {"scored": few, "epochs": 3, "threads": threads}
        return min(
            seconds for seconds, _ in _loops.rival(model, part, splits.validation, **options)
        )

    threads = min(sorted({1, usable_threads()}), key=trial)
    names = {"the plain loop, in memory": False}
    if case.layouts:
        names["the plain loop, channels last"] = True
    given = (model, splits.train, splits.validation)
    options = {"scored": scored, "epochs": epochs, "threads": threads}
    rivals = {
        name: Elsewhere(_loops.rival, *given, **options, channels_last=last)
        for name, last in names.items()
    }
    theirs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}

    def turn() -> None:
        for name, other in rivals.items():
            theirs[name].append(next(other))

    clock = Clock(turn)
    with tempfile.TemporaryDirectory() as folder:
        run(recipe, Path(folder) / "run", arms=[arm.name], plan=plan, observer=clock)
    score = recipe.measures[1].validation.name
    for name, measured in theirs.items():
        bench.add(
            title,
            name,
            clock.seconds,
            [seconds for seconds, _ in measured],
            train_images=train,
            epochs=epochs,
            ours_score=clock.rows[-1].values[score],
            theirs_score=measured[-1][1],
            theirs_threads=threads,
            plan=plan.to_dict(),
            reach=1.0 if not names[name] else None,
            readme=not bench.quick and not names[name] and model == "net",
        )


def _same_training(experiment: Experiment, make: Callable[[float], nn.Module]) -> None:
    """Check that without dropout both train and score to the same numbers, on a few images."""
    recipe = dataclasses.replace(experiment.recipe, epochs=1)
    splits: Any = experiment.splits
    train, validation = subset(splits.train, 256), splits.validation
    replica = experiment.replica(recipe.baseline, 0)
    plan = ExecutionPlan(1)
    (epoch,) = fit(
        Single(replica.model, replica.optimizer, replica.applied, plan, task=experiment.task),
        train,
        validation,
        seeds=(0,),
        epochs=1,
        batch_size=recipe.batch_size,
        plan=plan,
    )
    ours = epoch.results[0]
    assert ours is not None
    model = initial_model(lambda: make(0.0), 0)
    everything = torch.arange(len(train))
    orders = iter([batch_order(0, 1, len(train))])
    options = {"scored": everything, "epochs": 1, "threads": 1, "orders": orders}
    ((_, score),) = _loops.train(model, train, validation, **options)
    for one, two in zip(replica.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    found = ours.validation[recipe.measures[1].name]
    assert abs(found - score) < 0.01 * max(1.0, score)


def subset(split: Any, count: int) -> Split:
    """Return the first examples of a split."""
    return split.subset(0, count)


def main() -> None:
    """Run the benchmark."""
    bench, _ = Benchmark.from_command_line("bench_fit", __doc__ or "")
    for name in TUTORIALS:
        experiment = resolve(load(name))
        splits = experiment.splits
        epochs = load(name).epochs
        if bench.quick:
            splits = Splits(subset(splits.train, 6000), subset(splits.validation, 1000), None)
            epochs = 3
        measure(bench, name, splits, epochs)
        cost_of_dropout(bench, name, splits, 3 if bench.quick else 5)
        if not bench.quick:  # JAX takes seconds to compile
            against_jax(bench, name, splits, 5)
    for model in ("net",) if bench.quick else _loops.CASES:
        against_loops(bench, model, *((3000, 1000, 3) if bench.quick else (12_000, 2000, 5)))
    bench.finish()


if __name__ == "__main__":
    main()
