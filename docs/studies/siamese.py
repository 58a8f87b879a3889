"""Two views of each digit through one network, two forwards before each backward."""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
args = parser.parse_args()

data = load_digits()
images = torch.tensor(data.data / 16, dtype=torch.float32)
labels = torch.tensor(data.target)
loader = DataLoader(TensorDataset(images[:256]), batch_size=64, shuffle=True, drop_last=True)

encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
encoder.append(nn.Linear(128, 32))
optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
for _ in range(args.epochs):
    encoder.train()
    for (x,) in loader:
        one = F.normalize(encoder(x + 0.2 * torch.randn_like(x)), dim=1)
        two = F.normalize(encoder(x + 0.2 * torch.randn_like(x)), dim=1)
        loss = F.cross_entropy(one @ two.T / 0.1, torch.arange(len(x)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    with torch.no_grad():
        known = F.normalize(encoder(images[:256]), dim=1)
        asked = F.normalize(encoder(images[1200:]), dim=1)
    nearest = labels[:256][(asked @ known.T).argmax(1)]
    accuracy = (nearest == labels[1200:]).float().mean().item()
    print(f"{accuracy:.3f}")
