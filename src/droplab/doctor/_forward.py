"""Reading the statements of a `forward` into a graph."""

from __future__ import annotations

import ast
from functools import cached_property

from droplab.doctor._classes import ClassInfo, Function, self_name
from droplab.doctor._elsewhere import derives_elsewhere, lineage
from droplab.doctor._flow import Graph, Op, layer, sequential_items
from droplab.doctor._module import Module


class Forward:
    """Reads a `forward` statement by statement into a graph."""

    def __init__(self, module: Module, owner: ClassInfo, method: Function) -> None:
        self.module = module
        self.owner = owner
        self.graph = Graph(module, owner)
        self.graph.name = owner.name
        self.me = self_name(method) or "self"
        env: dict[str, Op] = {}
        arguments = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
        for argument in arguments[1:]:
            env[argument.arg] = self.graph.add("input", argument, [], name=argument.arg)
        self.block(method.body, env)

    @cached_property
    def _inherits(self) -> bool:
        """Whether dropout may stand in a base elsewhere: to read the files of bases takes time."""
        owner = self.owner
        return derives_elsewhere(owner) and any(
            "drop" in name.lower() and not owner.values(name) and owner.find_method(name) is None
            for name in owner.reads
        )

    def block(self, statements: list[ast.stmt], env: dict[str, Op]) -> bool:
        """Run statements; returns False if the block always leaves the function."""
        return all(self.statement(statement, env) for statement in statements)

    def statement(self, node: ast.stmt, env: dict[str, Op]) -> bool:
        """Run one statement; returns False if it leaves the function."""
        if isinstance(node, ast.Assign):
            value = self.value(node.value, env)
            for target in node.targets:
                self.assign(target, node.value, value, env)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self.assign(node.target, node.value, self.value(node.value, env), env)
        elif isinstance(node, ast.AugAssign):
            inputs = [self.value(node.target, env), self.value(node.value, env)]
            kind = type(node.op).__name__.lower()
            op = self.graph.add(kind, node, [i for i in inputs if i is not None])
            self.assign(node.target, node.value, op, env)
        elif isinstance(node, ast.Return):
            value = self.value(node.value, env) if node.value is not None else None
            self.graph.add("return", node, [value] if value is not None else [])
            return False
        elif isinstance(node, ast.Raise):
            return False
        elif isinstance(node, ast.Expr):
            self.value(node.value, env)
        elif isinstance(node, ast.If):
            self.value(node.test, env)
            return self.branches(node, [node.body, node.orelse], env)
        elif isinstance(node, ast.For | ast.AsyncFor | ast.While):
            if isinstance(node, ast.For | ast.AsyncFor):
                self.assign(node.target, node.iter, self.value(node.iter, env), env)
            self.branches(node, [node.body, []], env)
            self.block(node.orelse, env)
        elif isinstance(node, ast.With | ast.AsyncWith):
            return self.block(node.body, env)
        elif isinstance(node, ast.Try):
            self.branches(node, [node.body, *(h.body for h in node.handlers)], env)
            return self.block(node.finalbody, env)
        return True

    def branches(self, node: ast.AST, blocks: list[list[ast.stmt]], env: dict[str, Op]) -> bool:
        """Run alternatives and merge what they leave in each variable."""
        ends: list[dict[str, Op]] = []
        for block in blocks:
            mine = dict(env)
            if self.block(block, mine):
                ends.append(mine)
        if not ends:
            return False
        names = {name for end in ends for name in end}
        for name in names:
            values: list[Op] = []
            for end in ends:
                value = end.get(name)
                if value is not None and all(value is not other for other in values):
                    values.append(value)
            env[name] = values[0] if len(values) == 1 else self.graph.add("phi", node, values)
        return True

    def assign(
        self, target: ast.expr, source: ast.expr, value: Op | None, env: dict[str, Op]
    ) -> None:
        """Bind a target to a value."""
        if isinstance(target, ast.Name):
            if value is None:
                env.pop(target.id, None)
            else:
                env[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.inputs if value is not None and value.kind == "tuple" else []
            for at, part in enumerate(target.elts):
                if len(parts) == len(target.elts):
                    self.assign(part, source, parts[at], env)
                else:
                    item = self.graph.add("item", source, [value] if value is not None else [])
                    self.assign(part, source, item, env)

    def value(self, node: ast.expr, env: dict[str, Op]) -> Op | None:
        """Return the operation that computes an expression; None for constants."""
        if isinstance(node, ast.Name):
            return env.get(node.id)
        if isinstance(node, ast.Call):
            return self.call(node, env)
        if isinstance(node, ast.Constant | ast.Lambda):
            return None
        if isinstance(node, ast.IfExp):
            self.value(node.test, env)
            return self._join("phi", node, [node.body, node.orelse], env)
        if isinstance(node, ast.BinOp):
            return self._operator(node, env)
        if isinstance(node, ast.Tuple | ast.List):
            return self._join("tuple", node, node.elts, env, keep=True)
        if isinstance(node, ast.Subscript):
            return self._join("getitem", node, [node.value], env)
        if isinstance(node, ast.Attribute):
            return self._join("." + node.attr, node, [node.value], env)
        if isinstance(node, ast.NamedExpr):
            value = self.value(node.value, env)
            self.assign(node.target, node.value, value, env)
            return value
        if isinstance(node, ast.Starred):
            return self.value(node.value, env)
        children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return self._join("?", node, children, env)

    def _operator(self, node: ast.BinOp, env: dict[str, Op]) -> Op | None:
        # A long sum is a deep tree: walk its left edge instead of recursing.
        edge: list[ast.BinOp] = []
        at: ast.expr = node
        while isinstance(at, ast.BinOp):
            edge.append(at)
            at = at.left
        left = self.value(at, env)
        for part in reversed(edge):
            right = self.value(part.right, env)
            inputs = [item for item in (left, right) if item is not None]
            if inputs:
                left = self.graph.add(type(part.op).__name__.lower(), part, inputs)
        return left

    def _join(
        self,
        kind: str,
        node: ast.expr,
        parts: list[ast.expr],
        env: dict[str, Op],
        keep: bool = False,
    ) -> Op | None:
        inputs: list[Op] = []
        for part in parts:
            op = self.value(part, env)
            if op is not None:
                inputs.append(op)
            elif keep:
                inputs.append(self.graph.add("?", part, []))
        return self.graph.add(kind, node, inputs) if inputs else None

    def call(self, node: ast.Call, env: dict[str, Op]) -> Op:
        """Add a call: of a layer on self, of a function, of a method."""
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        inputs = [op for op in (self.value(item, env) for item in arguments) if op is not None]
        function = node.func
        if isinstance(function, ast.Attribute):
            if isinstance(function.value, ast.Name) and function.value.id == self.me:
                return self._layer(node, function.attr, inputs)
            name = self.module.resolve(function)
            if name:
                return self.graph.add(name, node, inputs)
            value = self.value(function.value, env)
            return self.graph.add(
                "." + function.attr, node, [value, *inputs] if value is not None else inputs
            )
        if isinstance(function, ast.Call):
            kind, make = layer(self.module, function)
            if make is not None:
                return self.graph.add(kind, node, inputs, make=make)
        return self.graph.add(self.module.resolve(function) or "?", node, inputs)

    def _layer(self, node: ast.Call, attribute: str, inputs: list[Op]) -> Op:
        values = [(self.module, value) for value, _ in self.owner.values(attribute)]
        if not values and self._inherits:
            inherited = lineage(self.module, self.owner).values(attribute)
            values = [(module, value) for module, value, _ in inherited]
        kinds = [layer(module, value) for module, value in values]
        known = [(kind, make) for kind, make in kinds if kind not in ("?", "torch.nn.Identity")]
        unknown = [
            value
            for (kind, _), (_, value) in zip(kinds, values, strict=True)
            if kind == "?" and not isinstance(value, ast.Constant)
        ]
        if not known or unknown or len({kind for kind, _ in known}) > 1:
            return self.graph.add("?", node, inputs, name=attribute)
        kind, make = known[0]
        if kind == "torch.nn.Sequential" and make is not None and inputs:
            if values[0][0] is not self.module:
                # Its items are named as another file names them.
                return self.graph.add("?", node, inputs, name=attribute)
            end = self.graph.extend(sequential_items(make), inputs[0])
            return end if end is not inputs[0] else self.graph.add("?", node, inputs)
        return self.graph.add(kind, node, inputs, make=make, name=attribute)
