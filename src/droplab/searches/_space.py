"""A space of plans on a model: numbers that may be chosen, and the arm that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from droplab import placement
from droplab.errors import ArgumentError, PlacementError
from droplab.placement import OwnDropout
from droplab.recipe import Arm, ScheduleSpec
from droplab.searches._spec import Part, SpaceSpec

Choice = dict[str, Any]
"""The value of each knob by its name: a number, or one of a few words."""

MOST_KNOBS = 200
"""More numbers than any search finds: a model of many layers is searched block by block."""

_GROWTH = "growth"


@dataclass(frozen=True)
class Knob:
    """One number, or word, that is chosen for every plan.

    Args:
        name: What Optuna calls it.
        low: The least value.
        high: The largest.
        step: What values differ by.
        words: The words to choose from, in place of a number.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.01
    words: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What it is, for people.

        Example:
            >>> Knob("fc2", 0.0, 0.8).said
            'fc2: 0 to 0.8'
        """
        what = " or ".join(self.words) if self.words else f"{self.low:g} to {self.high:g}"
        return f"{self.name}: {what}"


@dataclass(frozen=True)
class _Placed:
    """A part of a space, with the places that it means in a model, in the order of the model."""

    part: Part
    places: tuple[str, ...]

    def key(self, place: str) -> str:
        """Return the name of the knob that a place goes by."""
        before = "existing " if self.part.existing else ""
        if self.part.by == "site":
            return before + place
        if self.part.by == "block":
            return f"{before}block {block_of(place)}"
        return f"{before}{' '.join(self.part.names) or 'all'}"

    @property
    def knobs(self) -> list[Knob]:
        part = self.part
        names = dict.fromkeys(map(self.key, self.places))
        knobs = [Knob(name, part.low, part.high, part.step) for name in names]
        if part.by == "depth":
            knobs.append(Knob(f"{knobs[0].name} {_GROWTH}", 0.0, 1.0, 0.05))
        return knobs

    def rates(self, choice: Mapping[str, Any]) -> dict[str, float]:
        """Return the rate of each place."""
        if self.part.by != "depth":
            return {place: _rounded(choice[self.key(place)]) for place in self.places}
        first, growth = (float(choice[knob.name]) for knob in self.knobs)
        last, steps = first + growth * (self.part.high - first), max(1, len(self.places) - 1)
        return {
            place: _rounded(first + (last - first) * at / steps)
            for at, place in enumerate(self.places)
        }

    def choice(self, rates: Mapping[str, float]) -> Choice:
        """Return what makes these rates, if anything does: the caller has to try it."""
        own = [rates.get(place, 0.0) for place in self.places]
        if self.part.by != "depth":
            return {self.key(place): p for place, p in zip(self.places, own, strict=True)}
        first, growth = self.knobs
        room = self.part.high - own[0]
        grown = (own[-1] - own[0]) / room if room > 0 else 0.0
        return {first.name: own[0], growth.name: round(grown / growth.step) * growth.step}


@dataclass(frozen=True)
class Space:
    """The plans that a search may propose for a model.

    Args:
        spec: What was asked for.
        placed: Its parts with the places that they mean.

    Example:
        >>> from droplab.models import MLP
        >>> from droplab.searches import read_space
        >>> space = Space.of(read_space("site"), MLP(4, (3, 3), 2))
        >>> [knob.name for knob in space.knobs]
        ['fc2', 'fc3']
        >>> dict(space.arm("a", {"fc2": 0.1, "fc3": 0.5}).rates)
        {'fc2': 0.1, 'fc3': 0.5}
    """

    spec: SpaceSpec
    placed: tuple[_Placed, ...]

    @classmethod
    def of(cls, spec: SpaceSpec, model: nn.Module, own: OwnDropout | None = None) -> Space:
        """Return the space on a model; `own` is the dropout that it has.

        Raises:
            ArgumentError: If a part means no place, two parts mean one, or there are too many
                numbers to choose.
        """
        placed: list[_Placed] = []
        whose: dict[tuple[bool, str], Part] = {}
        for part in spec.parts:
            places = _existing(part, own or OwnDropout()) if part.existing else _sites(part, model)
            for place in places:
                if (part.existing, place) in whose:
                    raise ArgumentError(
                        f"space: two parts mean '{place}', and a place has one rate; name it in "
                        "one of them"
                    )
                whose[part.existing, place] = part
            placed.append(_Placed(part, places))
        space = cls(spec, tuple(placed))
        if len(space.knobs) > MOST_KNOBS:
            raise ArgumentError(
                f"space: expected at most {MOST_KNOBS} numbers to choose, got {len(space.knobs)}; "
                "take one rate for each block (by = 'block'), or fewer sites"
            )
        return space

    @property
    def knobs(self) -> list[Knob]:
        """Everything that is chosen for a plan."""
        knobs = [knob for each in self.placed for knob in each.knobs]
        if len(self.spec.kinds) > 1:
            knobs.append(Knob("kind", words=self.spec.kinds))
        if len(self.spec.schedules) > 1:
            knobs.append(Knob("schedule", words=tuple(map(_said, self.spec.schedules))))
        return knobs

    @property
    def places(self) -> list[str]:
        """Every place, added ones first, in the order of the parts and the model."""
        return [place for each in self.placed for place in each.places]

    @property
    def changes_existing(self) -> bool:
        """Whether rates that the model has are among them."""
        return any(each.part.existing for each in self.placed)

    def arm(self, name: str, choice: Mapping[str, Any]) -> Arm:
        """Return the arm that a choice means."""
        rates: dict[str, float] = {}
        existing: dict[str, float] = {}
        for each in self.placed:
            (existing if each.part.existing else rates).update(each.rates(choice))
        kinds, schedules = self.spec.kinds, self.spec.schedules
        kind = choice["kind"] if len(kinds) > 1 else next(iter(kinds), None)
        schedule = next(iter(schedules), None)
        if len(schedules) > 1:
            schedule = next(s for s in schedules if _said(s) == choice["schedule"])
        if not any(rates.values()):
            kind = schedule = None
        return Arm(name, rates, kind=kind, existing=existing, schedule=schedule)

    def choice(self, arm: Arm, rates: Mapping[str, float]) -> Choice | None:
        """Return what makes an arm of another run; None if nothing in the space does.

        Args:
            arm: The arm.
            rates: The rates of its sites by their names, patterns resolved.
        """
        choice: Choice = {}
        for each in self.placed:
            choice.update(each.choice(arm.existing if each.part.existing else rates))
        for knob in self.knobs:
            if knob.name == "kind":
                choice["kind"] = arm.kind or self.spec.kinds[0]
            elif knob.name == "schedule":
                choice["schedule"] = _said(arm.schedule)
            elif not _reaches(knob, choice[knob.name]):
                return None
        try:
            made = self.arm(arm.name, choice)
        except (StopIteration, KeyError):
            return None
        wanted = {name: p for name, p in rates.items() if p}
        same = {name: p for name, p in made.rates.items() if p} == wanted
        return choice if same and arm_key(made)[1:] == arm_key(arm)[1:] else None

    def common(self, share: float) -> Choice:
        """Return the choice of one common rate, at so much of the way through each range."""
        choice: Choice = {}
        for knob in self.knobs:
            if knob.words:
                choice[knob.name] = knob.words[0]
            elif knob.name.endswith(_GROWTH):
                choice[knob.name] = 0.0
            else:
                steps = round(share * (knob.high - knob.low) / knob.step)
                choice[knob.name] = knob.low + steps * knob.step
        return choice


def arm_key(arm: Arm) -> tuple[Any, ...]:
    """Return what makes an arm what it is, whatever its name: equal keys train the same."""
    rates = tuple(sorted((name, p) for name, p in arm.rates.items() if p))
    kind = arm.kind if rates else None
    return rates, tuple(sorted(arm.existing.items())), kind, _said(arm.schedule)


def block_of(site: str) -> str:
    """Return the block of a model that a site is in: the innermost numbered part around its layer.

    Example:
        >>> block_of("encoder.layers.3.linear1"), block_of("layer1.0.conv2"), block_of("fc2")
        ('encoder.layers.3', 'layer1.0', 'fc2')
    """
    around = site.split(".")[:-1]
    numbered = [at for at, step in enumerate(around) if step.isdigit()]
    if numbered:
        return ".".join(around[: numbered[-1] + 1])
    return ".".join(around) or site


def _sites(part: Part, model: nn.Module) -> tuple[str, ...]:
    rates: Any = dict.fromkeys(part.names, 0.5) if part.names else 0.5
    try:
        found = placement.plan(model, rates).rates
    except PlacementError as error:
        raise ArgumentError(f"space.{error}") from error
    if not found:
        raise ArgumentError(
            "space: the model has no hidden site to search; name its sites, or search rates that "
            "it has already (existing)"
        )
    return tuple(found)


def _existing(part: Part, own: OwnDropout) -> tuple[str, ...]:
    try:
        return tuple(own.changes(dict.fromkeys(part.names, 0.5)))
    except PlacementError as error:
        raise ArgumentError(f"space.{error}") from error


def _reaches(knob: Knob, value: Any) -> bool:
    """Whether a number is one of a knob's."""
    steps = (value - knob.low) / knob.step
    return knob.low - 1e-9 <= value <= knob.high + 1e-9 and abs(steps - round(steps)) < 1e-6


def _rounded(p: float) -> float:
    return round(float(p), 6)


def _said(schedule: ScheduleSpec | None) -> str:
    return "none" if schedule is None else str(schedule)
