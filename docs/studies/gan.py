"""A generator and a critic that learn a ring in the plane."""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
args = parser.parse_args()

angles = torch.linspace(0, 2 * math.pi, 256)
ring = torch.stack((angles.cos(), angles.sin()), dim=1)
loader = DataLoader(TensorDataset(ring), batch_size=32, shuffle=True)

generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
slow = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.999))
fast = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
for _ in range(args.epochs):
    for (real,) in loader:
        made = generator(torch.randn(len(real), 4))
        fast.zero_grad()
        loss = F.softplus(-critic(real)).mean() + F.softplus(critic(made.detach())).mean()
        loss.backward()
        fast.step()
        slow.zero_grad()
        F.softplus(-critic(made)).mean().backward()
        slow.step()
    with torch.no_grad():
        radius = generator(torch.randn(500, 4)).norm(dim=1)
        off = (radius - 1).abs().mean().item()
    print(f"{off:.3f}")
