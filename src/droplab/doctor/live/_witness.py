"""What the checks may ask of whoever saw a model run: names, and findings at what was seen."""

from __future__ import annotations

import linecache
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from droplab.doctor._finding import Code, Finding, FoundBy, Severity
from droplab.doctor.live._events import Drop


class Witness(ABC):
    """Saw a model run, and says so in findings."""

    way: ClassVar[FoundBy]

    @abstractmethod
    def name(self, module: nn.Module | None) -> str:
        """Return the dotted path of a module in its model, or ""."""

    def label(self, drop: Drop) -> str:
        """Return how to call a dropout in a sentence: its class and path, or the function."""
        if drop.module is None:
            return f"{drop.name}()"
        name = self.name(drop.module)
        return f"{drop.name} '{name}'" if name else drop.name

    def finding(
        self,
        code: Code,
        message: str,
        advice: str,
        *,
        drop: Drop | None = None,
        place: tuple[str, int] = ("", 0),
        module: nn.Module | None = None,
        severity: Severity | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> Finding:
        """Return a finding at the call of a dropout, at a line, or at a module."""
        if drop is not None:
            place, module = drop.place, drop.module if module is None else module
        path, line = place if place[1] and Path(place[0]).is_file() else ("", 0)
        return Finding(
            code.code,
            message,
            advice,
            severity or code.severity,
            path=_relative(path),
            line=line,
            column=1 if line else 0,
            end_line=line,
            end_column=1 if line else 0,
            source=linecache.getline(path, line).strip() if line else "",
            module=self.name(module),
            found_by=self.way,
            evidence=evidence or {},
        )


def _relative(path: str) -> str:
    if not path:
        return ""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path
