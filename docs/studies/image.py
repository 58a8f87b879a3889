"""Train a small network on the digits, with augmentation and mixed precision."""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--train", type=int, default=300)
args = parser.parse_args()


class Digits(Dataset):
    """Digits, the training examples moved by a pixel and with some noise."""

    def __init__(self, images, labels, augment):
        self.images, self.labels, self.augment = images, labels, augment

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        if self.augment:
            shift = torch.randint(-1, 2, (2,)).tolist()
            image = image.roll(shift, dims=(0, 1)) + 0.1 * torch.randn(8, 8)
        return image, self.labels[index]


class Net(nn.Module):
    """Two hidden layers."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


data = load_digits()
images, labels = torch.tensor(data.images / 16, dtype=torch.float32), torch.tensor(data.target)
train = DataLoader(Digits(images[: args.train], labels[: args.train], True), 32, shuffle=True)
valid = DataLoader(Digits(images[1200:], labels[1200:], False), 256)

model = Net()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(args.epochs):
    model.train()
    for x, y in train:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(x) for x, _ in valid])
    targets = torch.cat([y for _, y in valid])
    val_loss = F.cross_entropy(outputs, targets).item()
    val_accuracy = (outputs.argmax(1) == targets).float().mean().item()
    print(f"{epoch}: {val_loss:.3f} {val_accuracy:.3f}")
