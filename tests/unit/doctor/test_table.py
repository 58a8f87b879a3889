"""The table of checks, the files of checks and the pages agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from droplab.doctor import CODES
from droplab.doctor._codes import READING, RUNNING, WATCHING, expand
from droplab.errors import ArgumentError

ROOT = Path(__file__).parents[3]
DOCTOR = ROOT / "src" / "droplab" / "doctor"


@pytest.mark.parametrize(
    ("way", "checks"), [("reading", READING), ("running", RUNNING), ("watching", WATCHING)]
)
def test_the_table_says_how_each_is_found(way, checks):
    said = {code.code for code in CODES.values() if way in code.found_by} - {"DRP000"}
    assert set(checks) == said


def test_every_file_of_a_check_is_in_the_table_under_its_own_name():
    """A check that is written and not collected would never run."""
    files = {file.stem.replace("_", "-") for file in (DOCTOR / "checks").glob("[!_]*.py")}
    assert files == {code.name for code in CODES.values()}
    ways = {code for checks in (READING, RUNNING, WATCHING) for code in checks}
    assert ways == set(CODES) - {"DRP000"}  # found by the parser, not by a function


def test_no_check_needs_torch_to_be_imported():
    code = (
        "import sys; sys.modules['torch'] = None; from droplab.doctor import CODES; print(*CODES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "DRP045" in done.stdout


def test_every_check_has_a_page_that_shows_pattern_and_fix():
    for code in CODES.values():
        page = (ROOT / code.page).read_text(encoding="utf-8")
        assert page.startswith(f"# {code.code} {code.name}\n"), code.code
        for heading in ("## What", "## Why", "## Example", "## Fix"):
            assert heading in page, (code.code, heading)
        assert ("Optional: " in page) == code.optional, code.code


def test_the_index_lists_every_check():
    index = (ROOT / "docs/checks/index.md").read_text(encoding="utf-8")
    for code in CODES.values():
        row = f"| [{code.code}]({code.code}.md) | {code.name} | {code.title} | {code.marks} |"
        row += f" {', '.join(code.found_by)} |"
        assert row in index, code.code


def test_codes_prefixes_names_and_all_select():
    assert expand(["DRP031"], where="x") == {"DRP031"}
    assert expand(["drp04"], where="x") == {code for code in CODES if code.startswith("DRP04")}
    assert expand(["drp04"], where="x") >= {f"DRP04{n}" for n in (1, 2, 3, 4, 5)}
    assert expand(["never-called"], where="x") == {"DRP022"}
    assert expand(["all"], where="x") == set(CODES)


@pytest.mark.parametrize("item", ["DRP999", "X001", "", "neverr-called", "DRP0010"])
def test_unknown_codes_are_refused(item):
    with pytest.raises(ArgumentError, match="--select: expected codes"):
        expand([item], where="--select")


def test_a_near_name_is_suggested():
    with pytest.raises(ArgumentError, match="did you mean 'never-called'"):
        expand(["neverr-called"], where="--select")
