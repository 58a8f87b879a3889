"""The doctor on code that nobody here wrote: no crash, and in time."""

from __future__ import annotations

import importlib.util
import sysconfig
import time
from pathlib import Path

import pytest

from droplab.doctor import check

# Reference figures are in docs/doctor-field-report.md; this bound only catches a quadratic check
# on a machine that is busy with other tests.
_SECONDS_PER_MEGABYTE = 3.0


def _folder(name):
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stdlib", "torch", "numba", "transformers", "timm"])
def test_large_code_is_read_without_a_crash(name):
    folder = Path(sysconfig.get_path("stdlib")) if name == "stdlib" else _folder(name)
    if folder is None:
        assert name in ("transformers", "timm"), "an optional extra of the tests"
        return
    begin = time.process_time()
    report = check([folder])
    seconds = time.process_time() - begin
    size = sum(file.stat().st_size for file in folder.rglob("*.py")) / 1e6
    assert report.files > 100
    assert seconds < 5 + size * _SECONDS_PER_MEGABYTE
    unreadable = {finding.path for finding in report.findings if finding.code == "DRP000"}
    # The standard library tests its parser with files that are broken on purpose.
    assert len(unreadable) < 0.05 * report.files
    assert not [finding for finding in report.findings if "nested too deeply" in finding.message]
