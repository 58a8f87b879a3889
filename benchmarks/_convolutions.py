"""Small networks as people write them, and the loop that a careful practitioner writes for them.

Bytes in memory, gathered and scaled batch by batch; fused Adam; scores in inference mode, in
batches that stay in the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from droplab.data import Split
from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe

BATCH = 64
LEARNING_RATE = 1e-3
RATE = 0.5
SCORE_BATCH = 250


def net(rate: float = 0.0) -> nn.Sequential:
    """Two convolutions with pooling, two linear layers, dropout at the input of each of these."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(rate) if rate else nn.Identity(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Dropout(rate) if rate else nn.Identity(),
        nn.Linear(128, 10),
    )


class OwnNet(nn.Module):
    """The same as a class of one's own."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.dropout1, self.dropout2 = nn.Dropout(rate), nn.Dropout(rate)
        self.fc1, self.fc2 = nn.Linear(32 * 7 * 7, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(self.dropout1(torch.flatten(x, 1))))
        return self.fc2(self.dropout2(x))


class OwnMLP(nn.Module):
    """A multilayer perceptron as a class of one's own."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(784, 256), nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, 10)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc1(x.flatten(1))))
        x = self.dropout(F.relu(self.fc2(x)))
        return self.fc3(x)


MODELS: dict[str, tuple[Callable[[float], nn.Module], tuple[str, ...]]] = {
    "net": (net, ("8", "11")),
    "OwnNet": (OwnNet, ("fc1", "fc2")),
    "OwnMLP": (OwnMLP, ("fc2", "fc3")),
}
"""How each network is made with a rate, and the layers at whose inputs that is."""


def recipe(model: str, train: int, validation: int, epochs: int) -> Recipe:
    """One of `MODELS` as a recipe, one seed, on part of Fashion-MNIST."""
    return Recipe(
        name="fashion-convolutions",
        data=DataSpec("fashion-mnist", train=train, validation=validation),
        model=ModelSpec(f"{__name__}:{model}"),
        optimizer=OptimizerSpec("Adam", {"lr": LEARNING_RATE}),
        epochs=epochs,
        batch_size=BATCH,
        seeds=(0,),
        arms=(Arm("none"), Arm("half", dict.fromkeys(MODELS[model][1], RATE))),
    )


def train(
    model: nn.Module,
    data: Split,
    validation: Split,
    *,
    scored: Tensor,
    epochs: int,
    threads: int,
    orders: Iterator[Tensor],
    channels_last: bool = False,
) -> Iterator[tuple[float, float]]:
    """Train and score; yield (seconds, validation accuracy) after each epoch.

    Args:
        model: The network, with its initial weights.
        data: Training examples.
        validation: Validation examples.
        scored: Which training examples are scored after each epoch; after the last, all are.
        epochs: How many.
        threads: Threads of torch.
        orders: The order of the training examples, epoch by epoch.
        channels_last: Whether the weights lie channels last.
    """
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    for epoch in range(1, epochs + 1):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        began = perf_counter()
        model.train()
        loss_sum, right = torch.zeros(()), torch.zeros(())
        for index in next(orders).split(BATCH):
            inputs, targets = _batch(data, index)
            logits = model(inputs)
            loss = F.cross_entropy(logits, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                loss_sum += loss * len(targets)
                right += (logits.argmax(1) == targets).sum()
        _score(model, data, scored if epoch < epochs else torch.arange(len(data)))
        accuracy = _score(model, validation, torch.arange(len(validation)))[1]
        seconds = perf_counter() - began
        torch.set_num_threads(before)
        yield seconds, accuracy


def _batch(split: Split, index: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(split.inputs, Tensor)
    inputs = split.inputs.index_select(0, index).float().div_(255)
    return inputs, split.targets.index_select(0, index)


def _score(model: nn.Module, split: Split, order: Tensor) -> tuple[float, float]:
    model.eval()
    loss, right = 0.0, 0
    with torch.inference_mode():
        for index in order.split(SCORE_BATCH):
            inputs, targets = _batch(split, index)
            logits = model(inputs)
            loss += F.cross_entropy(logits, targets, reduction="sum").item()
            right += int((logits.argmax(1) == targets).sum())
    return loss / len(order), right / len(order)
