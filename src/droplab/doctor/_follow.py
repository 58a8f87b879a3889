"""Following expressions: which object a name stands for, and what a call does to its mode."""

from __future__ import annotations

import ast
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._events import Events, ModeSet, assigned_names, calls_of, text_of
from droplab.doctor._literals import literals
from droplab.doctor._results import leads
from droplab.doctor._states import ASSUMED, TRAIN, UNKNOWN, Mode, Modes, State, Visit, join

_DEPTH = 5
_ONLY_LOOKS = re.compile("clip|norm|numel|count|sum$|len$|print")


@dataclass
class Frame:
    """A call of a function that is being followed.

    names: What its arguments stand for; local: every name of its own; outer: the call of the
    function that it stands in.
    """

    function: ast.AST
    number: int
    local: frozenset[str]
    outer: Frame | None = None
    no_grad: bool = False
    names: dict[str, str] = field(default_factory=dict[str, str])
    given: dict[str, object] = field(default_factory=dict[str, object])
    """Arguments that a literal was passed for, or whose default stands."""
    results: set[str] = field(default_factory=set[str])
    left: list[State | None] = field(default_factory=list["State | None"])


@dataclass
class Loop:
    """The ways out of a loop's body other than its end."""

    broken: list[State | None] = field(default_factory=list["State | None"])
    again: list[State | None] = field(default_factory=list["State | None"])


class Follower(ABC):
    """Follows calls; what a statement does, its subclass knows."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.visits: list[Visit] = []
        self.pending: list[Visit] = []
        self.guards: list[str] = []
        self.loops: list[Loop] = []
        self._count = 0
        self._stack: list[ast.AST] = []
        self._given: dict[ast.AST, str] = {}
        self._instances: dict[str, ClassInfo] = {}
        self._models: set[str] = set()
        self.learnt: set[str] = set()
        self.modes: dict[ast.Call, ast.Call | None] = {}
        self._origins: dict[str, ast.Call | None] = {}
        self._made_by: dict[str, tuple[ast.Call | None, str]] = {}

    @abstractmethod
    def block(self, body: list[ast.stmt], state: State | None, frame: Frame) -> State | None:
        """Return the state after a block of statements; None if none gets there."""

    def frame(self, function: ast.AST, frame: Frame | None = None) -> Frame:
        """Return the frame of a call of a function."""
        self._count += 1
        known = self.events.locals
        if function not in known:
            known[function] = assigned_names(function)
        around = self.events.module.function(function)
        outer = frame
        while outer is not None and outer.function is not around:
            outer = outer.outer
        quiet = frame is not None and frame.no_grad
        for item in getattr(function, "decorator_list", ()):
            quiet = quiet or self.events.is_no_grad(item)
        return Frame(function, self._count, known[function], outer, quiet)

    def key(self, node: ast.AST, state: State, frame: Frame) -> str:
        """Return the key of the object that an expression names, or ""."""
        node = self.events.bare(node)
        if isinstance(node, ast.Call):
            return self._given.get(node, "")
        text = text_of(node)
        if not text:
            return ""
        head, dot, tail = text.partition(".")
        at: Frame | None = frame
        while at is not None and head not in at.local:
            at = at.outer
        base = head if at is None else at.names.get(head, f"{at.number}:{head}")
        return state.canonical(f"{base}{dot}{tail}".replace(".module", ""))

    def raw_key(self, node: ast.AST, frame: Frame) -> str:
        """Return the key of a name that is assigned, whatever it stood for before."""
        return self.key(node, State(), frame)

    def of_parts(self, things: ast.expr, state: State, frame: Frame) -> Modes:
        """Return the modes of what a loop takes out of something: those of the models in it."""
        keys = {self.key(item, state, frame) for item in ast.walk(things) if text_of(item)}
        known = [state.of(key) for key in keys if key in self._models]
        return frozenset[Mode]().union(*known) or ASSUMED

    def assign(self, target: ast.expr, value: ast.expr, state: State, frame: Frame) -> None:
        """Let a target stand for a value."""
        if isinstance(target, ast.Tuple | ast.List):
            self._unpack(target, value, state, frame)
            return
        if isinstance(target, ast.Attribute) and target.attr == "training":
            state.all_unknown()
            return
        raw = self.raw_key(target, frame)
        if not raw:
            return
        found = self.key(value, state, frame)
        if found and found == state.canonical(raw):
            return
        names = {item.id for item in ast.walk(value) if isinstance(item, ast.Name)}
        if isinstance(target, ast.Name) and target.id in frame.names and target.id not in names:
            # An argument's name that now stands for something else; the caller's object stays.
            del frame.names[target.id]
            raw = self.raw_key(target, frame)
        self._originate(raw, found, self.events.bare(value))
        modes = None if found else self._made(value, state, frame)
        held: tuple[str, ...] = ()
        if not found and modes is None and isinstance(value, ast.Call):
            keys = [self.key(item, state, frame) for item in _arguments(value)]
            held = tuple(key for key in keys if key in state.modes)
            held = () if self.events.harmless(value) else held
            if raw in keys:
                # model = wrap(model): what came back is in some mode.
                modes = UNKNOWN
        state.bind(raw, found or None, modes or ASSUMED)
        if modes:
            self._models.add(raw)
        if held:
            state.holders[raw] = held

    def _originate(self, raw: str, found: str, value: ast.AST) -> None:
        """Note which call made the object that a name stands for; of two, it is not known."""
        call = value if isinstance(value, ast.Call) and not found else None
        origin = self._origins.get(found) if found else call
        key = found or raw
        first = self._made_by.setdefault(raw, (origin, key))
        if first[0] is not origin:
            # Where the ways meet, it is either.
            origin = self._origins[first[1]] = None
        self._origins[key] = origin

    def _unpack(self, target: ast.Tuple | ast.List, value: ast.expr, state: State, frame: Frame):
        given: list[ast.expr] = []
        if isinstance(value, ast.Tuple | ast.List):
            given = value.elts
        elif isinstance(value, ast.Call) and getattr(value.func, "attr", "") == "prepare":
            given = value.args
        for at, one in enumerate(target.elts):
            if len(given) == len(target.elts):
                self.assign(one, given[at], state, frame)
            elif (key := self.raw_key(one, frame)) and (key in state.modes or key in state.alias):
                state.bind(key, None, UNKNOWN)

    def _made(self, node: ast.expr, state: State, frame: Frame) -> Modes | None:
        """Return the modes of a new object; None if nothing says that it is a model."""
        bare = self.events.bare(node)
        modes: Modes | None = None
        if isinstance(bare, ast.Call):
            if text_of(bare.func).rpartition(".")[2] == "deepcopy" and bare.args:
                key = self.key(bare.args[0], state, frame)
                modes = state.of(key) if key else None
            elif self.events.pretrained(bare):
                modes = frozenset({Mode("pretrained", bare, "the model")})
            elif self.events.builds(bare):
                modes = TRAIN
            elif self.events.loads(bare):
                modes = UNKNOWN
        at: ast.expr = node
        while isinstance(at, ast.Call) and isinstance(at.func, ast.Attribute):
            # Net().to(device).eval(): the outermost one counts.
            mode = self.events.mode(at)
            if mode is not None:
                return self._modes(at, mode, "the model")
            at = at.func.value
        return modes

    def _modes(self, call: ast.Call, mode: ModeSet, text: str) -> Modes:
        if mode == "eval":
            once = any("Eq()" in test and "Mod()" not in test for test in self.guards)
            return frozenset({Mode("eval", call, text, frozenset(self.guards), once)})
        return TRAIN if mode == "train" else UNKNOWN

    def calls(self, region: ast.AST, state: State, frame: Frame) -> None:
        """Follow every call of an expression or a simple statement; the state is changed."""
        # A loop and a function are met more than once.
        known = self.events.calls
        if region not in known:
            known[region] = calls_of(region)
        for call in known[region]:
            self._call(call, state, frame)

    def _call(self, call: ast.Call, state: State, frame: Frame) -> None:
        events, function = self.events, call.func
        inner = events.function(call)
        owner = function.value if isinstance(function, ast.Attribute) else None
        name = function.attr if isinstance(function, ast.Attribute) else text_of(function)
        self._learn(call, name, owner, state, frame)
        if inner is not None:
            self.follow(call, inner, state, frame)
            return
        if owner is not None and (mode := events.mode(call)) is not None:
            key = self.key(owner, state, frame)
            if key:
                self._models.add(key)
                origin = self._origins.get(key)
                self.modes[call] = origin if self.modes.get(call, origin) is not None else None
                new = self._modes(call, mode, text_of(events.bare(owner)))
                chosen = any(isinstance(item, ast.IfExp) for item in self._around(call))
                state.put(key, new | state.of(key) if chosen else new)
            return
        if owner is not None and name == "backward":
            for visit in () if frame.no_grad else self.pending:
                visit.trained = visit.trained or leads(events.module, visit.node, call)
            return
        if name == "zero_grad" and owner is not None:
            # The gradients are thrown away: what was run for them is not trained.
            key = self.key(owner, state, frame)
            for visit in self.visits:
                visit.trained = visit.trained and (visit.stepped or visit.key != key)
        if events.is_step(call):
            for visit in self.visits:
                visit.stepped = visit.stepped or visit.trained
        if self._object(call, name, owner, state, frame):
            return
        passed = self._passed(call, owner, state, frame)
        if passed is not None:
            key, text = passed
            made, built = self._instances.get(key), self._origins.get(key)
            visit = Visit(call, key, text, state.of(key), frame.no_grad, made, built)
            self.visits.append(visit)
            if not frame.no_grad:
                self.pending.append(visit)
        self._hand_over(call, name, state, frame)

    def _learn(
        self, call: ast.Call, name: str, owner: ast.expr | None, state: State, frame: Frame
    ) -> None:
        """Note models whose parameters are asked for, and those that become parts of others."""
        if owner is not None and name in ("parameters", "named_parameters"):
            around = self.events.module.parents.get(call)
            asks = getattr(around, "func", None)
            if not _ONLY_LOOKS.search(text_of(asks) if asks is not None else ""):
                self.learnt.add(self.key(owner, state, frame))
            return
        if "optim" in name.lower():
            self.learnt.update(self.key(item, state, frame) for item in _arguments(call))
        elif self.events.builds(call) and self.events.bare(call) is call:
            # A part of a larger model shares its mode.
            for item in _arguments(call):
                key = self.key(item, state, frame)
                if key in self._origins:
                    self._origins[key] = None

    def _around(self, node: ast.AST) -> list[ast.AST]:
        found: list[ast.AST] = []
        for above in self.events.module.ancestors(node):
            if isinstance(above, ast.stmt):
                break
            found.append(above)
        return found

    def _object(
        self, call: ast.Call, name: str, owner: ast.expr | None, state: State, frame: Frame
    ) -> bool:
        """Follow what an object of the file's own classes does; whether it was one."""
        made = self.events.instance(call)
        if made is not None:
            self._count += 1
            key = f"{self._count}:{made.name}"
            self._given[call] = key
            self._instances[key] = made
            self._origins[key] = call
            state.put(key, TRAIN)
            if made.is_module:
                self._models.add(key)
                return True
            start = made.find_method("__init__")
            if start is not None:
                self.follow(call, start, state, frame, key)
            return True
        if owner is None:
            return False
        key = self.key(owner, state, frame)
        info = self._instances.get(key)
        method = info.find_method(name) if info is not None and not info.is_module else None
        if method is not None:
            self.follow(call, method, state, frame, key)
            return True
        if name not in ("step", "zero_grad", "update"):
            for held in state.holders.get(key, ()):
                state.unknown(held)
        if key and self.events.touches(call) and (key == "self" or key in self._models):
            state.unknown(key)
        return False

    def _passed(
        self, call: ast.Call, owner: ast.expr | None, state: State, frame: Frame
    ) -> tuple[str, str] | None:
        """Return key and text of the model that a call runs, if it runs one."""
        node: ast.expr = call.func
        if owner is not None and (
            getattr(node, "attr", "") == "forward" or "loss" in getattr(node, "attr", "")
        ):
            node = owner
        key, text = self.key(node, state, frame), text_of(node)
        if not key or self.events.imported(node) or key in self.events.by_name:
            return None
        known = key in self._models or text.replace(".module", "") in self.events.models
        if key == "self":
            method = self.events.module.method(call)
            known = method is not None and method[0].is_module
        return (key, text) if known else None

    def _hand_over(self, call: ast.Call, name: str, state: State, frame: Frame) -> None:
        """Note which models a function out of sight gets."""
        quiet = self.events.harmless(call)
        for given in _arguments(call):
            nested = self.events.by_name.get(given.id) if isinstance(given, ast.Name) else None
            if nested is not None and name == "step":
                # optimizer.step(closure)
                self.follow(call, nested, state, frame, arguments=False)
            elif not quiet and (key := self.key(given, state, frame)):
                if key != "self":
                    state.unknown(key)
                elif self.events.touches(call):
                    state.unknown("self")

    def follow(
        self,
        call: ast.Call,
        function: Function,
        state: State,
        frame: Frame,
        me: str = "",
        *,
        arguments: bool = True,
    ) -> None:
        """Run a function of the file where it is called; the state is changed."""
        if function in self._stack or len(self._stack) >= _DEPTH:
            return
        new = self.enter(call, function, state, frame, me, arguments=arguments)
        self._stack.append(function)
        loops, self.loops = self.loops, []
        end = join([self.block(function.body, state.copy(), new), *new.left])
        self.loops = loops
        self._stack.pop()
        if end is not None:
            state.become(end)
        self._given.pop(call, None) if not me else None
        if len(new.results) == 1:
            self._given[call] = next(iter(new.results))

    def enter(
        self,
        call: ast.Call,
        function: Function,
        state: State,
        frame: Frame,
        me: str = "",
        *,
        arguments: bool = True,
    ) -> Frame:
        """Return the frame of a call, its arguments bound to what was passed."""
        new = self.frame(function, frame)
        spec = [*function.args.posonlyargs, *function.args.args]
        if self.events.is_method(function) and spec and self_name(function):
            owner = call.func.value if isinstance(call.func, ast.Attribute) else call.func
            new.names[spec.pop(0).arg] = me or self.key(owner, state, frame)
        if not arguments:
            return new
        new.given = literals(function, call, spec)
        for argument, given in zip(spec, call.args, strict=False):
            if isinstance(given, ast.Starred):
                break
            if key := self.key(given, state, frame):
                new.names[argument.arg] = key
        for keyword in call.keywords:
            if keyword.arg and (key := self.key(keyword.value, state, frame)):
                new.names[keyword.arg] = key
        return new


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(item.value for item in call.keywords)]
