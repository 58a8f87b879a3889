"""A small language model of characters, with dropout of its own, and accumulated gradients."""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--dropout", type=float, default=0.1)
args = parser.parse_args()

TEXT = Path(__file__).read_text(encoding="utf-8")  # a text that is there
letters = sorted(set(TEXT))
codes = torch.tensor([letters.index(each) for each in TEXT])
train, valid = codes[: int(0.8 * len(codes))], codes[int(0.8 * len(codes)) :]
WIDTH, HEADS, CONTEXT = 32, 4, 16


class Block(nn.Module):
    """Attention, then a network of two layers, each added to its input."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.drop = nn.Dropout(args.dropout)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (q, k, v))
        p = args.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        x = x + self.drop(self.proj(seen.transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class GPT(nn.Module):
    """Two blocks between an embedding and the next letter."""

    def __init__(self):
        super().__init__()
        self.letter, self.place = nn.Embedding(len(letters), WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, len(letters))

    def forward(self, x):
        x = self.letter(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch(data, count):
    starts = torch.randint(len(data) - CONTEXT - 1, (count,)).tolist()
    x = torch.stack([data[i : i + CONTEXT] for i in starts])
    return x, torch.stack([data[i + 1 : i + CONTEXT + 1] for i in starts])


def loss_of(model, data, count):
    x, y = batch(data, count)
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


model = GPT()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(args.epochs):
    model.train()
    for _ in range(args.steps):
        for _ in range(2):  # accumulated
            (loss_of(model, train, 8) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        val_loss = loss_of(model, valid, 64).item()
    print(f"{val_loss:.3f}")
