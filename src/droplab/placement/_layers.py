"""Which layers have a site, and which kind of dropout suits the input of each."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Kind = Literal["element", "channel", "locked", "alpha", "path"]
"""How the elements of a site's input share their masks.

`element`: every element has its own. `channel`: all positions of a channel share one.
`locked`: all time steps of a sequence share one. `alpha`: elements, or channels before a
convolution, with the affine correction that keeps SELU's mean and variance. `path`: all elements of
a sample share one, at the end of a residual branch.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

Role = Literal["linear", "conv", "recurrent", "cell", "branch"]

LINEAR_BY_NAME = frozenset({"transformers.pytorch_utils.Conv1D"})
"""Linear layers of other libraries, by full class name, so that nothing has to be imported."""

_WHY = {
    "linear": "element-wise, the default for the input of a linear layer",
    "conv": "whole channels, since neighbouring positions of a map carry the same information",
    "recurrent": "one mask for all time steps, so that memory is not erased step by step",
    "cell": "element-wise, since a cell sees one time step at a time",
    "alpha": "keeps the mean and variance that the SELU before it relies on",
}

_DEFAULT: dict[Role, Kind] = {
    "linear": "element",
    "conv": "channel",
    "recurrent": "locked",
    "cell": "element",
    "branch": "path",
}


def full_name(cls: type) -> str:
    """Return the import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def role_of(cls: type) -> Role | None:
    """Return what kind of weight layer a class makes, None if its input is not a site."""
    if issubclass(cls, nn.Linear | nn.Bilinear):
        return "linear"
    if issubclass(cls, _ConvNd):
        return "conv"
    if issubclass(cls, nn.RNNBase):
        return "recurrent"
    if issubclass(cls, nn.RNNCellBase):
        return "cell"
    if any(full_name(base) in LINEAR_BY_NAME for base in cls.__mro__):
        return "linear"
    return None


def role(module: nn.Module) -> Role | None:
    """Return what kind of weight layer `module` is, None if its input is not a site."""
    return role_of(type(module)) or ("linear" if _looks_linear(module) else None)


_SIZES = (("in_features", "out_features"), ("in_channels", "out_channels"))


def _looks_linear(module: nn.Module) -> bool:
    """Whether a layer is called a linear one and has the sizes of one: graphs', quantised ones'.

    What holds a weight layer, as an adapter does, only passes its input on to that one.
    """
    names = [cls.__name__.lower() for cls in type(module).__mro__[:-1]]
    if not any(name.endswith("linear") and not name.endswith("bilinear") for name in names):
        return False
    sizes = any(all(isinstance(vars(module).get(name), int) for name in pair) for pair in _SIZES)
    return sizes and not any(role(child) for child in module.children())


def default_kind(what: Role, *, after_selu: bool) -> tuple[Kind, str]:
    """Return the default kind for a site and the reason for it."""
    if after_selu and what != "recurrent":
        return "alpha", _WHY["alpha"]
    return _DEFAULT[what], _WHY[what]


def input_count(cls: type) -> int:
    """Return how many of the first arguments of a layer are inputs that it multiplies."""
    return 2 if issubclass(cls, nn.Bilinear) else 1


def spatial_dims(module: nn.Module) -> int:
    """Return the number of spatial dimensions of a convolution."""
    if isinstance(module, _ConvTransposeNd | _ConvNd):
        return len(module.kernel_size)
    return 0


def is_batch_norm(module: nn.Module) -> bool:
    """Say whether `module` normalises with statistics of the batch."""
    return isinstance(module, _BatchNorm)


def is_own(module: nn.Module) -> bool:
    """Say whether `module` is a layer of `droplab.nn`."""
    return any(cls.__module__.startswith("droplab.nn") for cls in type(module).__mro__)


def is_dropout(module: nn.Module) -> bool:
    """Say whether `module` is a dropout layer of torch or of this package, or named like one."""
    if isinstance(module, nn.modules.dropout._DropoutNd) or is_own(module):
        return True
    name = type(module).__name__
    return any(word in name for word in _DROPS) and not module._modules


_DROPS = ("Drop", "StochasticDepth", "Stochastic_Depth")
