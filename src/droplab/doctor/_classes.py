"""What is known of a class without importing it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef


class ClassInfo:
    """A class of the file: its bases, methods and what it keeps on `self`.

    Args:
        node: Its syntax.
        bases: The full names of its bases; "" for what is not imported.
        known: Classes of the same file by name, for inheritance within the file.
        is_use: Whether a read attribute may be one of an object: not of a module, nor a setting.
    """

    def __init__(
        self,
        node: ast.ClassDef,
        bases: list[str],
        known: Mapping[str, ClassInfo],
        is_use: Callable[[ast.Attribute], bool],
    ) -> None:
        self._is_use = is_use
        self.node = node
        self.name = node.name
        self.bases = bases
        names = [base.id for base in node.bases if isinstance(base, ast.Name)]
        self.parents = [known[name] for name in names if name in known]
        self.own_attributes: dict[str, list[tuple[ast.expr, Function]]] = {}
        self.methods: dict[str, Function] = {
            item.name: item
            for item in node.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    @cached_property
    def is_module(self) -> bool:
        """Whether it is a torch module, as far as the file tells.

        A base from torch.nn or Lightning settles it; otherwise a class with an unknown base and a
        `forward` counts, and so does one derived from such a class.
        """
        if any(
            base.startswith("torch.nn.") or base.endswith(("LightningModule", ".nn.Module"))
            for base in self.bases
        ):
            return True
        if any(parent.is_module for parent in self.parents):
            return True
        return bool(self.node.bases) and "forward" in self.methods

    def keep(self, node: ast.stmt, method: Function) -> None:
        """Note an assignment in one of the methods, if it is to an attribute of self."""
        me = self_name(method)
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) or node.value is None:
            return
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        value = node.value
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == me
            ):
                self.own_attributes.setdefault(target.attr, []).append((value, method))

    @cached_property
    def reads(self) -> set[str]:
        """Attributes that the class reads, of whatever object that is no module and no setting."""
        return {
            node.attr
            for node in ast.walk(self.node)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and self._is_use(node)
        }

    def values(self, attribute: str) -> list[tuple[ast.expr, Function]]:
        """Return what this class and its parents in the file assign to an attribute."""
        found = list(self.own_attributes.get(attribute, ()))
        for parent in self.parents:
            found.extend(parent.values(attribute))
        return found

    def find_method(self, name: str) -> Function | None:
        """Return a method of this class or of a parent in the file."""
        if name in self.methods:
            return self.methods[name]
        for parent in self.parents:
            method = parent.find_method(name)
            if method is not None:
                return method
        return None

    @cached_property
    def family(self) -> list[ClassInfo]:
        """This class and all its parents in the file."""
        found: list[ClassInfo] = [self]
        for parent in self.parents:
            found.extend(item for item in parent.family if item not in found)
        return found


def self_name(method: Function) -> str | None:
    """Return the name of a method's first argument, or None for a static or class method."""
    for decorator in method.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id in ("staticmethod", "classmethod"):
            return None
    arguments = [*method.args.posonlyargs, *method.args.args]
    return arguments[0].arg if arguments else None
