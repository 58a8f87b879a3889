"""What doctests cannot be collected from on a machine without triton."""

from __future__ import annotations

import importlib.util

collect_ignore = (
    []
    if importlib.util.find_spec("triton")
    else ["src/droplab/ops/_cuda.py", "src/droplab/ops/_cuda_rows.py"]
)
