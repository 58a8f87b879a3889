"""What is remembered of files: right after any change, and ignored where it is broken."""

from __future__ import annotations

import json
import random

import pytest

from droplab.doctor import CODES, Cache, Settings
from droplab.doctor import _reading as reading
from droplab.doctor._cache import Read
from droplab.doctor._settings import Wanted

HEAD = "from torch import nn\nimport torch.nn.functional as F\n"
BASE = (
    "class Base(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.drop = nn.Dropout(0.5)\n    def forward(self, x):\n        return x\n"
)
CHILD = (
    "from base import Base  # Dropout\nclass Child(Base):\n"
    "    def forward(self, x):\n        return {}\n"
)
LSTM = "rnn = nn.LSTM(8, 16, dropout=0.5)\n"
PIECES = [
    BASE,
    CHILD.format("self.drop(x)"),
    CHILD.format("F.dropout(x)"),
    CHILD.format("getattr(self, 'drop')(x)"),
    "drop = nn.Dropout(50)\n",
    LSTM,
    "drop = nn.Dropout(50)  # noqa: DRP011\n",
    "x = (\n",
    "",
]


@pytest.fixture
def parsed(monkeypatch):
    """The files that were parsed, by name."""
    names = []

    def note(source, settings, inner=reading.check_source):
        names.append(source.path.rpartition("/")[2])
        return inner(source, settings)

    monkeypatch.setattr(reading, "check_source", note)
    return names


def check(paths, folder=None, version="1", **options):
    """Check with the cache of a folder, if one is given."""
    cache = Cache(folder, version) if folder is not None else None
    return reading.check(paths, cache=cache, **options)


def both(folder, settings=None):
    """Check with and without a cache; the results must be the same."""
    cached = check([folder], folder / ".droplab_cache", settings=settings)
    plain = check([folder], settings=settings)
    assert cached.findings == plain.findings
    assert cached.files == plain.files
    return cached


def test_only_what_changed_is_parsed_again(tmp_path, parsed):
    (tmp_path / "a.py").write_text(HEAD + LSTM)
    (tmp_path / "b.py").write_text(HEAD + BASE)
    cache = tmp_path / ".droplab_cache"
    first = check([tmp_path], cache)
    assert parsed == ["a.py", "b.py"]
    (tmp_path / "b.py").touch()
    assert check([tmp_path], cache).findings == first.findings
    assert parsed == ["a.py", "b.py"]
    (tmp_path / "b.py").write_text(HEAD)
    check([tmp_path], cache)
    assert parsed == ["a.py", "b.py", "b.py"]


@pytest.mark.parametrize("seed", range(6))
def test_it_is_right_after_any_edits(tmp_path, seed):
    """Files come, change, move and go; a finding of one is refuted by another."""
    draw = random.Random(seed)
    names = ["base.py", "child.py", "pkg/a.py", "pkg/__init__.py", "b.pyi"]
    (tmp_path / "pkg").mkdir()
    options = [None, Settings(ignore=frozenset({"DRP011"})), Settings(select=frozenset({"DRP022"}))]
    seen = set()
    for _ in range(25):
        for name in draw.sample(names, draw.randint(0, 2)):
            file = tmp_path / name
            if draw.random() < 0.2:
                file.unlink(missing_ok=True)
            else:
                pieces = draw.sample(PIECES, draw.randint(1, 2))
                file.write_text(HEAD * (draw.random() < 0.9) + "".join(pieces))
        seen |= {finding.code for finding in both(tmp_path, draw.choice(options)).findings}
    assert len(seen) > 1, "the edits must make findings that come and go"


def test_a_finding_that_another_file_refutes_comes_and_goes(tmp_path, parsed):
    (tmp_path / "base.py").write_text(HEAD + BASE)
    assert [f.code for f in both(tmp_path).findings] == ["DRP022"]
    (tmp_path / "child.py").write_text(HEAD + CHILD.format("self.drop(x)"))
    parsed.clear()
    assert check([tmp_path], tmp_path / ".droplab_cache").findings == ()
    assert parsed == ["child.py"]
    (tmp_path / "child.py").write_text(HEAD + CHILD.format("x"))
    assert [f.code for f in both(tmp_path).findings] == ["DRP022"]


def test_settings_of_single_files_count(tmp_path):
    (tmp_path / "a.py").write_text(HEAD + "drop = nn.Dropout(50)\n")
    assert len(both(tmp_path).findings) == 1
    settings = Settings(per_file_ignores={"a.py": frozenset({"DRP011"})})
    assert both(tmp_path, settings).findings == ()
    assert len(both(tmp_path).findings) == 1


DRP6 = frozenset({"DRP006"})


def test_the_package_and_the_kind_of_file_count():
    keys = {
        Read(b"x", package, notebook, wanted).key
        for package in ("", "a")
        for notebook in (False, True)
        for wanted in (Wanted(frozenset()), Wanted(DRP6), Wanted(DRP6, DRP6))
    }
    assert len(keys) == 12


BREAKS = [
    lambda text: "",
    lambda text: text[: len(text) // 2],
    lambda text: text.replace("DRP015", "DRP014"),
    lambda text: "null",
    lambda text: "\x00" * 50,
    lambda text: text.partition("\n")[0] + "\n{}",
]


@pytest.mark.parametrize("breaks", BREAKS)
def test_a_broken_cache_is_ignored_and_written_anew(tmp_path, parsed, breaks):
    (tmp_path / "a.py").write_text(HEAD + LSTM)
    both(tmp_path)
    file = tmp_path / ".droplab_cache" / "check.json"
    whole = file.read_text()
    file.write_text(breaks(whole))
    both(tmp_path)
    assert file.read_text() == whole
    parsed.clear()
    check([tmp_path], file.parent)
    assert parsed == []


@pytest.mark.parametrize(
    "entry",
    [
        3,
        [],
        ["{key}", 3],
        ["{key}", [3], [], []],
        ["{key}", [{"code": "DRP015"}], [[], [], []], {}],
        ["{key}", [{"code": 3, "evidence": {}, "edits": []}], [[], [], []], {}],
        ["{key}", [{"code": "DRP015", "evidence": {}, "edits": [3]}], [[], [], []], {}],
        ["{key}", [], [], {}],
        ["{key}", [], [[], [], [3]], {}],
        ["{key}", [], [[], [], []], [3]],
    ],
)
def test_an_entry_that_is_none_is_ignored(tmp_path, entry):
    """Whole by its digest, and still not what this version writes."""
    file = tmp_path / "a.py"
    file.write_text(HEAD + LSTM)
    both(tmp_path)
    key = Read(file.read_bytes(), "", False, Settings().wanted("a.py")).key
    cache = Cache(tmp_path / ".droplab_cache", "1")
    assert cache.find(file, Settings()) is not None
    cache._entries["a.py"] = json.loads(json.dumps(entry).replace("{key}", key))
    assert cache.find(file, Settings()) is None


def test_another_version_is_another_cache(tmp_path, parsed):
    (tmp_path / "a.py").write_text(HEAD + LSTM)
    both(tmp_path)
    parsed.clear()
    check([tmp_path], tmp_path / ".droplab_cache", "2")
    assert parsed == ["a.py"]


def test_a_folder_that_refuses_it_has_no_cache(tmp_path):
    (tmp_path / "a.py").write_text(HEAD + LSTM)
    (tmp_path / "full").write_text("a file")
    assert len(check([tmp_path / "a.py"], tmp_path / "full").findings) == 1
    assert (tmp_path / "full").read_text() == "a file"


def test_git_is_told_to_leave_it_alone_and_what_is_gone_is_dropped(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(HEAD + LSTM)
    both(tmp_path)
    cache = tmp_path / ".droplab_cache"
    assert (cache / ".gitignore").read_text().splitlines()[-1] == "*"
    assert sorted(p.name for p in cache.iterdir()) == [".gitignore", "check.json"]
    (tmp_path / "b.py").unlink()
    (tmp_path / "a.py").write_text(HEAD)
    both(tmp_path)
    assert list(json.loads((cache / "check.json").read_text().partition("\n")[2])) == ["a.py"]


def test_a_part_of_the_files_leaves_the_others_remembered(tmp_path, parsed):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(HEAD + LSTM)
    cache = tmp_path / ".droplab_cache"
    check([tmp_path / "a.py"], cache)
    check([tmp_path / "b.py"], cache)
    parsed.clear()
    check([tmp_path], cache)
    assert parsed == []


def test_what_is_remembered_can_be_mended(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(HEAD + LSTM)
    both(tmp_path)
    report = check([tmp_path], tmp_path / ".droplab_cache", fix=True)
    assert [finding.code for finding in report.fixed] == ["DRP015"]
    assert file.read_text() == HEAD + "rnn = nn.LSTM(8, 16)\n"
    assert both(tmp_path).findings == ()


def test_a_base_in_a_file_that_is_not_checked_may_change(tmp_path, parsed):
    """It may use what the class builds, or be gone."""
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\nfrom block import Block\nclass Net(Block):\n"
        "    def __init__(self):\n        super().__init__()\n        self.late = nn.Dropout(0.5)\n"
        "    def forward(self, x):\n        return x\n"
    )
    block = tmp_path / "block.py"
    texts = [None, BASE.replace("Base", "Block"), HEAD + "class Block(nn.Module):\n    pass\n"]
    texts += [HEAD + BASE.replace("Base", "Block").replace("return x", "return self.late(x)")]
    found = []
    for text in [*texts, *texts]:
        block.unlink(missing_ok=True) if text is None else block.write_text(text)
        cached = check([net], tmp_path / ".droplab_cache").findings
        assert cached == check([net]).findings
        found.append(len(cached))
        parsed.clear()
        check([net], tmp_path / ".droplab_cache")
        assert parsed == []
    assert set(found) == {0, 1}


def test_what_is_not_proven_is_not_taken_from_the_cache(tmp_path):
    """The same codes by default and by name differ in what they report of DRP006."""
    (tmp_path / "train.py").write_text(LOSES_ITS_MODE)
    every = Settings(select=frozenset(CODES))
    assert [item.code for item in both(tmp_path, every).findings] == ["DRP006"]
    assert both(tmp_path).findings == ()
    assert [item.code for item in both(tmp_path, every).findings] == ["DRP006"]


LOSES_ITS_MODE = """
import torch
from torch import nn
net = nn.Sequential(nn.Dropout(args.rate), nn.Linear(8, 2))
sgd = torch.optim.SGD(net.parameters(), lr=0.1)
for x in data:
    net(x).sum().backward()
    sgd.step()
    net.eval()
    print(net(v))
"""
