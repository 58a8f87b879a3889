"""No text crashes the checker; what does not parse is reported as such."""

from __future__ import annotations

import ast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from droplab.doctor import check_text
from droplab.doctor._settings import Settings
from droplab.doctor._source import Source, UnreadableError, decode
from droplab.doctor._text import fix_source

_QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
_WORDS = st.sampled_from(
    """import torch;from torch import nn;import torch.nn.functional as F;class Net(nn.Module):;
def forward(self, x):;self.drop = nn.Dropout(0.5);return;F.dropout(x, 0.5);x;=;(;);[;];:;0;lambda
nn.Sequential(;nn.Linear(8, 8),;nn.Dropout(50);model.eval();model.train();loss.backward();yield
for x in y:;with torch.no_grad():;if self.training:;else:;await;async;*;**;,;training=;p=;'text'
f'{x}';# droplab: ignore[DRP0;\\;@;:=;match x:;case _:;try:;except:;torch.manual_seed(0)
checkpoint(f, preserve_rng_state=False);DataLoader(d, shuffle=True)""".replace("\n", ";").split(";")
)


def _parses(text):
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _examine(text):
    found = check_text(text)
    assert all(finding.line >= 1 and finding.column >= 1 for finding in found)
    if not _parses(text):
        assert [finding.code for finding in found] == ["DRP000"]
    mended, _ = fix_source(Source(text), Settings())
    assert mended.text == text or _parses(mended.text)
    again, _ = fix_source(mended, Settings())
    assert again.text == mended.text


@_QUICK
@given(st.text(max_size=200))
def test_any_text(text):
    _examine(text)


@_QUICK
@given(
    st.lists(st.tuples(_WORDS, st.sampled_from([" ", "\n", "\n    ", "\n        "])), max_size=30)
)
def test_words_of_the_trade_in_any_order(parts):
    _examine("import torch\n" + "".join(word + gap for word, gap in parts))


@_QUICK
@given(st.data())
def test_corpus_snippets_with_a_wound(corpus, data):
    """A character or a line is taken out, doubled or replaced in code that mattered."""
    snippet = data.draw(st.sampled_from(corpus))
    text = snippet.text
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 12))
    new = data.draw(st.sampled_from(["", "(", ")", "\n", "    ", "self.", "*", "=", "0", "x", "é"]))
    _examine(text[:at] + new + text[at + length :])


@_QUICK
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data, notebook):
    try:
        source = decode(data, "a", notebook=notebook)
    except UnreadableError:
        return
    check_text(source.text)


def test_names_assigned_from_themselves_are_not_followed_without_end():
    """Neither a list that is wrapped again nor a number that is multiplied makes a file deep."""
    text = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, size):
        super().__init__()
        for _ in range(3):
            size = size * 2
            left = right * 2
            right = left * 2
        self.sizes = [nn.Dropout(0.5), size * left]
        self.size = size * 2

loader = tqdm(loader)
for step in loader:
    model = Net(step)
    model(x).backward()
    optimizer.step()
"""
    assert [item for item in check_text(text) if item.code == "DRP000"] == []
