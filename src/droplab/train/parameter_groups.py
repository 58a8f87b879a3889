"""Which parameters of a model the groups of a recipe's optimizer mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from droplab.errors import ArgumentError, nearest
from droplab.recipe import NORMS_AND_BIASES, GroupSpec
from droplab.train.optimizers import Group

_NORM = re.compile(r"Norm(\d[dD])?$")


def find_groups(model: nn.Module, specs: Sequence[GroupSpec]) -> tuple[Group, ...]:
    """Return the parameters of each group, by their places among those of the model.

    A tied parameter goes by any of its names.

    Args:
        model: The model.
        specs: The groups.

    Raises:
        ArgumentError: If a pattern matches no parameter, or a parameter is in two groups.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        >>> found = find_groups(model, [GroupSpec("norms and biases", {"weight_decay": 0.0})])
        >>> names = [name for name, _ in model.named_parameters()]
        >>> [names[at] for at in found[0].numbers]
        ['0.bias', '1.weight', '1.bias']
    """
    place = {id(parameter): at for at, parameter in enumerate(model.parameters())}
    pairs = [(n, place[id(p)]) for n, p in model.named_parameters(remove_duplicate=False)]
    owner: dict[int, int] = {}
    found: list[Group] = []
    for number, spec in enumerate(specs):
        numbers: set[int] = set()
        for pattern in spec.match:
            if pattern == NORMS_AND_BIASES:
                matched = {place[each] for each in _norms_and_biases(model)}
            else:
                matched = {at for name, at in pairs if fnmatchcase(name, pattern)}
            if not matched:
                raise ArgumentError(
                    f"optimizer.groups[{number}].match: expected a pattern that matches a "
                    f"parameter of the model, got '{pattern}'"
                    f"{nearest(pattern, [name for name, _ in pairs])}"
                )
            numbers |= matched
        for at in sorted(numbers):
            if at in owner:
                name = next(name for name, other in pairs if other == at)
                raise ArgumentError(
                    f"optimizer.groups: expected each parameter in one group at most, got '{name}' "
                    f"in {specs[owner[at]]} and in {spec}; make their patterns disjoint"
                )
            owner[at] = number
        found.append(Group(tuple(sorted(numbers)), spec.arguments))
    return tuple(found)


def _norms_and_biases(model: nn.Module) -> Iterator[int]:
    """Yield the identities of parameters with one dimension, and of those of norms, whatever."""
    for module in model.modules():
        norm = _NORM.search(type(module).__name__) is not None
        for parameter in module.parameters(recurse=False):
            if norm or parameter.dim() <= 1:
                yield id(parameter)
