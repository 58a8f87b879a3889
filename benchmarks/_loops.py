"""Small networks as people write them, and the loop that a careful practitioner writes for them.

Everything in memory, gathered batch by batch, bytes scaled there; fused Adam; scores in inference
mode, in batches that stay in the caches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import TensorDataset

from droplab.data import Split
from droplab.recipe import Arm, DataSpec, ModelSpec, OptimizerSpec, Recipe
from droplab.train import batch_order, initial_model

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


class TableNet(nn.Module):
    """Two embeddings and numbers, then a multilayer perceptron with one output."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.shop, self.street = nn.Embedding(20, 8), nn.Embedding(200, 16)
        self.fc1, self.fc2, self.fc3 = nn.Linear(8 + 24, 128), nn.Linear(128, 64), nn.Linear(64, 1)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        places = x[:, 8:].long()
        x = torch.cat((x[:, :8], self.shop(places[:, 0]), self.street(places[:, 1])), dim=1)
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return self.fc3(x)


class PaddedGru(nn.Module):
    """Words of sequences of unequal length, a GRU, and classes from its last state."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.words, self.gru = nn.Embedding(500, 32), nn.GRU(32, 64, batch_first=True)
        self.dropout, self.fc = nn.Dropout(rate), nn.Linear(64, 6)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.words(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.fc(self.dropout(self.gru(packed)[1][-1]))


def resnet(rate: float = 0.0) -> nn.Module:
    """The ResNet-18 of timm for one channel, dropout before its head."""
    import timm

    return timm.create_model("resnet18", in_chans=1, num_classes=10, drop_rate=rate)


def table(rows: int) -> TensorDataset:
    """A regression over 8 numbers and 2 columns of names, made up: only its cost is measured."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(rows, 8, generator=generator)
    shop = torch.randint(0, 20, (rows, 1), generator=generator)
    street = torch.randint(0, 200, (rows, 1), generator=generator)
    targets = numbers[:, 0] * shop[:, 0] / 10 + torch.randn(rows, generator=generator)
    return TensorDataset(torch.cat((numbers, shop, street), dim=1), targets)


def sentences(rows: int) -> list[tuple[dict[str, Tensor], int]]:
    """Padded sequences of 5 to 20 words in 6 classes, made up: only their cost is measured."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 500, (rows, 20), generator=generator)
    lengths = torch.randint(5, 21, (rows,), generator=generator)
    tokens[torch.arange(20) >= lengths[:, None]] = 0
    return [
        ({"tokens": row, "lengths": length}, int(row[0]) % 6)
        for row, length in zip(tokens, lengths, strict=True)
    ]


@dataclass(frozen=True)
class Case:
    """A network that is trained here and there.

    Args:
        title: What it is called.
        make: Makes it with a rate of dropout.
        sites: The layers at whose inputs that is.
        share: What part of the usual number of examples is enough.
        data: The function that makes what it is trained on; None: Fashion-MNIST.
        layouts: Whether its weights may lie channels last.
        longer: How many times the usual number of epochs: where one takes a fraction of a second, a
            training is over before anything could be measured, and nobody waits for it; where the
            weights are many, checkpoints are a part of it as they are of a training of minutes;
            where both take nearly the same time, few pairs of epochs do not tell which is faster.
    """

    title: str
    make: Callable[[float], nn.Module]
    sites: tuple[str, ...]
    share: float = 1.0
    data: Callable[[int], Any] | None = None
    layouts: bool = True
    longer: int = 1


CASES = {
    "net": Case("two convolutions", net, ("8", "11")),
    "OwnNet": Case("two convolutions in a class of one's own", OwnNet, ("fc1", "fc2")),
    "OwnMLP": Case("an MLP in a class of one's own", OwnMLP, ("fc2", "fc3"), layouts=False),
    "TableNet": Case(
        "a regression on a table", TableNet, ("fc2", "fc3"), data=table, layouts=False, longer=4
    ),
    "PaddedGru": Case(
        "a GRU on padded sequences",
        PaddedGru,
        ("fc",),
        0.3,
        data=sentences,
        layouts=False,
        longer=12,
    ),
    "resnet": Case("timm's ResNet-18 at 28 x 28", resnet, ("fc",), share=0.1, longer=2),
}


def recipe(name: str, train: int, validation: int, epochs: int) -> Recipe:
    """One of `CASES` as a recipe, one seed, on part of Fashion-MNIST or on made-up examples."""
    case = CASES[name]
    data = DataSpec("fashion-mnist", train=train, validation=validation)
    if case.data is not None:
        rows = {"rows": train + validation}
        function = f"{__name__}:{case.data.__name__}"
        data = DataSpec(function=function, arguments=rows, train=train, validation=validation)
    return Recipe(
        name="careful-loop",
        data=data,
        model=ModelSpec(f"{__name__}:{name}"),
        optimizer=OptimizerSpec("Adam", {"lr": LEARNING_RATE}),
        epochs=epochs,
        batch_size=BATCH,
        seeds=(0,),
        arms=(Arm("none"), Arm("half", dict.fromkeys(case.sites, RATE))),
        task="regression" if case.data is table else None,
    )


def rival(
    name: str, data: Split, validation: Split, **options: Any
) -> Iterator[tuple[float, float]]:
    """Train one of `CASES` as `train` does, with the weights and orders of batches of seed 0."""
    model = initial_model(lambda: CASES[name].make(RATE), 0)
    orders = (batch_order(0, epoch, len(data)) for epoch in itertools.count(1))
    return train(model, data, validation, orders=orders, **options)


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
    """Train and score; yield (seconds, validation accuracy or error) after each epoch.

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
            outputs = _call(model, inputs)
            loss = _loss(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                loss_sum += loss * len(targets)
                right += _right(outputs, targets)
        _score(model, data, scored if epoch < epochs else torch.arange(len(data)))
        accuracy = _score(model, validation, torch.arange(len(validation)))[1]
        seconds = perf_counter() - began
        torch.set_num_threads(before)
        yield seconds, accuracy


def _batch(split: Split, index: Tensor) -> tuple[Any, Tensor]:
    targets = split.targets.index_select(0, index)
    if isinstance(split.inputs, dict):
        return {name: x.index_select(0, index) for name, x in split.inputs.items()}, targets  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType] # tensors
    assert isinstance(split.inputs, Tensor)
    inputs = split.inputs.index_select(0, index)
    return (inputs.float().div_(255) if inputs.dtype == torch.uint8 else inputs), targets


def _call(model: nn.Module, inputs: Any) -> Tensor:
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return F.mse_loss(outputs.squeeze(1), targets)
    return F.cross_entropy(outputs, targets)


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return how many classes are right, or the sum of squared errors."""
    if targets.is_floating_point():
        return (outputs.squeeze(1) - targets).square().sum()
    return (outputs.argmax(1) == targets).sum()


def _score(model: nn.Module, split: Split, order: Tensor) -> tuple[float, float]:
    model.eval()
    loss, right = 0.0, 0.0
    with torch.inference_mode():
        for index in order.split(SCORE_BATCH):
            inputs, targets = _batch(split, index)
            outputs = _call(model, inputs)
            loss += _loss(outputs, targets).item() * len(index)
            right += float(_right(outputs, targets))
    score = right / len(order)
    return loss / len(order), score**0.5 if split.targets.is_floating_point() else score
