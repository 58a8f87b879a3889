"""ResNet-18 of timm from scratch, SGD with one cycle of the learning rate."""

import argparse

import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--train", type=int, default=320)
args = parser.parse_args()

data = load_digits()
images = torch.tensor(data.images[:, None] / 16, dtype=torch.float32)
images = F.interpolate(images, size=32).expand(-1, 3, -1, -1)
labels = torch.tensor(data.target)
train = DataLoader(
    TensorDataset(images[: args.train], labels[: args.train]), batch_size=32, shuffle=True
)
valid = DataLoader(TensorDataset(images[1600:], labels[1600:]), batch_size=100)

model = timm.create_model("resnet18", num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
scheduler = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.05, total_steps=args.epochs * len(train)
)
for _ in range(args.epochs):
    model.train()
    for x, y in train:
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(F.cross_entropy(model(x), y).item() for x, y in valid) / len(valid)
    print(f"{val_loss:.3f}")
