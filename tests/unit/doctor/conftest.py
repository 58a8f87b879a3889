"""Snippets of right and wrong code, one file a check: see the files in corpus/."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

CORPUS = Path(__file__).parent / "corpus"
LIVE = Path(__file__).parent / "live_corpus"
_HEAD = re.compile(r"^=== (prelude|frame|true|weak|near)(?: ([\w-]+))?(?:: (.*))?$")


@dataclass(frozen=True)
class Snippet:
    """A piece of source; `lines` are where findings are expected (marked by `# <-`).

    kind: "true" and "weak" have findings; the evidence of a weak one is not complete, so that an
    optional check reports it only where it is selected.
    """

    code: str
    kind: str
    title: str
    text: str
    lines: tuple[int, ...]

    @property
    def id(self) -> str:
        return f"{self.code}-{self.kind}-{self.title.replace(' ', '_')}"


def snippets(path: Path) -> list[Snippet]:
    """Read a corpus file: a prelude, frames with a BODY line, and snippets."""
    prelude, frames, found = "", {}, []
    blocks = re.split(r"(?m)^(?==== )", path.read_text(encoding="utf-8"))
    for block in blocks[1:]:
        head, _, text = block.partition("\n")
        match = _HEAD.match(head)
        if match is None:
            raise ValueError(f"{path.name}: {head}")
        kind, frame, title = match.groups()
        if kind == "prelude":
            prelude = text
        elif kind == "frame":
            frames[frame] = text
        else:
            if frame:
                text = _framed(frames[frame], text)
            text = prelude + text
            lines = tuple(n for n, line in enumerate(text.splitlines(), 1) if "# <-" in line)
            found.append(Snippet(path.stem, kind, title, text, lines))
    return found


def _framed(frame: str, text: str) -> str:
    indent = re.search(r"(?m)^( *)BODY$", frame)[1]
    body = "".join(indent + line if line.strip() else line for line in text.splitlines(True))
    return frame.replace(f"{indent}BODY\n", body)


LIVE_ALL = [snippet for path in sorted(LIVE.glob("DRP*.txt")) for snippet in snippets(path)]
ALL = [snippet for path in sorted(CORPUS.glob("DRP*.txt")) for snippet in snippets(path)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, every, kind in (
        ("true_snippet", ALL, "true"),
        ("near_snippet", ALL, "near"),
        ("true_model", LIVE_ALL, "true"),
        ("near_model", LIVE_ALL, "near"),
    ):
        if name in metafunc.fixturenames:
            chosen = [
                snippet for snippet in every if snippet.kind in (kind, kind == "true" and "weak")
            ]
            metafunc.parametrize(name, chosen, ids=[snippet.id for snippet in chosen])


@pytest.fixture(scope="session")
def live_corpus() -> list[Snippet]:
    """Every live model of every check."""
    return LIVE_ALL


@pytest.fixture(scope="session")
def corpus() -> list[Snippet]:
    """Every snippet of every check."""
    return ALL


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
