"""`droplab check --lsp`: a real server, spoken to as an editor does, in JSON over its pipes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("pygls")

HEAD = "import torch.nn.functional as F\nfrom torch import nn\n\n\n"
NET = HEAD + "class Net(nn.Module):\n    def forward(self, x):\n        {}\n        return x\n"
SAFE = NET.format("x = F.dropout(x, 0.5)")
UNSAFE = NET.format("F.dropout(x, 0.5, self.training)")
GOOD = NET.format("x = F.dropout(x, 0.5, self.training)")


class Editor:
    """A client that knows the protocol's frames and nothing else."""

    def __init__(self, process):
        self._process = process
        self._number = 0
        self.told = []

    def _write(self, **message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _read(self):
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the server has ended"
        return json.loads(self._process.stdout.read(length))

    def ask(self, method, params):
        """Return the answer to a request; what is told meanwhile is kept."""
        self._number += 1
        self._write(id=self._number, method=method, params=params)
        while True:
            message = self._read()
            if message.get("id") == self._number and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            self.told.append(message)

    def tell(self, method, params):
        self._write(method=method, params=params)

    def marks(self, uri):
        """Return the next diagnostics of a file."""
        while True:
            message = self.told.pop(0) if self.told else self._read()
            if message.get("method") == "textDocument/publishDiagnostics":
                assert message["params"]["uri"] == uri
                return message["params"]["diagnostics"]

    def open(self, uri, text):
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        return self.marks(uri)

    def change(self, uri, text, version=2):
        document = {"uri": uri, "version": version}
        changes = {"textDocument": document, "contentChanges": [{"text": text}]}
        self.tell("textDocument/didChange", changes)
        return self.marks(uri)

    def actions(self, uri, mark):
        where = {"textDocument": {"uri": uri}, "range": mark["range"]}
        return self.ask("textDocument/codeAction", {**where, "context": {"diagnostics": [mark]}})


@pytest.fixture(scope="module")
def editor():
    command = [sys.executable, "-m", "droplab", "check", "--lsp"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        client = Editor(process)
        answer = client.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        assert answer["serverInfo"]["name"] == "droplab"
        assert answer["capabilities"]["hoverProvider"]
        client.tell("initialized", {})
        yield client
        client.ask("shutdown", None)
        client.tell("exit", None)
        assert process.wait(timeout=60) == 0


@pytest.fixture
def uri(tmp_path):
    (tmp_path / "net.py").touch()
    return (tmp_path / "net.py").as_uri()


def edited(text, action):
    """Apply an action's edits, whose columns count code units of UTF-16."""
    (edits,) = action["edit"]["changes"].values()
    lines = text.splitlines(keepends=True)

    def offset(place):
        units = lines[place["line"]].encode("utf-16-le")[: 2 * place["character"]]
        return sum(map(len, lines[: place["line"]])) + len(units.decode("utf-16-le"))

    for edit in sorted(edits, key=lambda e: offset(e["range"]["start"]), reverse=True):
        start, end = offset(edit["range"]["start"]), offset(edit["range"]["end"])
        text = text[:start] + edit["newText"] + text[end:]
    return text


def test_marks_follow_the_text(editor, uri):
    (mark,) = editor.open(uri, SAFE)
    assert (mark["code"], mark["source"], mark["severity"]) == ("DRP001", "droplab", 1)
    assert mark["message"].endswith("; pass training=self.training")
    assert mark["range"] == {
        "start": {"line": 6, "character": 12},
        "end": {"line": 6, "character": 29},
    }
    assert editor.change(uri, GOOD) == []
    assert [m["code"] for m in editor.change(uri, "x = (\n", 3)] == ["DRP000"]
    assert [m["code"] for m in editor.change(uri, "# more\n" + SAFE, 4)] == ["DRP001"]
    editor.tell("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert editor.marks(uri) == []


def test_hover_explains_the_check(editor, uri):
    editor.open(uri, SAFE)
    where = {"textDocument": {"uri": uri}, "position": {"line": 6, "character": 15}}
    answer = editor.ask("textDocument/hover", where)
    assert answer["contents"]["kind"] == "markdown"
    assert answer["contents"]["value"].startswith("# DRP001 untied-functional")
    where["position"] = {"line": 0, "character": 0}
    assert editor.ask("textDocument/hover", where) is None


def test_a_safe_fix_is_preferred_and_right(editor, uri):
    (mark,) = editor.open(uri, SAFE)
    fix, silence = editor.actions(uri, mark)
    assert (fix["kind"], fix["isPreferred"]) == ("quickfix", True)
    assert fix["title"] == "droplab: pass training=self.training"
    assert editor.change(uri, edited(SAFE, fix)) == []
    assert silence["title"] == "droplab: silence DRP001 in this line"
    assert not silence["isPreferred"]
    quiet = edited(SAFE, silence)
    assert "F.dropout(x, 0.5)  # noqa: DRP001\n" in quiet
    assert editor.change(uri, quiet, 3) == []


def test_an_unsafe_fix_says_so(editor, uri):
    (mark,) = editor.open(uri, UNSAFE)
    fix, _ = editor.actions(uri, mark)
    assert fix["title"].endswith("(unsafe: it changes what training computes)")
    assert not fix["isPreferred"]
    assert edited(UNSAFE, fix) == GOOD


def test_only_what_is_asked_for_is_offered(editor, uri):
    (mark,) = editor.open(uri, SAFE)
    where = {"textDocument": {"uri": uri}, "range": mark["range"]}
    context = {"diagnostics": [], "only": ["refactor"]}
    assert editor.ask("textDocument/codeAction", {**where, "context": context}) == []
    start = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
    assert editor.actions(uri, {**mark, "range": start}) == []


@pytest.mark.parametrize(
    ("line", "column", "after"),
    [
        # Columns of the protocol count code units of UTF-16.
        (
            's, x = "😀é", F.dropout(x)',
            22,
            's, x = "😀é", F.dropout(x, training=self.training)',
        ),
        ("x = F.dropout(\n            x\n        )", 12, None),
    ],
)
def test_columns_and_fixes_beyond_ascii(editor, uri, line, column, after):
    text = NET.format(line)
    (mark,) = editor.open(uri, text)
    assert mark["range"]["start"] == {"line": 6, "character": column}
    fix, silence = editor.actions(uri, mark)
    if after:
        assert edited(text, fix) == NET.format(after)
    assert editor.change(uri, edited(text, fix)) == []
    assert editor.change(uri, edited(text, silence), 3) == []


def test_a_comment_goes_where_it_is_one(editor, uri):
    """Nothing can be said after a backslash, nor inside of a string."""
    text = HEAD + 'net = nn.Sequential(nn.LSTM(8, 8, dropout=0.5), """\n""") \\\n    .eval()\n'
    (mark,) = editor.open(uri, text)
    assert [action["title"] for action in editor.actions(uri, mark)] == [
        "droplab: put nn.Dropout after the LSTM, or give it more layers"
    ]
    text = HEAD + "drop = nn.Dropout(50)  # noqa: E501\n"
    (mark,) = editor.change(uri, text)
    (silence,) = editor.actions(uri, mark)
    assert edited(text, silence).endswith("# noqa: E501, DRP011\n")


def test_settings_of_the_project_count_and_bad_ones_are_shown(editor, uri, tmp_path):
    settings = tmp_path / "pyproject.toml"
    settings.write_text("[tool.droplab.check]\nignore = ['DRP001']\n")
    assert editor.open(uri, SAFE) == []
    settings.write_text("[tool.droplab.check]\nexclude = ['net.py']\nselect = ['ALL']\n")
    assert editor.change(uri, UNSAFE) == []
    settings.write_text("[tool.droplab.check]\nselekt = []\n")
    editor.tell("textDocument/didSave", {"textDocument": {"uri": uri}})
    editor.ask(
        "textDocument/hover",
        {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 0}},
    )
    shown = [m["params"]["message"] for m in editor.told if m["method"] == "window/showMessage"]
    assert len(shown) == 1
    assert "did you mean 'select'" in shown[0]
    assert [m["code"] for m in editor.marks(uri)] == ["DRP021"]
