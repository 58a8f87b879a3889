"""The page's files: small, of the house, and nothing foreign in them unseen."""

from __future__ import annotations

import gzip
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import droplab.lab
from droplab.report._theme import DARK, GROUND_DARK, GROUND_LIGHT, LIGHT

PAGE = Path(droplab.lab.__file__).parent / "page"
SENT = (".html", ".css", ".js", ".svg")
OURS = sorted(
    path for path in PAGE.rglob("*") if path.suffix in SENT and path.parent.name != "vendor"
)


def test_the_vendored_file_is_the_one_that_was_taken():
    table = (PAGE / "vendor" / "VENDORED.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (PAGE / "vendor").glob("*.js")
    }
    assert listed == there
    assert "MIT" in (PAGE / "vendor" / "uPlot.LICENSE").read_text(encoding="utf-8")


def test_the_whole_page_is_under_100_kilobytes():
    sizes = {
        path.name: len(gzip.compress(path.read_bytes(), 9))
        for path in PAGE.rglob("*")
        if path.suffix in SENT
    }
    assert sum(sizes.values()) < 100_000, sizes


def test_no_file_passes_400_lines():
    counts = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in OURS}
    assert not {name: count for name, count in counts.items() if count > 400}


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.inline = []
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "script" and "src" not in found:
            self.inline.append(tag)
        self.inline += [name for name in found if name == "style" or name.startswith("on")]
        self.inline += [tag] * (tag == "style")
        self.addresses += [found[name] for name in ("src", "href") if name in found]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    tags = _Tags()
    tags.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    assert not tags.inline
    assert tags.addresses
    assert all(address.startswith(("/", "#")) for address in tags.addresses)
    for address in tags.addresses:
        if address.startswith("/static/"):
            assert (PAGE / address.removeprefix("/static/")).is_file(), address


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_names_another_host_or_sets_markup(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


@pytest.mark.parametrize(
    ("ground", "colours", "part"), [(GROUND_LIGHT, LIGHT, 0), (GROUND_DARK, DARK, 1)]
)
def test_the_colours_are_the_reports(ground, colours, part):
    blocks = (PAGE / "app.css").read_text(encoding="utf-8").split("/* Ground */")[0]
    block = blocks.split("@media")[part]
    shown = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", block))
    wanted = {**ground, **{f"c{place}": colour for place, colour in enumerate(colours)}}
    assert {name: shown.get(name) for name in wanted} == wanted
