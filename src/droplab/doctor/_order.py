"""Training code followed in the order in which it runs, from each function that nobody calls.

Functions, methods and classes of the same file are followed where they are called; a loop is run
twice, so that the second round shows what the first one left behind. The result is the list of the
models' passes, each with the modes that the model may be in.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from droplab.doctor._classes import self_name
from droplab.doctor._events import Events, text_of
from droplab.doctor._follow import Follower, Frame, Loop
from droplab.doctor._gate import mentions_training
from droplab.doctor._literals import decided
from droplab.doctor._module import Module
from droplab.doctor._states import TRAIN, UNKNOWN, Modes, State, Visit, join

_BUDGET = 6000


@dataclass
class Entry:
    """What happens when one function is called from outside, or the file is run.

    region: The function, or the tree of the file.
    visits: Every run of a model, in order.
    learnt: Keys of the models whose parameters an optimizer may have got.
    modes: Every call that set a mode on the way, with the call that made its model, if known.
    """

    region: ast.AST
    visits: list[Visit]
    learnt: set[str]
    modes: dict[ast.Call, ast.Call | None]


class _TooLongError(Exception):
    """A program with more ways than are worth following."""


def entries(module: Module) -> list[Entry]:
    """Return the entries of a file: its own code, and the functions that it does not call."""
    if "order" not in module.cache:
        events = Events(module)
        called = events.called()
        regions = [module.tree, *(item for item in module.functions if item not in called)]
        found: list[Entry] = []
        for region in regions:
            follower = _Order(events)
            try:
                follower.start(region)
            except _TooLongError:
                continue
            if follower.visits:
                found.append(Entry(region, follower.visits, follower.learnt, follower.modes))
        module.cache["order"] = found
    return module.cache["order"]


class _Order(Follower):
    """Follows statements."""

    _steps = 0

    def start(self, region: ast.AST) -> None:
        """Follow a function that is called from outside, or a file that is run."""
        frame = self.frame(region)
        if isinstance(region, ast.FunctionDef | ast.AsyncFunctionDef):
            me = self_name(region) if self.events.is_method(region) else None
            if me is not None:
                frame.names[me] = "self"
        self.block(getattr(region, "body", []), State(), frame)

    def block(self, body: list[ast.stmt], state: State | None, frame: Frame) -> State | None:
        """Return the state after a block of statements; None if none gets there."""
        for statement in body:
            if state is None:
                return None
            self._steps += 1
            if self._steps > _BUDGET:
                raise _TooLongError
            state = self._statement(statement, state, frame)
        return state

    def _statement(self, node: ast.stmt, state: State, frame: Frame) -> State | None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return state
        if isinstance(node, ast.If):
            return self._if(node, state, frame)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            return self._loop(node, state, frame)
        if isinstance(node, ast.With | ast.AsyncWith):
            return self._with(node, state, frame)
        if isinstance(node, ast.Try | ast.TryStar):
            return self._try(node, state, frame)
        if isinstance(node, ast.Match):
            self.calls(node.subject, state, frame)
            ways = [self.block(case.body, state.copy(), frame) for case in node.cases]
            return join([*ways, state])
        self.calls(node, state, frame)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, node.value, state, frame)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node.target, node.value, state, frame)
        elif isinstance(node, ast.Return):
            key = self.key(node.value, state, frame) if node.value is not None else ""
            if key:
                frame.results.add(key)
            frame.left.append(state)
            return None
        elif isinstance(node, ast.Raise):
            return None
        elif isinstance(node, ast.Break | ast.Continue) and self.loops:
            loop = self.loops[-1]
            (loop.broken if isinstance(node, ast.Break) else loop.again).append(state)
            return None
        return state

    def _if(self, node: ast.If, state: State, frame: Frame) -> State | None:
        # A chain of elif is a loop here: each of them is one level deeper in the tree.
        ends: list[State | None] = []
        restored: list[State] = []
        rest = state
        left: list[Visit] = []
        while True:
            self.calls(node.test, rest, frame)
            way = decided(node.test, frame.given) if frame.given else None
            if way is not None:
                body = node.body if way else node.orelse
                ends.append(self._way(body, rest, frame, left))
                break
            test = ast.dump(node.test)
            self.guards.append(test)
            end = self._way(node.body, rest.copy(), frame, left)
            self.guards.pop()
            ends.append(end)
            if end is not None and mentions_training(node.test):
                restored.append(end)
            if "'__main__'" in test:
                break
            rest = rest.without(test)
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]
                continue
            ends.append(self._way(node.orelse, rest, frame, left))
            break
        self.pending = left
        joined = join(ends)
        if joined is not None and restored:
            _settle(joined, state, restored, ends[-1] if node.orelse else None)
        return joined

    def _way(
        self, body: list[ast.stmt], state: State, frame: Frame, left: list[Visit]
    ) -> State | None:
        """Follow one way of an `if`; what it leaves to learn from is no other way's."""
        before = list(self.pending)
        end = self.block(body, state, frame)
        known = {id(item) for item in left}
        left.extend(item for item in self.pending if id(item) not in known)
        self.pending = before
        return end

    def _loop(
        self, node: ast.For | ast.AsyncFor | ast.While, state: State, frame: Frame
    ) -> State | None:
        things: list[ast.expr] = []
        if not isinstance(node, ast.While):
            self.calls(node.iter, state, frame)
            if isinstance(node.iter, ast.Tuple | ast.List) and isinstance(node.target, ast.Name):
                things = [item for item in node.iter.elts if text_of(item)]
        loop = Loop()
        self.loops.append(loop)
        guards, self.guards = self.guards, []
        at: State | None = state
        for turn in range(len(things) or 2):
            if at is None:
                break
            if isinstance(node, ast.While):
                self.calls(node.test, at, frame)
            elif things:
                self.assign(node.target, things[turn], at, frame)
            else:
                modes = self.of_parts(node.iter, at, frame)
                for item in ast.walk(node.target):
                    if isinstance(item, ast.Name):
                        at.bind(self.raw_key(item, frame), None, modes)
            before = len(self.pending)
            loop.again.clear()
            at = join([self.block(node.body, at.next_round(), frame), *loop.again])
            if not things:
                # What one round leaves without backward() is not what a later one learns from.
                del self.pending[before:]
        self.guards = guards
        self.loops.pop()
        end = join([at, *loop.broken])
        return self.block(node.orelse, end, frame) if end is not None else None

    def _with(self, node: ast.With | ast.AsyncWith, state: State, frame: Frame) -> State | None:
        quiet = frame.no_grad
        exits: list[tuple[Frame, list[ast.stmt]]] = []
        at: State = state
        for item in node.items:
            call = item.context_expr
            if self.events.is_no_grad(call):
                frame.no_grad = True
                continue
            inner = self.events.function(call) if isinstance(call, ast.Call) else None
            halves = self.events.halves(inner) if inner is not None else None
            if inner is None or halves is None or not isinstance(call, ast.Call):
                self.calls(call, at, frame)
            else:
                new = self.enter(call, inner, at, frame)
                at = self.block(halves[0], at, new) or at
                exits.append((new, halves[1]))
            if item.optional_vars is not None:
                self.assign(item.optional_vars, call, at, frame)
        end = self.block(node.body, at, frame)
        for new, after in reversed(exits):
            if end is not None:
                end = self.block(after, end, new) or end
        frame.no_grad = quiet
        return end

    def _try(self, node: ast.Try | ast.TryStar, state: State, frame: Frame) -> State | None:
        loop = self.loops[-1] if self.loops else Loop()
        ways = (frame.left, loop.broken, loop.again)
        since = [len(way) for way in ways]
        body = self.block(node.body, state.copy(), frame)
        start = join([state, body]) or state
        ends = [self.block(item.body, start.copy(), frame) for item in node.handlers]
        after = self.block(node.orelse, body, frame) if body is not None else None
        for way, first in zip(ways, since, strict=True):
            # `finally` runs on every way out.
            for at in range(first, len(way)):
                way[at] = self.block(node.finalbody, way[at], frame)
        end = join([after, *ends])
        return self.block(node.finalbody, end, frame) if end is not None else None


def _settle(joined: State, before: State, flagged: list[State], other: State | None) -> None:
    """Set the modes after an `if` of a training flag; other is where its `else` ends."""
    for end in flagged:
        for key, modes in end.modes.items():
            if other is not None and _opposed(modes, other.of(key)):
                # `if train: model.train()`, else eval(): the caller decides.
                joined.modes[key] = UNKNOWN
            elif modes == TRAIN and before.of(key) != TRAIN:
                # `if was_training: model.train()` puts back what was there.
                joined.modes[key] = TRAIN


def _opposed(one: Modes, other: Modes) -> bool:
    kinds = [{mode.kind for mode in modes} for modes in (one, other)]
    return kinds in ([{"train"}, {"eval"}], [{"eval"}, {"train"}])
