"""Sites: the inputs of a model's weight layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text
from torch import nn

from droplab.placement._layers import Kind, Role, default_kind, is_batch_norm, is_dropout, role
from droplab.placement._products import may_multiply
from droplab.placement._table import ASSUMED, as_text, table
from droplab.placement._trace import SiteRecord, trace
from droplab.placement._walk import unique


@dataclass(frozen=True)
class Site:
    """One place where dropout can go: the input of a weight layer, of `nn.Bilinear` both inputs.

    Args:
        name: The layer's path in the model, "." if the model itself is the layer.
        layer: Class name of the layer.
        role: Which kind of weight layer it is.
        kind: The kind of dropout that suits it.
        why: The reason for that kind.
        left_out: Why only its exact name places dropout here; empty if any rule does.
        refused: Why dropout cannot be placed here at all; empty if it can.
        assumed: Whether this is read off the model's structure, not recorded from an example.
        aliases: Other paths under which the same layer is registered.
        calls: How often the layer was called in the example; None without one.
        shape: The shape of its input in the example; None without one.
        dropped_by: The module whose dropout dropped its input already in the example.
        shares: Other sites whose input was the very same tensor in the example.
        shifts: Whether it is left out for a BatchNorm after the layer, so that a pattern that
            narrows it down places dropout here all the same.
        sometimes: Whether the model skips the layer at random, in training or altogether.
    """

    name: str
    layer: str
    role: Role
    kind: Kind
    why: str
    left_out: str = ""
    refused: str = ""
    assumed: bool = True
    aliases: tuple[str, ...] = ()
    calls: int | None = None
    shape: tuple[int, ...] | None = None
    dropped_by: str = ""
    shares: tuple[str, ...] = ()
    shifts: bool = False
    sometimes: bool = False


class Sites(tuple[Site, ...]):
    """The sites of a model; print them to see a table."""

    __slots__ = ()

    def __rich__(self) -> RenderableType:
        return _shown(self)

    def __str__(self) -> str:
        return as_text(_shown(self))


def sites(model: nn.Module, example: Any = None) -> Sites:
    """Return the sites of a model in the order of its modules.

    Args:
        model: Any module; wrappers of `torch.compile` and DDP are looked through.
        example: A batch to run once: a tensor, a tuple of arguments or a mapping of keyword
            arguments. Without one, what only running can tell is assumed from the structure.

    Returns:
        One `Site` for each linear, convolution and recurrent layer. With an example also one for
        each module that multiplies its input by weights of its own and reads it nowhere else, and
        one that is refused for each other weight by which a module multiplies in its own code.

    Raises:
        PlacementError: If the model cannot take hooks, or the example does not run.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> [(site.name, site.kind, site.left_out) for site in sites(model)]
        [('0', 'element', "the model's own input (assumed)"), ('2', 'element', '')]
    """
    assumed = _assume(model)
    if example is None:
        return Sites(assumed)
    shown = trace(model, example)
    layers = {site.name: site for site in assumed}
    used = {path: names for path, names in shown.products.items() if path not in shown.mixed}
    layers |= {site.name: site for site in named_products(model, [p for p in used if used[p]])}
    order = {names[0]: at for at, names in enumerate(unique(model).values())}
    recorded = [
        _recorded(layers[name], shown.sites.get(name))
        for name in sorted(layers, key=order.__getitem__)
    ]
    recorded = [replace(s, shares=tuple(n for n in s.shares if n in layers)) for s in recorded]
    there = {name for names in used.values() for name in names}
    loose = [
        Site(
            name=name,
            layer="Parameter",
            role="linear",
            kind="element",
            why="",
            refused=f"no layer, but a weight of {where}: nothing is called whose input could be "
            "dropped; use a layer, or drop in the code",
            assumed=False,
        )
        for name, where in shown.weights.items()
        if name not in there
    ]
    return Sites((*recorded, *loose))


def named_products(model: nn.Module, names: Sequence[str]) -> tuple[Site, ...]:
    """Return sites at modules of these names that have matrices of their own, and are no layers.

    It is assumed that they multiply their inputs by these: whoever names them has seen it in an
    example.
    """
    kind, _ = default_kind("linear", after_selu=False)
    return tuple(
        Site(
            name=paths[0],
            layer=type(module).__name__,
            role="linear",
            kind=kind,
            why="element-wise, for weights of its own multiply its input",
            aliases=tuple(paths[1:]),
        )
        for module, paths in unique(model).items()
        if not set(names).isdisjoint(paths) and may_multiply(module, paths[0])
    )


def _shown(found: Sequence[Site]) -> RenderableType:
    if found and all(site.role == "branch" for site in found):
        shown = table("branch", "its last layer", "output", "can be dropped")
        for site in found:
            shape = " x ".join(map(str, site.shape or ()))
            refusal = f"no: {site.refused}" if site.refused else "yes"
            shown.add_row(Text(site.name), site.layer, shape, Text(refusal))
        return shown
    shown = table("site", "layer", "kind", "input", "placed by default")
    for site in found:
        refusal = site.refused or site.left_out
        shown.add_row(
            Text(site.name),
            site.layer,
            site.kind,
            "" if site.shape is None else " x ".join(map(str, site.shape)),
            Text(
                f"no: {refusal}"
                if refusal
                else "yes, skipped at random"
                if site.sometimes
                else "yes"
            ),
        )
    assumed = any(site.assumed for site in found)
    return Group(shown, Text(ASSUMED)) if assumed else shown


def _recorded(site: Site, record: SiteRecord | None) -> Site:
    """Return what the example says in place of what the structure suggests."""
    if record is None:  # scripted: nothing inside can be watched
        return replace(site, assumed=False)
    kind, why = site.kind, site.why
    if (record.activation == "selu") != (kind == "alpha"):
        kind, why = default_kind(site.role, after_selu=record.activation == "selu")
    refused = site.refused
    if not record.calls and not refused:
        refused = "never called in the example"
        if record.used_by:
            refused = f"never called: its weight is used directly, by {record.used_by}"
    elif record.dtype is not None and not record.dtype.is_floating_point and not refused:
        refused = f"its input is of {record.dtype}, of which nothing can be dropped"
    left_out = ""
    if record.raw:
        left_out = "the model's own input"
    elif record.batch_norm_follows:
        left_out = "a BatchNorm follows the layer: dropout would shift its variance"
    return replace(
        site,
        kind=kind,
        why=why,
        left_out=left_out,
        shifts=record.batch_norm_follows and not record.raw,
        refused=refused,
        assumed=False,
        calls=record.calls,
        shape=record.shape,
        dropped_by=record.dropped_by,
        shares=tuple(sorted(record.shares)),
        sometimes=record.sometimes,
    )


def _assume(model: nn.Module) -> tuple[Site, ...]:
    modules = unique(model)
    leaves = [m for m in modules if _is_leaf(m)]
    order = {module: at for at, module in enumerate(leaves)}
    first_weights = next((m for m in leaves if _has_weights(m)), None)
    heads = {m.out_proj for m in modules if isinstance(m, nn.MultiheadAttention)}
    found: list[Site] = []
    for module, names in modules.items():
        what = role(module)
        scripted = _scripted_role(module)
        if what is None and scripted is None:
            continue
        at = order[module]
        kind, why = default_kind(what or "linear", after_selu=_after_selu(leaves, at))
        refused = left_out = ""
        shifts = False
        if scripted:
            refused = "inside a scripted module, whose code is fixed and ignores new hooks"
        elif module in heads:
            refused = "never called: MultiheadAttention multiplies by its weight directly"
        elif module is first_weights:
            left_out = "the model's own input (assumed)"
        elif _followed_by_batch_norm(leaves, at):
            left_out = "a BatchNorm follows the layer (assumed): dropout would shift its variance"
            shifts = True
        found.append(
            Site(
                name=names[0],
                layer=scripted or type(module).__name__,
                role=what or "linear",
                kind=kind,
                why=why,
                left_out=left_out,
                shifts=shifts,
                refused=refused,
                aliases=tuple(names[1:]),
            )
        )
    return tuple(found)


def _is_leaf(module: nn.Module) -> bool:
    return (
        role(module) is not None
        or isinstance(module, nn.MultiheadAttention)
        or not any(True for _ in module.children())
    )


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _scripted_role(module: nn.Module) -> str | None:
    if not isinstance(module, torch.jit.ScriptModule):
        return None
    name = getattr(module, "original_name", "")
    cls = getattr(nn, name, None)
    return name if isinstance(cls, type) and issubclass(cls, _WEIGHT_LAYERS) else None


_WEIGHT_LAYERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase)


def _followed_by_batch_norm(leaves: list[nn.Module], at: int) -> bool:
    for module in leaves[at + 1 :]:
        if is_batch_norm(module):
            return True
        if _has_weights(module):
            return False
    return False


def _after_selu(leaves: list[nn.Module], at: int) -> bool:
    for module in reversed(leaves[:at]):
        if isinstance(module, nn.SELU):
            return True
        if not (is_dropout(module) or isinstance(module, nn.Identity | nn.Flatten)):
            return False
    return False
