"""What doctests cannot be collected from on a machine that lacks a package."""

from __future__ import annotations

import importlib.util

_NEEDS = {
    "src/droplab/ops/_cuda.py": "triton",
    "src/droplab/ops/_cuda_rows.py": "triton",
    "src/droplab/integrations/skorch.py": "skorch",
}

collect_ignore = [file for file, package in _NEEDS.items() if not importlib.util.find_spec(package)]
