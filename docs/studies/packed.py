"""A GRU over sequences of unequal length, packed."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
args = parser.parse_args()


class Tagger(nn.Module):
    """Says whether a sequence has more large numbers than small ones."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(21, 16, padding_idx=0)
        self.gru = nn.GRU(16, 32, num_layers=2, dropout=0.1, batch_first=True)
        self.out = nn.Linear(32, 2)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(
            self.embed(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, hidden = self.gru(packed)
        return self.out(hidden[-1])


def made(count, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(5, 20, (count,), generator=generator)
    rows = [torch.randint(1, 21, (int(n),), generator=generator) for n in lengths]
    return [(row, int((row > 10).sum() * 2 > len(row))) for row in rows]


def collate(batch):
    rows, labels = zip(*batch, strict=True)
    lengths = torch.tensor([len(row) for row in rows])
    return pad_sequence(rows, batch_first=True), lengths, torch.tensor(labels)


train = DataLoader(made(200, 0), 20, shuffle=True, collate_fn=collate)
valid = DataLoader(made(400, 1), 400, collate_fn=collate)
model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(args.epochs):
    model.train()
    for tokens, lengths, y in train:
        loss = F.cross_entropy(model(tokens, lengths), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = sum(F.cross_entropy(model(t, n), y).item() for t, n, y in valid)
    print(f"{val_loss:.3f}")
