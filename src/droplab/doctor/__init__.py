"""The doctor: prove that dropout is used wrongly.

Reading (`check`, `check_text`) imports neither torch nor the code that it reads. Running
(`examine`) and watching (`examine_loop`) need torch, so they are imported when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from droplab.doctor._baseline import without_baseline, write_baseline
from droplab.doctor._cache import Cache
from droplab.doctor._codes import CODES, Code, expand
from droplab.doctor._finding import Edit, Finding, Severity
from droplab.doctor._reading import Report, check
from droplab.doctor._settings import Settings, load_settings
from droplab.doctor._text import check_text

if TYPE_CHECKING:
    from droplab.doctor.live import Watch, examine, examine_loop

_LIVE = ("Watch", "examine", "examine_loop")

__all__ = [
    "CODES",
    "Cache",
    "Code",
    "Edit",
    "Finding",
    "Report",
    "Settings",
    "Severity",
    "Watch",
    "check",
    "check_text",
    "examine",
    "examine_loop",
    "expand",
    "load_settings",
    "without_baseline",
    "write_baseline",
]


def __getattr__(name: str) -> Any:
    if name in _LIVE:
        from droplab.doctor import live

        return getattr(live, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
