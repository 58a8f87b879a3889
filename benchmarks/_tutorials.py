"""The two tutorials as their readers write them: the rivals of `bench_fit`.

A map-style data set turns each item into a PIL image and then into a tensor, as torchvision's data
sets with `ToTensor` do; a `DataLoader` shuffles; the loop is eager and reads `.item()` each step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class ToTensor:
    """PIL image -> float tensor (C, H, W) in [0, 1], step by step as torchvision does it."""

    def __call__(self, image: Image.Image) -> Tensor:
        array = torch.from_numpy(np.array(image, copy=True))
        array = array.view(image.size[1], image.size[0], 1)
        return array.permute((2, 0, 1)).contiguous().to(torch.get_default_dtype()).div(255)


class ImageDataset(Dataset):
    """Images and labels in memory, decoded item by item."""

    def __init__(self, images: Tensor, targets: Tensor, transform: ToTensor) -> None:
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].squeeze(0).numpy())
        return self.transform(image), int(self.targets[index])


class FashionNet(nn.Module):
    """784-256-128-10 with dropout 0.3 after both hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 256), nn.Linear(256, 128), nn.Linear(128, 10)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(x)
        x = self.dropout(self.relu(self.fc1(x)))
        x = self.dropout(self.relu(self.fc2(x)))
        return self.fc3(x)


class MnistNet(nn.Module):
    """784-64-32-10 with dropout 0.5 before each ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 64),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(64, 32),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True)
class Tutorial:
    """What one of the tutorials fixes."""

    net: type[nn.Module]
    widths: tuple[int, ...]
    lr: float
    batch_size: int
    workers: int


TUTORIALS = {
    "fashion-tutorial": Tutorial(FashionNet, (784, 256, 128, 10), 1e-3, 64, 0),
    "mnist-mlp": Tutorial(MnistNet, (784, 64, 32, 10), 1e-4, 10, 1),
}


def train(
    tutorial: Tutorial,
    train_data: tuple[Tensor, Tensor],
    test_data: tuple[Tensor, Tensor],
    seed: int,
) -> Iterator[tuple[float, float]]:
    """Train for ever; yield (seconds, validation accuracy) after each epoch."""
    torch.manual_seed(seed)
    model = tutorial.net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=tutorial.lr)
    loader = DataLoader(
        ImageDataset(*train_data, ToTensor()),
        batch_size=tutorial.batch_size,
        shuffle=True,
        num_workers=tutorial.workers,
    )
    test_loader = DataLoader(
        ImageDataset(*test_data, ToTensor()),
        batch_size=tutorial.batch_size,
        num_workers=tutorial.workers,
    )
    while True:
        began = perf_counter()
        model.train()
        running_loss, correct, total = 0.0, 0, 0
        for images, labels in loader:
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            predicted = outputs.argmax(1)
            correct += (predicted == labels).sum().item()
            total += labels.size(0)
        model.eval()
        right, seen, val_loss = 0, 0, 0.0
        with torch.no_grad():
            for images, labels in test_loader:
                outputs = model(images)
                val_loss += criterion(outputs, labels).item()
                right += (outputs.argmax(1) == labels).sum().item()
                seen += labels.size(0)
        yield perf_counter() - began, right / seen
