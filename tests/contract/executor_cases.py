"""Networks and optimizers made at random, to compare the executors of the training step on."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from droplab.train import Scheduler
from droplab.train.optimizers import build_optimizer, optimizer_names

WIDTH = 6
CLASSES = 3
TOKENS = 7


class AssignedAverage(nn.Module):
    """A running mean that is assigned."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class AssignedScale(nn.Module):
    """Its old value is needed by the backward pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(WIDTH))

    def forward(self, x):
        y = x * self.scale
        if self.training:
            self.scale = 0.95 * self.scale + 0.05 / (1 + x.detach().abs().mean(0))
        return y


class InPlaceAverage(AssignedAverage):
    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - self.mean


class AssignedCount(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.count = self.count + 1
        return x / (1 + 0.1 * self.count)


class PythonCount(nn.Module):
    """What no executor but the direct one can follow."""

    count = 0

    def forward(self, x):
        self.count += 1
        return x * (1 + 0.1 * self.count)


class Residual(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return x + self.inner(x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


class Scale(nn.Module):
    """A parameter without dimensions, and one that nothing uses."""

    def __init__(self):
        super().__init__()
        self.scale, self.unused = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.scale * x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x):
        return x + self.attention(x, x, x, need_weights=False)[0]


class Last(nn.Module):
    """The last output of a recurrent layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0][:, -1]


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def linear():
    return nn.Linear(WIDTH, WIDTH)


def frozen(make, part=""):
    layer = make()
    for name, parameter in layer.named_parameters():
        if part in name:
            parameter.requires_grad_(False)
    return layer


ACTIVATIONS = [nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus]
NORMS = [
    lambda: nn.BatchNorm1d(WIDTH),
    lambda: nn.BatchNorm1d(WIDTH, momentum=None),
    lambda: nn.BatchNorm1d(WIDTH, affine=False),
    lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False),
    lambda: nn.LayerNorm(WIDTH),
    lambda: nn.GroupNorm(2, WIDTH),
]
LAYERS = [
    linear,
    lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    Tied,
    Scale,
    AssignedAverage,
    AssignedScale,
    AssignedCount,
    InPlaceAverage,
    lambda: Residual(linear(), nn.GELU(), linear()),
    lambda: Residual(nn.BatchNorm1d(WIDTH), nn.ReLU(), linear()),
    lambda: parametrizations.weight_norm(linear()),
    lambda: parametrizations.spectral_norm(linear()),
    lambda: parametrizations.orthogonal(linear()),
    partial(frozen, linear, "bias"),
    partial(frozen, linear),
    partial(frozen, lambda: Residual(linear(), nn.Tanh(), linear())),
]
RARE = [PythonCount, lambda: nn.Dropout(0.2)]
"""What some executor has to refuse."""

FRONTS = {
    "features": [lambda: nn.Identity()],
    "images": [
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        ),
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.Conv2d(4, 4, 3, groups=4),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        ),
        lambda: nn.Sequential(
            frozen(lambda: nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
        ),
    ],
    "tokens": [
        lambda: nn.Sequential(nn.Embedding(TOKENS, WIDTH), Mean()),
        lambda: nn.Sequential(nn.Embedding(TOKENS, WIDTH, padding_idx=0), Attention(), Mean()),
        lambda: nn.Sequential(nn.Embedding.from_pretrained(torch.randn(TOKENS, WIDTH)), Mean()),
        lambda: nn.Sequential(
            nn.Embedding(TOKENS, WIDTH), Last(nn.LSTM(WIDTH, WIDTH, batch_first=True))
        ),
    ],
    "sequences": [
        lambda: Last(nn.GRU(WIDTH, WIDTH, batch_first=True)),
        lambda: Last(nn.RNN(WIDTH, WIDTH, batch_first=True)),
        lambda: nn.Sequential(Attention(), nn.LayerNorm(WIDTH), Mean()),
        lambda: nn.Sequential(
            nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.0, batch_first=True), Mean()
        ),
    ],
}
OUT = {"images": 16}


class OwnMomentum(torch.optim.Optimizer):
    """Treats every number by itself, in a class of its own with an attribute of its own."""

    def __init__(self, params, lr=0.05):
        super().__init__(params, {"lr": lr})
        self.decay = 0.9

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    kept = self.state[p].setdefault("kept", torch.zeros_like(p))
                    kept.mul_(self.decay).add_(p.grad)
                    p.sub_(group["lr"] * kept)


class Normed(torch.optim.Optimizer):
    """Divides by the norm of each tensor, as LARS and LAMB do."""

    def __init__(self, params, lr=0.05):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad / (p.grad.norm() + 1e-3))


class Lion(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-2, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if "exp_avg" not in state:
                        state["exp_avg"] = torch.zeros_like(p)
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    update = (0.9 * state["exp_avg"] + 0.1 * p.grad).sign()
                    p.sub_(group["lr"] * update)
                    state["exp_avg"].mul_(0.99).add_(p.grad, alpha=0.01)


EPSILON = 1e-6
"""Of optimizers that divide by roots: with torch's 1e-8 and less they make visible steps of
rounding, which is all that the gradient of a bias before a norm is, and differs by processor."""


def decay_matrices(parameters, kind=torch.optim.AdamW, **options):
    """Weight decay on what has more than one dimension, as modern scripts have it."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.3},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return kind([group for group in groups if group["params"]], **options)


def only_trained(parameters):
    return torch.optim.SGD([p for p in parameters if p.requires_grad], lr=0.1, momentum=0.9)


def head_alone(parameters):
    return torch.optim.Adam(list(parameters)[-2:], lr=1e-2, eps=EPSILON)


def head_faster(parameters):
    """Two groups in another order than that of the model."""
    *rest, weight, bias = parameters
    groups = [{"params": [weight, bias], "lr": 0.1}, {"params": rest}] if rest else [weight, bias]
    return torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True)


def biases_first(parameters):
    parameters = list(parameters)
    parameters.sort(key=lambda p: p.numel())
    return torch.optim.RMSprop(parameters, lr=1e-2, eps=EPSILON)


def by_name(name, parameters, **arguments):
    return build_optimizer(name, arguments, parameters)


FUNCTIONS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "decay on matrices": partial(decay_matrices, lr=1e-2, eps=EPSILON),
    "decay on matrices, fused": partial(decay_matrices, lr=1e-2, eps=EPSILON, fused=True),
    "decay on matrices, SGD": partial(decay_matrices, kind=torch.optim.SGD, lr=0.1),
    "only what is trained": only_trained,
    "the head alone": head_alone,
    "the head faster": head_faster,
    "the smallest first": biases_first,
    "own momentum": OwnMomentum,
    "own norms": Normed,
    "Lion": Lion,
}
_ROOTS = ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop")
NAMES = {
    name: partial(by_name, name, **({"eps": EPSILON} if name in _ROOTS else {}))
    for name in optimizer_names()
    if name not in ("Muon",)  # takes matrices alone, so no model with a bias
}
SIGN_LIKE = ("Rprop", "Lion")
"""Optimizers that make whole steps of a gradient however small it is."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its data and its optimizer."""

    number: int
    kind: str
    build: Callable[[], nn.Module]
    optimizer: str
    make_optimizer: Callable[[Any], torch.optim.Optimizer]
    clip: float | None
    scheduler: Scheduler | None
    layers: str
    choices: frozenset[tuple[str, Any]] = frozenset()
    """What was drawn, by the table that it is from."""

    def __str__(self):
        return f"case {self.number}: {self.kind}, {self.layers}; {self.optimizer}"


def make_case(number: int) -> Case:
    """Return the case of a number."""
    rng = random.Random(number)
    kind = rng.choice(list(FRONTS))
    front = rng.randrange(len(FRONTS[kind]))
    inner: list[tuple[str, int]] = []
    for _ in range(rng.randint(1, 2)):
        inner.append(("layer", rng.randrange(len(LAYERS))))
        if rng.random() < 0.5:
            inner.append(("norm", rng.randrange(len(NORMS))))
        inner.append(("activation", rng.randrange(len(ACTIVATIONS))))
    if rng.random() < 0.06:
        inner.append(("rare", rng.randrange(len(RARE))))
    tables = {"layer": LAYERS, "norm": NORMS, "activation": ACTIVATIONS, "rare": RARE}

    def build():
        model = nn.Sequential(
            FRONTS[kind][front](),
            nn.Linear(OUT.get(kind, WIDTH), WIDTH),
            *[tables[table][at]() for table, at in inner],
            nn.Linear(WIDTH, CLASSES),
        )
        return model.double()

    table = NAMES if rng.random() < 0.5 else FUNCTIONS
    name = rng.choice(list(table))
    scheduler = Scheduler("ExponentialLR", {"gamma": 0.5}) if rng.random() < 0.3 else None
    clip = rng.choice([None, None, None, 0.5])
    layers = " > ".join(
        type(module).__name__ for path, module in build().named_modules() if path.count(".") == 0
    )
    choices = frozenset([("front", (kind, front)), *inner, ("optimizer", name)])
    return Case(number, kind, build, name, table[name], clip, scheduler, layers, choices)


def pairs_of(case: Case) -> set[frozenset[tuple[str, Any]]]:
    """Return which choices of two tables meet in a case; what is rare is refused anyway."""
    usual = [choice for choice in case.choices if choice[0] != "rare"]
    return {frozenset((a, b)) for a in usual for b in usual if a[0] != b[0]}


# fmt: off
COVERING = (
    11, 12, 14, 21, 27, 48, 67, 78, 82, 84, 109, 111, 120, 122, 129, 151, 163, 166, 193, 199,
    202, 223, 244, 286, 288, 317, 320, 351, 361, 371, 421, 426, 435, 443, 457, 469, 497, 524,
    531, 535, 541, 554, 580, 637, 664, 712, 755, 783, 784, 796, 818, 865, 874, 925, 950, 962,
    1066, 1101, 1102, 1125, 1155, 1163, 1248, 1288, 1293, 1309, 1425, 1497, 1551, 1578, 1595,
    1615, 1652, 1662, 1720, 1742, 1848, 1862, 1890, 1919, 1938, 1948, 1952, 2013, 2020, 2046,
    2088, 2123, 2158, 2226, 2249, 2253, 2286, 2309, 2336, 2352, 2457, 2545, 2634, 2719, 2791,
    2793, 2861, 2888, 2940, 3047, 3109, 3222, 3234, 3286, 3365, 3467, 3481, 3673, 3686, 3787,
    3825, 3829, 3898, 3994,
)
# fmt: on
"""Cases chosen one by one of the first 4000, each for the pairs that the ones before it lack: in
them as many pairs meet as in 300 cases that are not chosen."""
