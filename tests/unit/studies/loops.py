"""Training loops as people have them, small, for tests of studies; they can be imported."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from droplab.studies import Study, study

METRICS = {"val_loss": "lower", "train_loss": "lower"}
ARMS = {"none": {}, "half": {"2": 0.5}}


def begin(folder: Path, **changes) -> Study:
    how = {"arms": ARMS, "seeds": 2, "metrics": METRICS, "quiet": True, **changes}
    return study(folder / "study", **how)


def message(found: Study) -> str:
    return next(m.message for m in found.result().members if m.state == "failed")


def data():
    """Forty examples that a network of this size can learn by heart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator)
    y = x[:, :1] + 0.5 * torch.randn(40, 1, generator=generator)
    return TensorDataset(x[:20], y[:20]), (x[20:], y[20:])


def network():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))


def own_network(p=0.3):
    """One that drops by itself."""
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(p), nn.Linear(16, 1))


def fit(trial, model, epochs=2, lr=0.05, seen=None, optimizer=None):
    """Train with a shuffling loader and an augmentation that draws from torch's generator."""
    train, (x, y) = data()
    loader = DataLoader(train, batch_size=5, shuffle=True)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=lr)
    for _ in trial.epochs(epochs):
        model.train()
        for inputs, targets in loader:
            inputs = inputs + 0.1 * torch.randn_like(inputs)
            if seen is not None:
                seen.append(inputs.clone())
            loss = (model(inputs) - targets).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            validation = (model(x) - y).square().mean()
        trial.report(val_loss=validation, train_loss=loss.detach())


def plain(trial):
    fit(trial, trial.place(network()))


class Descent:
    """Gradient descent by hand: an optimizer of torch loads for one and a half seconds."""

    def __init__(self, parameters, lr):
        self._parameters, self._lr = list(parameters), lr

    def zero_grad(self):
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        for parameter in self._parameters:
            parameter -= self._lr * parameter.grad

    def state_dict(self):
        return {"lr": self._lr}

    def load_state_dict(self, state):
        self._lr = state["lr"]


def by_hand(trial):
    """Train in a process that is begun for it, and so has not loaded an optimizer."""
    model = trial.place(network())
    fit(trial, model, optimizer=Descent(model.parameters(), 0.05))


def fails_in_one(trial):
    if (trial.arm, trial.seed) == ("half", 1):
        raise ValueError("the disk of the dog was eaten")
    plain(trial)
