"""What the checks know by name: dropout layers and functions of torch and droplab."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache

MODULES = {
    "torch.nn.Dropout": "dropout",
    "torch.nn.Dropout1d": "dropout1d",
    "torch.nn.Dropout2d": "dropout2d",
    "torch.nn.Dropout3d": "dropout3d",
    "torch.nn.AlphaDropout": "alpha_dropout",
    "torch.nn.FeatureAlphaDropout": "feature_alpha_dropout",
}
"""Dropout modules of torch, and their functions in torch.nn.functional."""

CHANNEL_RANK = {
    "torch.nn.Dropout1d": 3,
    "torch.nn.Dropout2d": 4,
    "torch.nn.Dropout3d": 5,
}
"""Rank of a batched input of each channel dropout."""

ALPHA = frozenset({"torch.nn.AlphaDropout", "torch.nn.FeatureAlphaDropout"})
RECURRENT = frozenset({"torch.nn.LSTM", "torch.nn.GRU", "torch.nn.RNN"})
BATCHNORM = frozenset(
    f"torch.nn.{lazy}BatchNorm{rank}d" for lazy in ("", "Lazy") for rank in (1, 2, 3)
) | {"torch.nn.SyncBatchNorm"}
CONVOLUTIONS = frozenset(
    f"torch.nn.{lazy}Conv{kind}{rank}d"
    for lazy in ("", "Lazy")
    for kind in ("", "Transpose")
    for rank in (1, 2, 3)
)
SHAPELESS_ACTIVATIONS = frozenset(
    f"torch.nn.{name}"
    for name in [
        "ReLU",
        "ReLU6",
        "LeakyReLU",
        "PReLU",
        "RReLU",
        "ELU",
        "CELU",
        "SELU",
        "GELU",
        "SiLU",
        "Mish",
        "Softplus",
        "Softsign",
        "Tanh",
        "Sigmoid",
        "Hardtanh",
        "Hardswish",
        "Hardsigmoid",
        "LogSigmoid",
        "Identity",
    ]
) | frozenset(
    f"torch.{space}{name}"
    for space in ("nn.functional.", "")
    for name in [
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "elu",
        "elu_",
        "celu",
        "selu",
        "selu_",
        "gelu",
        "silu",
        "mish",
        "softplus",
        "tanh",
        "sigmoid",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
    ]
)
"""Functions of single elements that leave the shape alone."""


SELF_METHODS = frozenset(
    {"to", "cuda", "cpu", "xpu", "mps", "float", "half", "double", "bfloat16", "type", "to_empty"}
    | {"share_memory", "requires_grad_", "train", "eval", "tie_weights"}
)
"""Methods of a model that return the model itself."""

SAME_VALUES = frozenset(
    {".to", ".cuda", ".cpu", ".float", ".half", ".double", ".bfloat16", ".type"}
    | {".contiguous", ".clone"}
)
"""Methods of a tensor that return its values, elsewhere or in another type."""

REWEIGHTED = frozenset(
    f"torch.nn.utils.{space}{name}"
    for space in ("", "parametrizations.")
    for name in ("weight_norm", "spectral_norm", "orthogonal")
)
"""Functions that give back the layer they get, with its weight computed anew."""


_SETTINGS = re.compile(
    r"(?:^|_|[a-z])(?:[cC]onfig|[cC]fg|[cC]onf|[aA]rgs|[oO]pts?|[oO]ptions|[hH]params|[kK]wargs|"
    r"[hH]yper_?params|[hH]ps|[sS]ettings|FLAGS)$|^params$"
)
"""Names that stand for settings."""


@dataclass(frozen=True, slots=True)
class Functional:
    """Where a dropout function has its rate and its training flag."""

    rate: str
    rate_at: int
    flag: str
    flag_at: int
    default: bool | None
    """What the flag is if it is not given; None if it must be given."""

    def argument(self, call: ast.Call, name: str, at: int) -> ast.expr | None:
        """Return the expression given for an argument, or None."""
        return argument(call, name, at)

    def rate_of(self, call: ast.Call) -> ast.expr | None:
        """Return the expression given as rate, or None."""
        return argument(call, self.rate, self.rate_at)

    def flag_of(self, call: ast.Call) -> ast.expr | None:
        """Return the expression given as training flag, or None."""
        return argument(call, self.flag, self.flag_at)


_ON = Functional("p", 1, "training", 2, True)
_OFF = Functional("p", 1, "training", 2, False)
_ATEN = Functional("p", 1, "train", 2, None)

FUNCTIONS: dict[str, Functional] = {
    **{f"torch.nn.functional.{name}": _ON for name in ("dropout", "dropout1d", "dropout2d")},
    "torch.nn.functional.dropout3d": _ON,
    "torch.nn.functional.alpha_dropout": _OFF,
    "torch.nn.functional.feature_alpha_dropout": _OFF,
    **{
        f"torch.{name}{tail}": _ATEN
        for name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")
        for tail in ("", "_")
    },
    "droplab.dropout": _ON,
    "droplab.ops.dropout": _ON,
}
"""Dropout functions and their arguments."""


def argument(call: ast.Call, name: str, at: int) -> ast.expr | None:
    """Return the expression given for the argument `name` at position `at`, or None."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if at < len(call.args) and not any(isinstance(a, ast.Starred) for a in call.args[: at + 1]):
        return call.args[at]
    return None


def has_unpacking(call: ast.Call) -> bool:
    """Return whether a call has `*args` or `**kwargs`, so that arguments are unknown."""
    return any(isinstance(a, ast.Starred) for a in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    )


def number(node: ast.expr | None) -> float | None:
    """Return the value of a numeric literal (`0.5`, `-1`, `1 / 2`), or None.

    Example:
        >>> number(ast.parse("-0.5", mode="eval").body)
        -0.5
        >>> number(ast.parse("True", mode="eval").body) is None
        True
    """
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        try:
            return float(node.value)  # pyright: ignore[reportArgumentType]
        except OverflowError:
            return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = number(node.operand)
        if value is None:
            return None
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        above, below = number(node.left), number(node.right)
        return above / below if above is not None and below else None
    return None


def canonical(name: str) -> str:
    """Return the public name of a torch object that may be reached by several paths.

    Example:
        >>> canonical("torch.nn.modules.dropout.Dropout2d")
        'torch.nn.Dropout2d'
        >>> canonical("droplab.nn.Dropout")
        'torch.nn.Dropout'
    """
    if name.startswith("torch.nn.modules."):
        name = "torch.nn." + name.rpartition(".")[2]
    elif name.startswith(("droplab.nn.", "droplab.Dropout", "droplab.Alpha", "droplab.Feature")):
        twin = "torch.nn." + name.rpartition(".")[2]
        name = twin if twin in MODULES else name
    elif name.startswith(("torch.ao.nn.", "torch.fx.")):
        return name
    return name


@lru_cache(maxsize=4096)
def _named_for_settings(name: str) -> bool:
    return _SETTINGS.search(name) is not None


def is_settings(node: ast.expr) -> bool:
    """Return whether an expression names settings: `config`, `self.args`, `cfg.model`."""
    while isinstance(node, ast.Attribute):
        if _named_for_settings(node.attr):
            return True
        node = node.value
    return isinstance(node, ast.Name) and _named_for_settings(node.id)
