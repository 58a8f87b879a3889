"""A LightningModule whose training_step calls a network inside it, on noisy curves."""

import argparse

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--train", type=int, default=200)
args = parser.parse_args()


def made(count, seed):
    """Sixteen noisy numbers each; the target is how fast the curve behind them turns."""
    generator = torch.Generator().manual_seed(seed)
    speed = 0.5 + torch.rand(count, 1, generator=generator)
    x = torch.sin(speed * torch.arange(16)) + 0.5 * torch.randn(count, 16, generator=generator)
    return TensorDataset(x, speed)


class Speed(L.LightningModule):
    """Learns the speed."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.net.append(nn.Linear(64, 1))

    def training_step(self, batch, number):
        x, y = batch
        return (self.net(x) - y).square().mean()

    def validation_step(self, batch, number):
        x, y = batch
        self.log("val_loss", (self.net(x) - y).square().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


model = Speed()
trainer = L.Trainer(
    max_epochs=args.epochs,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[],
)
train = DataLoader(made(args.train, 0), 20, shuffle=True)
trainer.fit(model, train, DataLoader(made(200, 1), 200))
