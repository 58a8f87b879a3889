"""The plan: which sites of a model get dropout, of which kind, at which rate, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from torch import nn

from droplab.errors import PlacementError, nearest, quote
from droplab.placement._applied import Applied, Edit
from droplab.placement._branches import branches, named_branches
from droplab.placement._hook import site_hooks
from droplab.placement._layers import KINDS, Kind
from droplab.placement._select import Choice, choose, is_exact, matches, spell
from droplab.placement._sites import Site, named_products, sites
from droplab.placement._table import ASSUMED, as_text, table
from droplab.placement._toml import dumps, read_plan
from droplab.placement._walk import BRANCH, inner, paths


class Plan:
    """A dry run: every edit with its path, kind, rate and reason. Print it to read it.

    Args:
        model: The model it is made for.
        edits: The sites that get dropout, in order.
        sites: All sites of the model.
    """

    def __init__(self, model: nn.Module, edits: tuple[Edit, ...], sites: tuple[Site, ...]) -> None:
        self.model = model
        self.edits = edits
        self.sites = sites
        self._applied: Applied | None = None

    @property
    def assumed(self) -> bool:
        """Whether something was read off the structure, for want of an example."""
        return any(site.assumed for site in self.sites)

    @property
    def names(self) -> tuple[str, ...]:
        """The sites that get dropout, in order."""
        return tuple(edit.name for edit in self.edits)

    @property
    def rates(self) -> dict[str, float]:
        """The rate of every site in the plan."""
        return {edit.name: edit.p for edit in self.edits}

    @property
    def left_out(self) -> tuple[tuple[Site, str], ...]:
        """The sites that get none, each with the reason."""
        chosen = set(self.names)
        return tuple(
            (site, site.refused or site.left_out or "no rate given")
            for site in self.sites
            if site.name not in chosen
        )

    def apply(self, *, own: Sequence[str] = ()) -> Applied:
        """Place the dropout and return what takes it out again.

        Compiled code is forgotten (for all models of the process), since torch would go on
        running it without the new hooks.

        Args:
            own: Paths of modules whose own random draws (dropout that is there already, noise) get
                keys as well, once the sites are seeded; see `OwnDropout.drawing`.

        Raises:
            PlacementError: If the plan is applied already, a site has droplab's dropout already,
                or a layer is no longer there.
        """
        if self._applied is not None and self._applied.active:
            raise PlacementError(
                "apply: expected a plan that is not applied, got one that is; revert it first"
            )
        model = inner(self.model)
        where = paths(model)
        for edit in self.edits:
            module = where.get(edit.name.removeprefix(BRANCH))
            if module is None or type(module).__name__ != edit.layer:
                came = "nothing" if module is None else f"a {type(module).__name__}"
                raise PlacementError(
                    f"apply: expected a {edit.layer} at '{edit.name}', got {came}; "
                    "the model has changed, plan again"
                )
            after = edit.kind == "path"
            taken = [hook for hook in site_hooks(module) if (hook.kind == "path") == after]
            if taken:
                raise PlacementError(
                    f"apply: expected no dropout of droplab at '{edit.name}', got "
                    f"p = {float(taken[0].p):g}; revert it first, or change it with set_rate"
                )
        self._applied = Applied(model, self.edits, own)
        return self._applied

    def revert(self) -> None:
        """Take out what `apply` placed.

        Raises:
            PlacementError: If the plan is not applied, or the model has changed since.
        """
        if self._applied is None or not self._applied.active:
            raise PlacementError("revert: expected an applied plan, got one that is not applied")
        self._applied.revert()

    @contextmanager
    def applied(self) -> Iterator[Applied]:
        """Place the dropout inside a `with` block."""
        applied = self.apply()
        try:
            yield applied
        finally:
            if applied.active:
                applied.revert()

    def save(self, path: str | Path) -> None:
        """Write the plan to a TOML file, which `load_plan` reads."""
        text = dumps(type(self.model).__name__, self.edits)
        Path(path).write_text(text, encoding="utf-8")

    def __rich__(self) -> RenderableType:
        return _shown(self)

    def __str__(self) -> str:
        return as_text(_shown(self))

    def __repr__(self) -> str:
        edits = ", ".join(f"{edit.name}={edit.p:g}" for edit in self.edits)
        out = len(self.before_batch_norm)
        rest = f"; {out} left out before a BatchNorm" if out else ""
        return f"Plan({type(self.model).__name__}: {edits}{rest})"

    @property
    def before_batch_norm(self) -> tuple[str, ...]:
        """The sites that get none because a BatchNorm follows their layer."""
        return tuple(site.name for site, _ in self.left_out if site.shifts and not site.refused)


def plan(
    model: nn.Module,
    rates: Any,
    kind: str | Mapping[Any, str] | None = None,
    example: Any = None,
) -> Plan:
    """Return a plan to place dropout in `model`, without touching it.

    Args:
        model: Any module; wrappers of `torch.compile` and DDP are looked through.
        rates: A drop probability for every hidden site, or a mapping to drop probabilities from
            names ("fc2"), globs ("layers.*.fc2"), regular expressions (compiled, or "re:..."), or
            layer types (`nn.Linear`, or "type:Linear"). A `Ramp(first, last)` in place of a
            number changes evenly with depth. An exact name wins over patterns.
        kind: One kind for every site, or a mapping of the same patterns to kinds; None for what
            suits each site. With "path" the names and patterns are about residual branches, by the
            layers that end them (see `branches`), and a number is for every branch.
        example: A batch to run once, so that nothing has to be assumed: a tensor, a tuple of
            arguments or a mapping of keyword arguments.

    Returns:
        The plan. It never holds the model's output, holds the model's own input only if that was
        asked for by its exact name, and a site whose layer a BatchNorm follows only if that was
        asked for by name, by type or by a pattern that means fewer than all sites.

    Raises:
        PlacementError: If a rate matches no site or two rules mean one site, a rate is no
            probability, a kind does not fit its site, the model cannot take hooks, or residual
            branches are asked for by patterns, or for the first time, without an example.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan(model, 0.3).rates
        {'2': 0.3}
        >>> plan(model, {"0": 0.2, "2": 0.5}).rates
        {'0': 0.2, '2': 0.5}
    """
    found = _found(model, rates, kind, example)
    where = paths(model)
    bases = {site.name: type(where.get(site.name.removeprefix(BRANCH))).__mro__ for site in found}
    choices = choose(found, rates, bases)
    edits = tuple(_edit(choice, *kind_of(choice.site, kind, bases)) for choice in choices)
    _check_kinds_used(kind, found, bases)
    return Plan(model, edits, found)


def _found(model: nn.Module, rates: Any, kind: Any, example: Any) -> tuple[Site, ...]:
    """Return the sites that rates may mean: residual branches are asked for by kind or by name."""
    names = list(rates) if isinstance(rates, Mapping) else []
    named = [name for name in names if isinstance(name, str) and name.startswith(BRANCH)]
    if kind == "path":
        if example is not None:
            found = branches(model, example)
        elif named and len(named) == len(names):
            found = named_branches(model, named)
        else:
            raise PlacementError(
                "kind: 'path' drops residual branches, which only running the model shows; give an "
                "example, a batch to run once"
            )
        if not found:
            raise PlacementError(
                f"kind: 'path' drops residual branches, and in the example {type(model).__name__} "
                "adds nothing that a layer returns to what that layer was given; use another kind"
            )
        return tuple(replace(site, aliases=_and_bare(site)) for site in found)
    found = tuple(sites(model, example))
    if example is None:
        found += named_products(model, [name for name in names if isinstance(name, str)])
    if not named:
        return found
    ends = named_branches(model, named) if example is None else branches(model, example)
    why = "a residual branch, which its name or kind = 'path' means"
    return (*found, *(replace(site, left_out=why) for site in ends))


def _and_bare(site: Site) -> tuple[str, ...]:
    """Return a branch's other names, and all its names without what tells it from an input."""
    every = (site.name, *site.aliases)
    return (*site.aliases, *(name.removeprefix(BRANCH) for name in every))


def load_plan(model: nn.Module, path: str | Path, example: Any = None) -> Plan:
    """Return the plan in a TOML file, made for `model`.

    Args:
        model: The model to plan for; it needs to have every site of the file.
        path: A file that `Plan.save` wrote.
        example: A batch to run once, as in `plan`.

    Raises:
        PlacementError: If the file is no plan, or a site is not in the model.
    """
    rates, kinds = read_plan(path)
    return plan(model, rates, kind=kinds, example=example)


def _shown(plan: Plan) -> RenderableType:
    shown = table("site", "layer", "kind", "rate", "reason")
    for edit in plan.edits:
        shown.add_row(Text(edit.name), edit.layer, edit.kind, f"{edit.p:g}", Text(edit.reason))
    for site, reason in plan.left_out:
        shown.add_row(Text(site.name), site.layer, "", "none", Text(reason), style="dim")
    lines = [Text(line) for line in _summary(plan)] + ([Text(ASSUMED)] if plan.assumed else [])
    return Group(shown, *lines) if lines else shown


def _summary(plan: Plan) -> Iterator[str]:
    """Say which part of a model a plan reaches, where BatchNorm has a say in it."""
    chosen = set(plan.names)
    shifted = sum(site.shifts and site.name in chosen for site in plan.sites)
    if shifted:
        yield (
            f"Warning: {shifted} of {len(chosen)} placed stand before a BatchNorm, which remembers "
            "the variance of training, and dropout makes that another than in eval."
        )
    out = plan.before_batch_norm
    if out:
        layers = sorted({site.layer for site in plan.sites if site.name in out})
        yield (
            f"{len(chosen)} of {len(plan.sites)} sites get dropout; {len(out)} are left out, since "
            f'a BatchNorm follows. A rate for their type, as {{"type:{layers[0]}": 0.1}}, or for a '
            "pattern of their names places it there, too."
        )


def _edit(choice: Choice, kind: Kind, why: str) -> Edit:
    site = choice.site
    notes = [why]
    if site.left_out:
        notes.append(f"asked for (else left out: {site.left_out})")
    if site.dropped_by:
        notes.append(f"comes on top of the dropout of '{site.dropped_by}', which is there already")
    if site.shares:
        notes.append(f"shares its input with {', '.join(site.shares)}; each has its own mask")
    if site.calls is not None and site.calls > 1:
        notes.append(f"called {site.calls} times, each with its own mask")
    if site.sometimes:
        notes.append("the model skips the layer at random")
    return Edit(site.name, site.layer, kind, choice.p, "; ".join(notes))


def kind_of(
    site: Site, kind: str | Mapping[Any, str] | None, bases: Mapping[str, tuple[type, ...]]
) -> tuple[Kind, str]:
    """Return the kind of dropout for a site, and why."""
    if kind is None or site.role == "branch":
        return site.kind, site.why
    if not isinstance(kind, Mapping):
        return _checked(site, kind)
    hits = [key for key in kind if matches(key, site, bases[site.name])]
    exact = [key for key in hits if is_exact(key, site)]
    hits = exact or hits
    if len(hits) > 1:
        names = " and ".join(f"'{spell(key)}'" for key in hits)
        raise PlacementError(f"kind: {names} both mean the site '{site.name}'; give one of them")
    return _checked(site, kind[hits[0]]) if hits else (site.kind, site.why)


def _checked(site: Site, kind: Any) -> tuple[Kind, str]:
    if kind not in KINDS:
        raise PlacementError(
            f"kind: expected one of {', '.join(KINDS)}, got {quote(kind)}"
            + (nearest(kind, KINDS) if isinstance(kind, str) else "; an example goes in example=")
        )
    if kind == "path":
        raise PlacementError(
            f"kind: 'path' drops what a residual branch returns, but '{site.name}' is the input of "
            f"a {site.layer}; use another kind, or name branches, 'path/' and their layer"
        )
    if kind == "locked" and site.role != "recurrent":
        raise PlacementError(
            f"kind: 'locked' shares masks over time and needs a recurrent layer, but '{site.name}' "
            f"is a {site.layer}; use 'element' or 'channel'"
        )
    if kind == "channel" and site.role in ("recurrent", "cell"):
        raise PlacementError(
            f"kind: 'channel' needs a convolution or linear layer, but '{site.name}' is a "
            f"{site.layer}; use 'locked' or 'element'"
        )
    return kind, f"{kind}, as asked"


def _check_kinds_used(
    kind: Any, found: tuple[Site, ...], bases: Mapping[str, tuple[type, ...]]
) -> None:
    if not isinstance(kind, Mapping):
        return
    for key in kind:
        if not any(matches(key, site, bases[site.name]) for site in found):
            raise PlacementError(
                f"kind: '{spell(key)}' matches no site"
                f"{nearest(spell(key), [site.name for site in found])}"
            )
