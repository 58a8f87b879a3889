"""Models that the placement tests share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """The tutorial's network, small: functional activations, nothing that drops."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(20, 16)
        self.fc2 = nn.Linear(16, 12)
        self.fc3 = nn.Linear(12, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Block(nn.Module):
    """A residual block without a norm."""

    def __init__(self, size):
        super().__init__()
        self.a = nn.Linear(size, size)
        self.b = nn.Linear(size, size)

    def forward(self, x):
        return x + self.b(F.relu(self.a(x)))


class Residual(nn.Module):
    """Repeated blocks in a ModuleList, heads in a ModuleDict."""

    def __init__(self, depth=3):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(Block(8) for _ in range(depth))
        self.heads = nn.ModuleDict({"x": nn.Linear(8, 2), "unused": nn.Linear(8, 3)})

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.heads["x"](x)


class ConvNet(nn.Module):
    """A BatchNorm after the second convolution only, and not next to it in the order."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 8, 3)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.conv1((x - 0.5) / 0.25))
        x = F.relu(self.norm(self.conv2(x)))
        return self.fc(x.mean((2, 3)))


class Recurrent(nn.Module):
    """An embedding, an LSTM and a head."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, batch_first=batch_first)
        self.head = nn.Linear(5, 3)

    def forward(self, tokens):
        out, _ = self.lstm(self.embed(tokens))
        return self.head(out)


class Dropping(nn.Module):
    """Dropout in every form that code has."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.1))
        self.lstm = nn.LSTM(6, 6, 2, dropout=0.2)
        self.mha = nn.MultiheadAttention(6, 2, dropout=0.3)
        self.attn_drop = nn.Dropout(0.15)
        self.drop_rate = 0.4

    def forward(self, x):
        x = F.dropout(self.block(x), float(self.drop_rate), training=self.training)
        x, _ = self.lstm(x)
        x, _ = self.mha(x, x, x, need_weights=False)
        p = self.attn_drop.p if self.training else 0.0
        x = F.scaled_dot_product_attention(x, x, x, dropout_p=p)
        return F.dropout(F.dropout(x, training=self.training), 0.25, self.training)


MODELS = {
    "net": (Net, lambda: torch.randn(4, 20)),
    "residual": (Residual, lambda: torch.randn(4, 6)),
    "conv": (ConvNet, lambda: torch.randn(4, 3, 8, 8)),
    "recurrent": (Recurrent, lambda: torch.randint(11, (4, 7))),
    "dropping": (Dropping, lambda: torch.randn(5, 4, 6)),
}


@pytest.fixture
def build():
    """Return a function that builds a model by name, always with the same weights."""

    def make(name, **arguments):
        torch.manual_seed(0)
        return MODELS[name][0](**arguments)

    return make


@pytest.fixture
def batch():
    """Return a function that makes an example batch for a model by name."""

    def make(name):
        torch.manual_seed(1)
        return MODELS[name][1]()

    return make


@pytest.fixture
def net(build):
    return build("net")


@pytest.fixture
def x(batch):
    return batch("net")


def all_hooks(model):
    """Return every hook dictionary of every module, as plain data."""
    names = [name for name in vars(nn.Module()) if "hooks" in name]
    return [
        {name: dict(getattr(module, name) or {}) for name in names} for module in model.modules()
    ]


@pytest.fixture
def hooks():
    return all_hooks


@pytest.fixture
def fingerprint():
    """Return everything of a model that a revert has to give back."""

    def make(model):
        return (
            [(name, id(module)) for name, module in model.named_modules()],
            {
                name: (id(t), t.detach().clone())
                for name, t in model.state_dict(keep_vars=True).items()
            },
            [(module.training, sorted(vars(module))) for module in model.modules()],
            all_hooks(model),
        )

    return make


@pytest.fixture
def same():
    """Return a function that compares two fingerprints."""

    def compare(before, after):
        assert before[0] == after[0]
        assert before[1].keys() == after[1].keys()
        for name, (identity, value) in before[1].items():
            assert after[1][name][0] == identity, name
            assert torch.equal(after[1][name][1], value), name
        assert before[2] == after[2]
        assert before[3] == after[3]

    return compare
