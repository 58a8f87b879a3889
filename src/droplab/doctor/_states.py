"""The possible modes of models at one point of a program, and the passes that meet them."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from droplab.doctor._classes import ClassInfo


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode that a model may be in.

    kind: "assumed" is that of a model that comes from outside, which is nearly always train mode;
    "pretrained" is the eval mode in which `from_pretrained` leaves a model.
    by: The call that set it, for "eval" and "pretrained".
    text: The model as that call names it.
    guards: The conditions under which it was set, in this round of the loop.
    once: Whether it was set where something equals a certain value, as in the last epoch.
    """

    kind: Literal["train", "assumed", "eval", "pretrained", "unknown"]
    by: ast.Call | None = None
    text: str = ""
    guards: frozenset[str] = frozenset()
    once: bool = False


Modes = frozenset[Mode]
ASSUMED: Modes = frozenset({Mode("assumed")})
TRAIN: Modes = frozenset({Mode("train")})
UNKNOWN: Modes = frozenset({Mode("unknown")})


def awake(modes: Modes) -> bool:
    """Return whether a model is in train mode, whichever way the program came."""
    return all(mode.kind in ("train", "assumed") for mode in modes)


@dataclass
class State:
    """What is known at one point: the modes of each model, and which names are one object.

    Models have keys: the text of a global or an attribute, or a number and a name for a local of a
    function that is being followed.
    """

    modes: dict[str, Modes] = field(default_factory=dict[str, Modes])
    alias: dict[str, str] = field(default_factory=dict[str, str])
    holders: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Objects of other files that were given models, whose methods may change their mode."""

    def copy(self) -> State:
        """Return a state that changes alone."""
        return State(dict(self.modes), dict(self.alias), dict(self.holders))

    def become(self, other: State) -> None:
        """Take over what another state knows."""
        self.modes, self.alias, self.holders = other.modes, other.alias, other.holders

    def put(self, key: str, modes: Modes) -> None:
        """Set the mode of a model and of all its parts."""
        part = key + "."
        for known in [known for known in self.modes if known.startswith(part)]:
            self.modes[known] = modes
        self.modes[key] = modes

    def of(self, key: str) -> Modes:
        """Return the modes that a model may be in."""
        return self.modes.get(key, ASSUMED)

    def canonical(self, key: str) -> str:
        """Return the key under which an object is known first."""
        for _ in range(10):
            head, tail = key, ""
            while head not in self.alias:
                head, dot, last = head.rpartition(".")
                if not dot:
                    return key
                tail = dot + last + tail
            key = self.alias[head] + tail
        return key

    def bind(self, key: str, to: str | None, modes: Modes = ASSUMED) -> None:
        """Let a name stand for another object, or for a new one."""
        part = key + "."
        for table in (self.alias, self.modes, self.holders):
            for old in [old for old in table if old == key or old.startswith(part)]:
                del table[old]
        if to is None or to == key:
            self.modes[key] = modes
        else:
            self.alias[key] = to

    def unknown(self, key: str) -> None:
        """Note that something out of sight had a model in its hands."""
        part = key + "."
        for known in [*self.modes, key]:
            if known == key or known.startswith(part) or part.startswith(known + "."):
                self.modes[known] = UNKNOWN

    def all_unknown(self) -> None:
        """Note that the modes were set in a way that is not followed."""
        for known in self.modes:
            self.modes[known] = UNKNOWN

    def without(self, guard: str) -> State:
        """Return the state where a condition does not hold."""
        left = self.copy()
        for key, modes in self.modes.items():
            if modes is ASSUMED:
                continue
            kept = frozenset(mode for mode in modes if guard not in mode.guards)
            left.modes[key] = kept or modes
        return left

    def next_round(self) -> State:
        """Return the state at the top of the next round of a loop: conditions may differ there."""
        left = self.copy()
        for key, modes in self.modes.items():
            if not any(mode.guards for mode in modes):
                continue
            left.modes[key] = frozenset(replace(mode, guards=frozenset()) for mode in modes)
        return left


def join(states: Iterable[State | None]) -> State | None:
    """Return what is known where several ways meet; None stands for a way that ended before."""
    alive = [state for state in states if state is not None]
    if len(alive) < 2:
        return alive[0] if alive else None
    joined = alive[0].copy()
    for state in alive[1:]:
        for key in joined.modes.keys() - state.modes.keys():
            joined.modes[key] |= ASSUMED
        for key, modes in state.modes.items():
            mine = joined.modes.get(key, ASSUMED)
            # Nearly all are the very same object: most names are no models.
            joined.modes[key] = modes if mine is modes else mine | modes
        joined.alias.update(state.alias)
        joined.holders.update(state.holders)
    return joined


@dataclass
class Visit:
    """One run of a model, on the way that was followed.

    made: The class of the file that the model is an object of, if that is known.
    built: The one call that made it on the way that was followed; None if that is not known.
    trained: backward() came after it; stepped: so did an optimizer's step().
    """

    node: ast.Call
    key: str
    text: str
    modes: Modes
    no_grad: bool
    made: ClassInfo | None = None
    built: ast.Call | None = None
    trained: bool = False
    stepped: bool = False
