"""How a file speaks of torch: which dropout layer to write, and under which name."""

from __future__ import annotations

import libcst as cst
from torch import nn

from droplab.errors import PlacementError
from droplab.placement._layers import Kind, role_of
from droplab.placement._source._file import SourceFile
from droplab.placement._source._maker import torch_layer
from droplab.placement._source._places import Place, layer_class
from droplab.placement._source._rewrite import Changes


def dropout_layer(source: SourceFile, place: Place, kind: Kind) -> str:
    """Return the name of torch's layer for a kind of dropout at a site ("Dropout2d").

    Raises:
        PlacementError: If torch has none.
    """
    cls = layer_class(place.layer)
    what = None if cls is None else role_of(cls)
    conv = what == "conv"
    if kind == "element":
        return "Dropout"
    if kind == "alpha":
        return "FeatureAlphaDropout" if conv else "AlphaDropout"
    if kind == "channel" and conv:
        return f"Dropout{place.layer[-2]}d"
    need = "droplab.nn.LockedDropout" if kind == "locked" else "a mask that positions share"
    raise source.refuse(
        place.value,
        f"'{place.name}' needs dropout of the kind '{kind}', for which torch has no layer; ask for "
        f"the kind 'element', or write {need} by hand",
    )


class Imports:
    """What a file's imports call torch's layers.

    Args:
        source: The file.
        changes: Where a missing import is added.
    """

    def __init__(self, source: SourceFile, changes: Changes) -> None:
        self.source = source
        self.changes = changes
        self.names: dict[str, str] = {}
        self.lines: dict[str, cst.SimpleStatementLine] = {}
        self.first: cst.SimpleStatementLine | None = None
        for line in source.module.body:
            if isinstance(line, cst.SimpleStatementLine):
                for small in line.body:
                    self._read(line, small)

    def _read(self, line: cst.SimpleStatementLine, small: cst.CSTNode) -> None:
        if isinstance(small, cst.Import):
            for alias in small.names:
                full = self.source.code(alias.name)
                self.names.setdefault(full, alias.evaluated_alias or full)
        elif isinstance(small, cst.ImportFrom) and not isinstance(small.names, cst.ImportStar):
            module = self.source.code(small.module) if small.module and not small.relative else ""
            for alias in small.names:
                full = f"{module}.{self.source.code(alias.name)}"
                self.names.setdefault(full, alias.evaluated_alias or alias.evaluated_name)
            self.lines.setdefault(module, line)
            if module == "__future__":
                return
        else:
            return
        if self.first is None:
            self.first = line

    def layer(self, place: Place, name: str) -> str:
        """Return how to write torch's layer `name` in the place of a site."""
        func = place.value.func
        # as the layer itself is written: "nn."
        if isinstance(func, cst.Attribute) and torch_layer(self.source.full_name(func)):
            return f"{self.source.code(func.value)}.{name}"
        assert hasattr(nn, name)
        full = f"torch.nn.{name}"
        if full in self.names:
            return self.names[full]
        for module, rest in (("torch.nn", name), ("torch", f"nn.{name}")):
            if module in self.names:
                return f"{self.names[module]}.{rest}"
        return self._add("torch.nn", name)

    def ordered_dict(self) -> str:
        """Return how to write OrderedDict."""
        if "collections.OrderedDict" in self.names:
            return self.names["collections.OrderedDict"]
        if "collections" in self.names:
            return f"{self.names['collections']}.OrderedDict"
        return self._add("collections", "OrderedDict")

    def _add(self, module: str, name: str) -> str:
        text = f"from {module} import {name}"
        if module in self.lines:
            self.changes.after.setdefault(self.lines[module], []).append(text)
        elif self.first is not None:
            self.changes.before.setdefault(self.first, []).append(text)
        else:
            raise PlacementError(f"{self.source.path}: expected an import of torch, got none")
        self.names[f"{module}.{name}"] = name
        return name
