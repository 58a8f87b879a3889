"""Networks that may be recorded, and their near misses: what each does besides tensors."""

from __future__ import annotations

import itertools
import random
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

COUNT = 0
SEEN = {"steps": 0}


class Net(nn.Module):
    """12 numbers in, three classes, one hidden layer."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.fc2(self.hidden(F.relu(self.fc1(x))))

    def hidden(self, h):
        return h


class OwnDropout(Net):
    def hidden(self, h):
        return F.dropout(h, 0.3, self.training)


class Noise(Net):
    def hidden(self, h):
        return h + 0.1 * torch.randn_like(h) * torch.rand(1) if self.training else h


class Norm(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(16)

    def hidden(self, h):
        return self.norm(h) + h


class InPlaceBuffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def hidden(self, h):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * h.detach().mean(0))
            self.steps += 1
        return h - self.mean


class AssignedBuffer(InPlaceBuffer):
    def hidden(self, h):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h - self.mean


class NotesAtFirst(Net):
    size, order = None, None

    def hidden(self, h):
        if self.size is None:
            self.size = h.shape[1]
            self.order = torch.arange(self.size).flip(0)
        return h[:, self.order]


class Indices(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.arange(16).flip(0))
        self.embedding = nn.Embedding(16, 16)

    def hidden(self, h):
        return h + self.embedding(self.order).mean(0)


class Recurrent(Net):
    """Of oneDNN's LSTM, in two layers and both directions, over eight steps of two numbers."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 4, num_layers=2, bidirectional=True, batch_first=True)

    def hidden(self, h):
        return h + self.lstm(h.view(-1, 8, 2))[0][:, -2:].flatten(1)


RECORDED = [
    *(Net, OwnDropout, Noise, Norm, InPlaceBuffer, AssignedBuffer, NotesAtFirst, Indices),
    Recurrent,
]


class Counter(Net):
    calls = 0

    def hidden(self, h):
        self.calls += 1
        return h


class LateBranch(Counter):
    def hidden(self, h):
        return super().hidden(h) if self.calls < 1000 else 2 * h


class ClassCounter(Net):
    total = 0

    def hidden(self, h):
        ClassCounter.total += 1
        return h


class GlobalCounter(Net):
    def hidden(self, h):
        global COUNT
        COUNT += 1
        return h


def _note():
    SEEN["steps"] += 1
    return SEEN["steps"] > 1000


class HelperCounter(Net):
    def hidden(self, h):
        return 2 * h if _note() else h


class DefaultCounter(Net):
    def hidden(self, h, seen=[]):  # noqa: B006
        seen.append(1)
        return h


def _counting():
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        return calls

    return count


class Closure(Net):
    count = staticmethod(_counting())

    def hidden(self, h):
        return 2 * h if Closure.count() > 1000 else h


class Iterator(Net):
    def __init__(self):
        super().__init__()
        self.numbers = itertools.cycle([1.0] * 50 + [2.0])

    def hidden(self, h):
        return h * next(self.numbers)


class Holder(Net):
    def __init__(self):
        super().__init__()
        self.state = SimpleNamespace(inner={"calls": 0})

    def hidden(self, h):
        self.state.inner["calls"] += 1
        return h


class Hidden(Net):
    """Its counter is in a module that is no submodule."""

    def __init__(self):
        super().__init__()
        self.others = [Counter()]

    def hidden(self, h):
        return self.others[0].hidden(h)


class Growing(Net):
    def __init__(self):
        super().__init__()
        self.losses = []

    def hidden(self, h):
        self.losses.append(0)
        return h


class KeepsTensor(Net):
    last = None

    def hidden(self, h):
        before, self.last = self.last, h.detach().mean(0)
        return h if before is None else h + 0.1 * before


class PythonRandom(Net):
    def hidden(self, h):
        return h if random.random() > 1e-6 else 2 * h


class OwnRandom(Net):
    def __init__(self):
        super().__init__()
        self.random = random.Random(0)

    def hidden(self, h):
        return h if self.random.random() > 1e-6 else 2 * h


class NumpyRandom(Net):
    def hidden(self, h):
        return h if np.random.rand() > 1e-6 else 2 * h  # noqa: NPY002


class NumpyGenerator(Net):
    def __init__(self):
        super().__init__()
        self.numbers = np.random.default_rng(0)

    def hidden(self, h):
        return h if self.numbers.random() > 1e-6 else 2 * h


class Clock(Net):
    def hidden(self, h):
        return h * (1 + 1e-9 * (time.perf_counter_ns() % 1000003))


class DataBranch(Net):
    def hidden(self, h):
        return h if h.sum() > -1e9 else 2 * h


class BufferBranch(InPlaceBuffer):
    def hidden(self, h):
        scale = 2.0 if self.steps.item() == 100 else 1.0
        self.steps += 1
        return scale * h


class BufferNumber(InPlaceBuffer):
    def hidden(self, h):
        scale = 1.0 + 1e-6 * self.steps.item()
        self.steps += 1
        return scale * h


class WeightBranch(Net):
    def hidden(self, h):
        return h if self.fc1.weight[0, 0].item() > -10 else 2 * h


class LargeWeights(Net):
    """Does otherwise where weights are larger than these become in a few steps; numpy looks."""

    def hidden(self, h):
        return h if np.abs(self.fc1.bias.detach().numpy()).max() < 1 else 2 * h


class OwnTorchGenerator(Net):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def hidden(self, h):
        return h + 0.01 * torch.rand(h.shape, generator=self.generator)


NOT_RECORDED = [
    Counter,
    LateBranch,
    ClassCounter,
    GlobalCounter,
    HelperCounter,
    DefaultCounter,
    Closure,
    Iterator,
    Holder,
    Hidden,
    Growing,
    KeepsTensor,
    PythonRandom,
    OwnRandom,
    NumpyRandom,
    NumpyGenerator,
    Clock,
    DataBranch,
    BufferBranch,
    BufferNumber,
    WeightBranch,
    LargeWeights,
    OwnTorchGenerator,
]
