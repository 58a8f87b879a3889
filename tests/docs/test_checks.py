"""The pages of the checks: every example has its fault, every fix has none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from droplab.doctor import CODES, Settings, check_text, examine

ROOT = Path(__file__).parents[2]


def block(page, heading):
    """Return the first Python block under a heading."""
    match = re.search(rf"## {heading}\n.*?```python\n(.*?)```", page, re.DOTALL)
    return match[1]


def codes(code, text):
    if "reading" in CODES[code].found_by:
        every = Settings(select=frozenset(CODES))
        return {finding.code for finding in check_text(text, settings=every)}
    space = {}
    exec(text, space)
    return {finding.code for finding in examine(space["model"], torch.randn(16, 8))}


@pytest.mark.parametrize("code", CODES)
def test_example_and_fix(code):
    page = (ROOT / CODES[code].page).read_text(encoding="utf-8")
    assert codes(code, block(page, "Example")) == {code}
    assert codes(code, block(page, "Fix")) == set()


def test_the_index_runs(capsys):
    index = (ROOT / "docs/checks/index.md").read_text(encoding="utf-8")
    for text in re.findall(r"```python\n(.*?)```", index, re.DOTALL):
        exec(text, {})
    assert capsys.readouterr().out.splitlines()[0].startswith("DRP031")
