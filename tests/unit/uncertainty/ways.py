"""Ways in which people write dropout, and inputs for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import droplab.nn

X = torch.randn(150, 8, generator=torch.Generator().manual_seed(0))
"""More than two blocks, and no whole number of them."""


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, atol=1e-5)


class Gate(nn.Module):
    """A model around one way to drop, with a BatchNorm that must stay as it is."""

    def __init__(self, way):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.way = way
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.way(self.norm(self.first(x))))


class Function(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


class Guarded(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5) if self.training else x


class ParentGuarded(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(x) if self.training else x


class FarGuarded(nn.Module):
    """A head of training alone, with dropout inside, beside what eval mode returns."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))

    def forward(self, x):
        return x + self.head(x) if self.training else x


class Channels(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.drop = drop

    def forward(self, x):
        return self.drop(x[..., None, None]).flatten(1)


class FunctionOnChannels(nn.Module):
    def forward(self, x):
        return F.dropout2d(x[..., None, None], 0.5, self.training).flatten(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x):
        return self.lstm(x[:, None].expand(-1, 3, -1))[0][:, -1]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)

    def forward(self, x):
        x = x[:, None] * torch.ones(3, 1)
        return self.attention(x, x, x)[0].sum(1)


class DotProduct(nn.Module):
    def forward(self, x):
        x = x[:, None] * torch.arange(1.0, 4.0)[:, None]
        p = 0.5 if self.training else 0.0
        return F.scaled_dot_product_attention(x, x, x, dropout_p=p).sum(1)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)

    def forward(self, x):
        return self.layer(x[:, None] * torch.arange(1.0, 4.0)[:, None]).sum(1)


class Depth(nn.Module):
    """Stochastic depth as timm has it."""

    def forward(self, x):
        if not self.training:
            return x
        return x * x.new_empty(len(x), 1).bernoulli_(0.5) / 0.5


class ByHand(nn.Module):
    def forward(self, x):
        return x * (torch.rand_like(x) > 0.5) * 2 if self.training else x


class FloatAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = 0.5

    def forward(self, x):
        return F.dropout(x, p=self.dropout, training=self.training)


WAYS = {
    "nn.Dropout": lambda: nn.Dropout(0.5),
    "nn.Dropout in place": lambda: nn.Dropout(0.5, inplace=True),
    "nn.AlphaDropout": lambda: nn.AlphaDropout(0.5),
    "nn.Dropout2d": lambda: Channels(nn.Dropout2d(0.5)),
    "F.dropout": Function,
    "F.dropout if training": Guarded,
    "a module that its parent calls in training": ParentGuarded,
    "a head of training alone": FarGuarded,
    "F.dropout2d": FunctionOnChannels,
    "a rate in an attribute": FloatAttribute,
    "nn.LSTM": Recurrent,
    "nn.MultiheadAttention": Attention,
    "scaled_dot_product_attention": DotProduct,
    "nn.TransformerEncoderLayer": Encoder,
    "stochastic depth": Depth,
    "written by hand": ByHand,
    "droplab.nn.Dropout": lambda: droplab.nn.Dropout(0.5),
    "droplab.nn.GaussianDropout": lambda: droplab.nn.GaussianDropout(0.5),
}


def model_with(way: str) -> Gate:
    torch.manual_seed(1)
    model = Gate(WAYS[way]())
    model.norm.running_mean.fill_(0.3)
    model.norm.running_var.fill_(2.0)
    return model
