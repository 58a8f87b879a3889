"""A population of arms x seeds against other ways to train as many models, seconds a model-epoch.

All train the tutorials' networks on the same data and score validation images after each epoch;
droplab also scores the training images in eval mode. They take turns, so that what else the machine
does hits all of them. The rivals: the tutorial's loop once per configuration, the same in two
processes at once, stock `torch.func.vmap` with `nn.Dropout`, and JAX (`pip install jax`): a vmapped
population, and its jitted loop for one model. `--quick` trains the smaller network alone, on a
fortieth of the images, where fixed costs weigh more: its ratios are lower.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from time import perf_counter

import torch
from _harness import Benchmark, peak_bytes
from _populations import data_of, jax_population, stock_vmap
from _tutorials import TUTORIALS, train

from droplab.data import Splits
from droplab.recipe import Arm, load, override
from droplab.studies import Experiment, choose_plan, resolve
from droplab.studies._design import sweep_arms
from droplab.studies._grouping import Group, make_groups
from droplab.studies._planning import why_alone
from droplab.train import ExecutionPlan, fit

README = ("the tutorial's loop", "stock torch.func.vmap", "JAX, vmapped population")
"""Rivals whose rows the README shows."""

FEW = 6000
"""Training images of the curve against K: a tenth, since 256 replicas are trained alone."""

CASES = (("mnist-mlp", 8, 8, 40.0, 100.0), ("fashion-tutorial", 4, 4, 7.0, 13.0))
"""Recipe, seeds, arms, and the ratio to the tutorial's loop to reach and to aim for."""


def experiment_of(name: str, seeds: int, arms: int, images: int | None) -> Experiment:
    """The recipe with so many seeds, and so many rates between 0 and 0.8 as arms.

    Args:
        name: Name of the recipe.
        seeds: How many seeds.
        arms: How many arms.
        images: Training images, with a third as many for validation; None for all.
    """
    recipe = override(load(name), {"seeds": list(range(seeds))})
    found = resolve(recipe)
    rates = [0.8 * i / arms for i in range(1, arms)]
    chosen = sweep_arms(found.build(), rates) if rates else (Arm("none"),)
    sites = [site for arm in chosen for site in arm.rates][:2]
    table = {arm.name: {site: arm.rates.get(site, 0.0) for site in sites} for arm in chosen}
    recipe = dataclasses.replace(recipe, arms=chosen)
    splits = found.splits
    if images is not None:
        parts = [(splits.train, images), (splits.validation, images // 3)]
        cut = [part.subset(0, count) for part, count in parts]
        splits = Splits(cut[0], cut[1], None)
    return dataclasses.replace(found, recipe=recipe, splits=splits, rates=table)


def images_of(quick: bool) -> int | None:
    """How many images the rivals train on."""
    return 1500 if quick else None


def droplab(experiment: Experiment, plan: ExecutionPlan) -> Iterator[tuple[float, float]]:
    """All members as one population, in this process."""
    recipe = experiment.recipe
    group = Group(tuple(arm.name for arm in recipe.arms), recipe.seeds)
    for _, accuracy, seconds in _epochs(experiment, group, plan):
        yield seconds, accuracy


def _epochs(
    experiment: Experiment, group: Group, plan: ExecutionPlan
) -> Iterator[tuple[int, float, float]]:
    """Train a group for ever; yield its size, its mean accuracy and the seconds of each epoch."""
    recipe, splits = experiment.recipe, experiment.splits
    if plan.group == 1:
        group = Group(group.arms[:1], group.seeds[:1])
    executor = experiment.executor([recipe.arm(name) for name in group.arms], group.seeds, plan)
    began = perf_counter()
    for epoch in fit(
        executor,
        splits.train,
        splits.validation,
        seeds=group.seeds,
        epochs=10_000,
        batch_size=recipe.batch_size,
        plan=plan,
    ):
        right = [result.validation["accuracy"] for result in epoch.results if result is not None]
        yield len(right), sum(right) / len(right), perf_counter() - began
        began = perf_counter()


def as_planned(
    name: str, seeds: int, arms: int, experiment: Experiment, plan: ExecutionPlan, quick: bool
) -> Iterator[tuple[float, float]]:
    """The members as a run of theirs would train them: in groups, in the workers of the plan."""
    if not plan.workers:
        yield from droplab(experiment, plan)
        return
    shared = [
        name,
        "--seeds",
        str(seeds),
        "--arms",
        str(arms),
        "--plan",
        json.dumps(plan.to_dict()),
    ]
    commands = [["--share", str(share), "--droplab", *shared] for share in range(plan.workers)]
    yield from side_by_side(commands, quick)


def be_a_worker(arguments: argparse.Namespace, quick: bool) -> None:
    """Train an epoch of every group that is this worker's for each line that comes in."""
    experiment = experiment_of(arguments.droplab, arguments.seeds, arguments.arms, images_of(quick))
    plan = ExecutionPlan.from_dict(json.loads(arguments.plan))
    groups = make_groups(experiment.recipe.arms, experiment.recipe.seeds, plan.group)
    own = groups[arguments.share :: plan.workers]
    loops = [_epochs(experiment, group, plan) for group in own]
    for _ in sys.stdin:
        found = [next(loop) for loop in loops]
        members = sum(size for size, _, _ in found)
        print(sum(size * accuracy for size, accuracy, _ in found) / members, flush=True)


def two_processes(name: str, quick: bool) -> Iterator[tuple[float, float]]:
    """The tutorial's loop in two processes at once, each trains one model with one thread."""
    yield from side_by_side([["--tutorial", name]] * 2, quick)


def side_by_side(commands: Sequence[list[str]], quick: bool) -> Iterator[tuple[float, float]]:
    """Processes that train an epoch for each line; yield seconds until all have, mean accuracy."""
    more = ["--quick"] if quick else []
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, *command, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        while True:
            began = perf_counter()
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            found = [float(worker.stdout.readline()) for worker in workers if worker.stdout]
            yield perf_counter() - began, sum(found) / len(found)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def be_a_tutorial(name: str, quick: bool) -> None:
    """Train an epoch for each line that comes in, and write the accuracy."""
    torch.set_num_threads(1)
    loop = train(TUTORIALS[name], *data_of(experiment_of(name, 1, 1, images_of(quick)).splits), 0)
    for _ in sys.stdin:
        print(next(loop)[1], flush=True)


def measure(
    bench: Benchmark, name: str, seeds: int, arms: int, reach: float, aim: float, rounds: int
) -> None:
    """Let all train in turns, and add a row for each rival."""
    experiment = experiment_of(name, seeds, arms, images_of(bench.quick))
    reason = why_alone(experiment, experiment.recipe.arms)
    if reason:
        raise SystemExit(f"{name}: the batched step is wrong or impossible: {reason}")
    members, tutorial = seeds * arms, TUTORIALS[name]
    plan = choose_plan(experiment)
    data = data_of(experiment.splits)
    options = (tutorial.widths, tutorial.lr, tutorial.batch_size, *data)
    rates = [max(experiment.rates[arm.name].values()) for arm in experiment.recipe.arms]
    ways: dict[str, tuple[Iterator[tuple[float, float]], int]] = {
        "the tutorial's loop": (train(tutorial, *data, 0), 1),
        "stock torch.func.vmap": (stock_vmap(*options, seeds, rates), members),
    }
    if bench.quick:  # processes take seconds to start
        bench.skip(f"{name}: the tutorial's loop in two processes", "left out of --quick")
    else:
        ways["the tutorial's loop in two processes"] = (two_processes(name, bench.quick), 2)
    try:
        import jax  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError:
        bench.skip("JAX", "not installed")
    else:
        ways["JAX, vmapped population"] = (jax_population(*options, seeds, rates), members)
        if bench.quick:  # each takes seconds to compile
            bench.skip(f"{name}: JAX, jitted loop of one model", "left out of --quick")
        else:
            one = jax_population(*options, 1, [sum(rates) / arms])
            ways["JAX, jitted loop of one model"] = (one, 1)
    ours_way = as_planned(name, seeds, arms, experiment, plan, bench.quick)
    next(ours_way)  # the first epoch records the step
    for loop, _ in ways.values():
        next(loop)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {rival: [] for rival in ways}
    accuracies: dict[str, float] = {}
    accuracy = 0.0
    for _ in range(rounds):
        seconds, accuracy = next(ours_way)
        ours.append(seconds / members)
        for rival, (loop, models) in ways.items():
            seconds, accuracies[rival] = next(loop)
            theirs[rival].append(seconds / models)
    for rival, seconds_of_rival in theirs.items():
        first = rival == "the tutorial's loop"
        bench.add(
            f"{name}, {members} replicas, a model-epoch",
            rival,
            ours,
            seconds_of_rival,
            replicas=members,
            train_images=len(data[0][1]),
            ours_accuracy=accuracy,
            theirs_accuracy=accuracies[rival],
            plan=plan.to_dict(),
            reach=reach if first else None,
            aim=aim if first else None,
            readme=not bench.quick and rival in README,
        )
    for loop in (ours_way, *(loop for loop, _ in ways.values())):
        loop.close()  # pyright: ignore[reportAttributeAccessIssue]


def grid(members: int) -> tuple[int, int]:
    """Seeds and arms of a population of so many members: up to eight arms."""
    arms = min(8, members)
    return members // arms, arms


def be_a_population(name: str, members: int) -> None:
    """Train a few epochs of a population alone in this process; write its cost and memory."""
    experiment = experiment_of(name, *grid(members), FEW)
    plan = ExecutionPlan(1, "highest", True, group=members)
    before = peak_bytes()
    loop = droplab(experiment, plan)
    next(loop)
    seconds = [next(loop)[0] / members for _ in range(3)]
    peak = peak_bytes()
    print(json.dumps({"seconds": seconds, "bytes": peak - before}))


def against_k(bench: Benchmark, name: str, sizes: Sequence[int]) -> None:
    """Cost and memory against the number of replicas, each in a process of its own."""
    found: dict[int, dict[str, list[float]]] = {}
    for members in sizes:
        command = [sys.executable, __file__, "--population", name, "--members", str(members)]
        bench.say(f"{name}: {members} replicas")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[members] = json.loads(done.stdout)
        bench.add(
            f"{name}, cost against K, K = {members}",
            "a population of one",
            found[members]["seconds"],
            found[sizes[0]]["seconds"],
            replicas=members,
            train_images=FEW,
            memory_bytes=found[members]["bytes"],
        )


def main() -> None:
    """Run the benchmark."""

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--tutorial", help=argparse.SUPPRESS)
        parser.add_argument("--population", help=argparse.SUPPRESS)
        parser.add_argument("--members", type=int, help=argparse.SUPPRESS)
        parser.add_argument("--droplab", help=argparse.SUPPRESS)
        parser.add_argument("--plan", help=argparse.SUPPRESS)
        for option in ("--seeds", "--arms", "--share"):
            parser.add_argument(option, type=int, help=argparse.SUPPRESS)

    bench, arguments = Benchmark.from_command_line("bench_sweep", __doc__ or "", extend)
    if arguments.tutorial:
        be_a_tutorial(arguments.tutorial, bench.quick)
        return
    if arguments.droplab:
        be_a_worker(arguments, bench.quick)
        return
    if arguments.population:
        be_a_population(arguments.population, arguments.members)
        return
    for name, seeds, arms, reach, aim in CASES[:1] if bench.quick else CASES:
        measure(bench, name, seeds, arms, reach, aim, 1 if bench.quick else 3)
    if bench.quick:  # every process takes seconds to start
        bench.skip("fashion-tutorial, and cost against K", "left out of --quick")
    else:
        for name, *_ in CASES:
            against_k(bench, name, (1, 2, 4, 8, 16, 32, 64, 128, 256))
    bench.finish()


if __name__ == "__main__":
    main()
