"""Five folds of three hundred rows, and the mean error over them."""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=300)
args = parser.parse_args()

rows, target = load_diabetes(return_X_y=True)
x = torch.tensor(rows[:300] * 20, dtype=torch.float32)
y = torch.tensor((target[:300] - 150) / 75, dtype=torch.float32)[:, None]

errors = []
for fold, (train, valid) in enumerate(KFold(5).split(x)):
    torch.manual_seed(fold)
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    model.append(nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(args.steps):
        batch = train[torch.randint(len(train), (32,)).numpy()]
        loss = nn.functional.mse_loss(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        errors.append(nn.functional.mse_loss(model(x[valid]), y[valid]).sqrt().item())
rmse = float(np.mean(errors))
print(f"RMSE {rmse:.3f}")
