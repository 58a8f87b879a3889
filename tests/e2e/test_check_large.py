"""The doctor on code that nobody here wrote: no crash, and in time.

A quarter of the files of a large folder are read, another quarter with another
`DROPLAB_LARGE_QUARTER` (0 to 3), and all of them with "all".
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
import time
from pathlib import Path

import pytest

from droplab.doctor import Settings, check
from droplab.doctor._files import files

# Reference figures are in docs/doctor-field-report.md; this bound only catches a quadratic check
# on a machine that is busy with other tests.
_SECONDS_PER_MEGABYTE = 3.0
_QUARTER = os.environ.get("DROPLAB_LARGE_QUARTER", "0")


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
    chosen = list(files([folder], Settings()))
    if _QUARTER != "all":
        chosen = chosen[int(_QUARTER) :: 4]
    begin = time.process_time()
    report = check(chosen)
    seconds = time.process_time() - begin
    size = sum(file.stat().st_size for file in chosen) / 1e6
    assert report.files == len(chosen) > 50
    assert seconds < 5 + size * _SECONDS_PER_MEGABYTE
    unreadable = {finding.path for finding in report.findings if finding.code == "DRP000"}
    # The standard library tests its parser with files that are broken on purpose.
    assert len(unreadable) < 0.05 * report.files
    assert not [finding for finding in report.findings if "nested too deeply" in finding.message]
