"""What a study costs a training step, against the same model with the same dropout in a plain loop.

The step is made to take about a millisecond, where fixed costs weigh; both take turns, a hundred
steps each, now one first and now the other. `placed` drops by droplab in both: what is left is the
guard and the watch. `stock` has torch's own `nn.Dropout` in the plain loop, whose masks a study
makes itself. Verified before: the placed model without a study and in one has the same number of
masks.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import torch
from _harness import Benchmark
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from droplab import placement
from droplab.ops import mask_key
from droplab.recipe import Arm, own_loop
from droplab.studies import Trial

BATCH, WIDTH, STEPS = 64, 128, 100


def network(p: float = 0.0) -> nn.Sequential:
    """A network of three hidden layers, with dropout of torch's if p is above 0."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU(), *([nn.Dropout(p)] if p else [])]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def steps_of(
    model: nn.Module, stepped: Callable[[int], None] = lambda step: None
) -> Callable[[], float]:
    """Return what trains a hundred steps and returns the seconds of one."""
    data = TensorDataset(torch.randn(BATCH * STEPS, WIDTH), torch.randint(10, (BATCH * STEPS,)))
    loader = DataLoader(data, batch_size=None, sampler=torch.arange(BATCH * STEPS).view(-1, BATCH))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    taken = 0

    def run() -> float:
        nonlocal taken
        began = perf_counter()
        for x, y in loader:
            stepped(taken)
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken += 1
        return (perf_counter() - began) / STEPS

    return run


def main() -> None:
    """Measure both cases."""
    bench, _ = Benchmark.from_command_line("bench_study", __doc__ or "")
    torch.set_num_threads(1)
    repeats = 12 if bench.quick else 60
    for case in ("placed", "stock"):
        arms = [Arm("none"), Arm("half", {str(site): 0.5 for site in (2, 4, 6)})]
        if case == "stock":
            arms = [Arm("none")]
        recipe = own_loop("bench", "", {"val_loss": "lower"}, "val_loss", arms, [0])
        trial = Trial(recipe, arms[-1].name, 0, lambda row: None)
        plain = network(0.5 if case == "stock" else 0.0)
        stepped: Callable[[int], None] = lambda step: None  # noqa: E731 # replaced where it drops
        if case == "placed":
            applied = placement.plan(plain, dict(arms[-1].rates)).apply()
            applied.seed({name: mask_key(0, name) for name in applied.streams})
            stepped = applied.set_step
        rival = steps_of(plain, stepped)
        mine = steps_of(trial.place(network(0.5 if case == "stock" else 0.0)))
        ours: list[float] = []
        theirs: list[float] = []

        def studied(trial: Trial = trial, steps: Callable[[], float] = mine) -> float:
            trial._watch.__enter__()  # the watch of data loaders is the trial's alone
            try:
                return steps()
            finally:
                trial._watch.__exit__()

        both = [(rival, theirs), (studied, ours)]
        for turn in range(repeats + 2):
            for run, seconds in both if turn % 2 else reversed(both):
                taken = run()
                if turn > 1:
                    seconds.append(taken)
        placed = trial._placed[-1].applied
        fired = sum(placed.fired.values()) + sum(placed.drawn.values())
        assert fired == 3 * STEPS * (repeats + 2), fired
        bench.add(f"{case}, a step", "plain loop", ours, theirs)
    bench.finish()


if __name__ == "__main__":
    main()
