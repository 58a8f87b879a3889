"""What is found out of loops in which more than dropout changes, and of others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, dataloader

from droplab.errors import RunError
from droplab.studies import Trial, study
from droplab.verdict import Verdict, control
from tests.unit.studies import loops


def verdict_of(folder: Path, train, seeds=6, **changes) -> Verdict:
    how = {"arms": loops.ARMS, "metrics": loops.METRICS, "quiet": True, **changes}
    return study(folder / "study", seeds=seeds, **how).run(train)


def notes_on(verdict: Verdict) -> str:
    return "\n".join(verdict.caveats)


def test_a_loop_in_which_only_dropout_changes_is_seen_to_be_paired(tmp_path: Path):
    mine = study(tmp_path, arms=loops.ARMS, seeds=6, metrics=loops.METRICS, quiet=True)
    verdict = mine.run(loops.plain)
    assert "Not dropout alone" not in verdict.headline
    assert "Not paired" not in notes_on(verdict)
    assert "could not be seen" not in notes_on(verdict)
    assert "without gradients" not in notes_on(verdict)
    result = mine.result()
    seen = control(result.recipe, result.members, result.notes, 2)
    assert seen.same == "initial weights and batches, as far as they were looked at"
    assert seen.same in mine.report().read_text()


def test_a_loop_that_measures_in_training_mode_is_told_so(tmp_path: Path):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        x, y = loops.data()[1]
        for epoch in trial.epochs(2):
            (model(x) - y).square().mean().backward()
            model.train(trial.seed > 0 or epoch == 1)  # forgotten; of seed 0 in one epoch
            with torch.no_grad():
                trial.report(val_loss=(model(x) - y).square().mean())
            model.train()

    said = "without gradients in 4 of 4 trials (once in 'none', seed 0). Call model.eval()"
    assert said in notes_on(verdict_of(tmp_path, train, seeds=2))


@pytest.mark.parametrize("guarded", [True, False])
def test_stock_dropout_moves_augmentation_unless_it_is_placed(tmp_path: Path, guarded: bool):
    def train(trial: Trial) -> None:
        drop = nn.Dropout(0.5 if trial.arm == "half" else 0.0)  # by hand
        first, last = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Linear(16, 1)
        if guarded:
            model = trial.place(nn.Sequential(*first, drop, last))
        else:
            model = nn.Sequential(trial.place(first), drop, last)
        loops.fit(trial, model)

    arms = {"none": {}, "half": {"0": 0.1}}
    verdict = verdict_of(tmp_path, train, arms=arms)
    assert (
        "Not paired: inputs of the model (augmentation in the loop, say) differ in 6 of 6"
        in notes_on(verdict)
    ) is not guarded
    assert "Not dropout alone" not in verdict.headline  # it is noise


def test_stock_dropout_moves_the_batches_of_a_loop_without_epochs(tmp_path: Path):
    def train(trial: Trial) -> None:
        first, last = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Linear(16, 1)
        drop = nn.Dropout(0.5 if trial.arm == "half" else 0.0)
        model = nn.Sequential(trial.place(first), drop, last)
        train, _ = loops.data()
        loader = DataLoader(train, batch_size=5, shuffle=True)
        for _ in range(2):
            for inputs, _ in loader:
                loss = model(inputs).square().mean()
            trial.report(val_loss=loss.detach())

    verdict = verdict_of(tmp_path, train, arms={"none": {}, "half": {"0": 0.1}})
    assert "Not paired: batches differ in 6 of 6" in notes_on(verdict)


def test_other_initial_weights_are_not_paired(tmp_path: Path):
    def train(trial: Trial) -> None:
        if trial.arm == "half":
            torch.rand(3)
        loops.plain(trial)

    verdict = verdict_of(tmp_path, train)
    assert "Not paired: initial weights differ in 6 of 6" in notes_on(verdict)
    assert "batches differ" not in notes_on(verdict)  # each epoch is seeded anew


def _sgd(model, **settings):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.05, **settings})


def _other_rate(trial: Trial) -> None:
    model = trial.place(loops.network())
    loops.fit(trial, model, optimizer=_sgd(model, lr=0.05 if trial.arm == "none" else 0.04))


def _later_rate(trial: Trial) -> None:
    model = trial.place(loops.network())
    optimizer = _sgd(model)
    calls = []

    def change(*_) -> None:
        calls.append(1)
        if trial.arm == "half" and len(calls) == 6:
            optimizer.param_groups[0]["lr"] = 0.01

    optimizer.register_step_post_hook(change)
    loops.fit(trial, model, optimizer=optimizer)


def _rate_in_place(trial: Trial) -> None:
    model = trial.place(loops.network())
    optimizer = _sgd(model, lr=torch.tensor(0.05))
    change = 0.5 if trial.arm == "half" else 1.0
    optimizer.register_step_post_hook(lambda *_: optimizer.param_groups[0]["lr"].mul_(change))
    loops.fit(trial, model, optimizer=optimizer)


def _momentum(trial: Trial) -> None:
    model = trial.place(loops.network())
    loops.fit(trial, model, optimizer=_sgd(model, momentum=0.9 * (trial.arm == "half")))


def _other_optimizer(trial: Trial) -> None:
    model = trial.place(loops.network())
    one = torch.optim.Adam(model.parameters(), lr=0.05)
    loops.fit(trial, model, optimizer=one if trial.arm == "half" else _sgd(model))


def _wider(trial: Trial) -> None:
    units = 16 if trial.arm == "none" else 18
    model = nn.Sequential(nn.Linear(6, units), nn.ReLU(), nn.Linear(units, 1))
    loops.fit(trial, trial.place(model))


def _more_steps(trial: Trial) -> None:
    model = trial.place(loops.network())
    optimizer = _sgd(model)
    if trial.arm == "half":
        model(torch.zeros(1, 6)).sum().backward()
        optimizer.step()
    loops.fit(trial, model, optimizer=optimizer)


def _other_data(trial: Trial) -> None:
    model = trial.place(loops.network())
    optimizer = _sgd(model)
    x = torch.randn(12 if trial.arm == "none" else 14, 6)
    for _ in trial.epochs(2):
        for (inputs,) in DataLoader(TensorDataset(x), batch_size=7):
            model(inputs).square().mean().backward()
            optimizer.step()
        trial.report(val_loss=torch.rand(()))


@pytest.mark.parametrize(
    ("train", "what"),
    [
        (_other_rate, "the learning rate"),
        (_later_rate, "the learning rate"),
        (_rate_in_place, "the learning rate"),
        (_momentum, "the optimizer"),
        (_other_optimizer, "the optimizer"),
        (_wider, "the number of parameters"),
        (_more_steps, "the number of steps"),
        (_other_data, "the size of the data"),
    ],
)
def test_what_else_changes_is_in_the_headline(tmp_path: Path, train, what: str):
    verdict = verdict_of(tmp_path, train, seeds=2)
    assert verdict.headline.startswith(
        f"Not dropout alone: 'half' differs from 'none' in {what} as well. "
    )


def test_what_changes_after_the_epoch_that_is_judged_is_no_difference(tmp_path: Path):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        optimizer = _sgd(model)
        loops.fit(trial, model, epochs=2, optimizer=optimizer)
        if trial.arm == "half":
            optimizer.step()

    assert "Not dropout alone" not in verdict_of(tmp_path, train, seeds=2).headline


def test_seeds_that_are_one_are_refused(tmp_path: Path):
    def train(trial: Trial) -> None:
        torch.manual_seed(0)
        model = trial.place(loops.network())
        train, _ = loops.data()
        generator = torch.Generator().manual_seed(0)
        loader = DataLoader(train, batch_size=5, shuffle=True, generator=generator)
        optimizer = _sgd(model)
        for _ in trial.epochs(1):
            for inputs, targets in loader:
                loss = (model(inputs) - targets).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            trial.report(val_loss=loss.detach())

    mine = study(tmp_path / "s", arms=loops.ARMS, seeds=8, metrics=loops.METRICS, quiet=True)
    verdict = mine.run(train)
    assert "No verdict" in verdict.headline
    failed = [m for m in mine.result().members if m.state == "failed"]
    assert len(failed) == 14
    assert "seed 1 has the same initial weights and the same batches as seed 0" in failed[0].message


def test_what_a_model_is_called_with_tells_where_no_loader_was_seen(tmp_path: Path):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        for _ in trial.epochs(1):
            x = torch.randn(4, 6)
            if trial.arm == "half":
                x = x + 1
            model(x).sum().backward()
            trial.report(val_loss=torch.rand(()))

    said = notes_on(verdict_of(tmp_path, train, seeds=2))
    assert "inputs of the model (augmentation in the loop, say) differ in 2 of 2" in said


def test_a_model_that_is_never_called_as_a_whole_without_a_loader_leaves_batches_unseen(
    tmp_path: Path,
):
    def train(trial: Trial) -> None:
        model = trial.place(loops.network())
        for _ in trial.epochs(1):
            model[2](torch.relu(model[0](torch.randn(4, 6)))).sum().backward()
            trial.report(val_loss=torch.rand(()))

    verdict = verdict_of(tmp_path, train, seeds=2)
    assert "Batches could not be seen in 2 of 2" in notes_on(verdict)


def test_loaders_are_watched_through_a_method_of_torch_that_is_there():
    # private: should it go, trials would see no batch
    method = dataloader._BaseDataLoaderIter.__next__
    for workers in (0, 2):
        loader = DataLoader(TensorDataset(torch.zeros(4, 2)), num_workers=workers)
        assert type(iter(loader)).__next__ is method


def test_a_site_that_never_fires_ends_its_trial(tmp_path: Path):
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    def train(trial: Trial) -> None:
        loops.fit(trial, trial.place(Unused()))

    arms = {"none": {}, "half": {"spare": 0.5}}
    with pytest.raises(RunError, match="got none from 'spare'"):
        verdict_of(tmp_path, train, seeds=1, arms=arms)
