"""Every check against at least ten true and ten near-miss snippets."""

from __future__ import annotations

import ast
from collections import Counter

from droplab.doctor import check_text
from droplab.doctor._codes import CODES
from droplab.doctor._codes import READING as CHECKS
from droplab.doctor._settings import Settings
from droplab.doctor._source import Source
from droplab.doctor._text import fix_source


def found(snippet):
    ast.parse(snippet.text)
    return check_text(snippet.text, settings=Settings(select=frozenset({snippet.code})))


def test_true(true_snippet):
    """The check reports exactly the marked lines."""
    assert true_snippet.lines
    assert tuple(sorted(f.line for f in found(true_snippet))) == true_snippet.lines


def test_what_is_found_by_default(true_snippet):
    """All of a usual check, what is proven of a provable one, nothing of another optional one."""
    row = CODES[true_snippet.code]
    shown = not row.optional or (row.provable and true_snippet.kind == "true")
    lines = [item.line for item in check_text(true_snippet.text) if item.code == row.code]
    assert tuple(sorted(lines)) == (true_snippet.lines if shown else ())


def test_near(near_snippet):
    """The check reports nothing, however near it comes."""
    assert not near_snippet.lines
    assert found(near_snippet) == []


def test_a_fix_parses_mends_and_is_idempotent(true_snippet):
    """After --fix no fixable finding of the check is left, and a second run changes nothing."""
    settings = Settings(select=frozenset({true_snippet.code}))
    source = Source(true_snippet.text)
    before = check_text(source.text, settings=settings)
    mended, done = fix_source(source, settings)
    ast.parse(mended.text)
    after = check_text(mended.text, settings=settings)
    assert not any(finding.fixable for finding in after)
    assert len(done) == sum(finding.fixable for finding in before)
    assert len(after) == len(before) - len(done)
    again, none = fix_source(mended, settings)
    assert (again.text, none) == (mended.text, [])


def test_the_corpus_is_large_enough(corpus):
    """Ten and ten for every check that reads source."""
    counts = Counter((snippet.code, snippet.kind) for snippet in corpus)
    short = {
        (code, kind): counts[code, kind]
        for code in CHECKS
        for kind in ("true", "near")
        if counts[code, kind] + (kind == "true") * counts[code, "weak"] < 10
    }
    assert short == {}
