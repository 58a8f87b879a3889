"""The machine and the versions that a run was made with."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("droplab", "torch", "numpy", "numba", "triton", "pydantic", "safetensors")


def environment() -> dict[str, Any]:
    """Collect what a reader needs to judge or repeat a run, without importing torch.

    Returns:
        A dictionary that JSON can hold: `python`, `platform`, `cpu`, `cores` (usable by this
        process), `physical_cores` (of the machine, or None), `memory_bytes` and `packages`
        (name to version, of those installed).

    Example:
        >>> found = environment()
        >>> found["cores"] >= 1 and "numpy" in found["packages"]
        True
    """
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:
    """Return the version of each package that is installed; of one imported it cannot change."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _cpu_model() -> str:
    if sys.platform == "linux":
        try:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() in {"model name", "Model", "cpu model"} and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", check=True, timeout=5
            )
        except (OSError, subprocess.SubprocessError):
            pass
        else:
            return done.stdout.strip()
    return platform.processor() or platform.machine()
