"""What the source patch refuses: with file, line and reason, and nothing written."""

from __future__ import annotations

import textwrap

import pytest
from torch import nn

from droplab.errors import PlacementError
from droplab.placement import patch_file, source_patch

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"


def forward(init, body, more=""):
    """Return a file with a class Net, whose lines 7 and 10 are `init` and `body`."""
    return (
        f"{HEADER}class Net(nn.Module):\n    def __init__(self, n=2):\n        super().__init__()\n"
        f"        {init}\n\n    def forward(self, x):\n        {body}\n{more}"
    )


FC = "self.fc = nn.Linear(3, 3)"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """Return a function that patches a text and gives the message."""
    monkeypatch.chdir(tmp_path)

    def make(text, rates, name="Net", kind=None):
        path = tmp_path / "net.py"
        path.write_text(text)
        with pytest.raises(PlacementError) as caught:
            patch_file(path.relative_to(tmp_path), name, rates, kind)
        assert path.read_text() == text
        return str(caught.value)

    return make


@pytest.mark.parametrize(
    ("init", "body", "rates", "message"),
    [
        # How the layer is used.
        (FC, "return F.relu(x)", {"fc": 0.1}, "net.py:7: 'fc' is made here, but no method of Net"),
        (FC, "layer = self.fc; return layer(x)", {"fc": 0.1}, "net.py:10: 'fc' is used here other"),
        (FC, "return [f(x) for f in (self.fc,)][0]", {"fc": 0.1}, "net.py:10: 'fc' is used here"),
        (FC, "return self.fc(*x)", {"fc": 0.1}, "net.py:10: the input of 'fc' cannot be told"),
        (FC, "return self.fc(**x)", {"fc": 0.1}, "net.py:10: the input of 'fc' cannot be told"),
        (FC, "return self.fc(weight=x)", {"fc": 0.1}, "net.py:10: the input of 'fc' cannot be"),
        (f"if n: {FC}", "return self.fc(x)", {"fc": 0.1}, "net.py:7: 'fc' is made on the line of"),
        # How it is made.
        ("self.fc = make()", "return self.fc(x)", {"fc": 0.1}, "net.py:7: 'fc' is made by make,"),
        ("self.fc = n", "return self.fc(x)", {"fc": 0.1}, "net.py:7: 'fc' is not made by a call"),
        (
            "self.fc = nn.Linear(3, 3) if n else None",
            "return self.fc(x)",
            {"fc": 0.1},
            "net.py:7: 'fc' is made under a condition, and is another layer or none",
        ),
        (
            f"if n:\n            {FC}\n        else:\n            self.fc = None",
            "return self.fc(x)",
            {"fc": 0.1},
            "net.py:8: 'fc' is made under a condition, and is another layer or none",
        ),
        (
            "self.net = nn.Sequential(nn.Linear(3, 3) if n else nn.Identity(), nn.ReLU())",
            "return self.net(x)",
            {"net.0": 0.1},
            "net.py:7: 'net.0' is made under a condition, and is another layer or none",
        ),
        ("self.a = self.fc = nn.Linear(3, 3)", "return self.fc(x)", {"fc": 0.1}, "makes no attr"),
        (
            "self.net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(n)])",
            "return self.net(x)",
            {"net.0": 0.1},
            "net.py:7: the elements of 'net' do not stand in the source",
        ),
        (
            "self.net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))",
            "return self.net[1](x)",
            {"net.1": 0.1},
            "net.py:10: 'net' is used here other than by calling",
        ),
        (
            "self.net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())",
            "return self.net(x)",
            {"net.1": 0.1},
            "net.py:7: 'net.1' is no linear, convolution or recurrent layer of torch; did you mean",
        ),
        (
            "self.all = nn.ModuleList([nn.Linear(3, 3)])",
            "return self.all[0](x)",
            {"all.0": 0.1},
            "net.py:7: 'all' is a ModuleList, whose layers are called through an index",
        ),
        # Whose it is.
        (
            "self.inner = Inner()",
            "return self.inner(x)",
            {"inner.fc": 0.1},
            "net.py:7: 'inner.fc' belongs to class Inner (line 11), and a change there reaches all "
            "its instances; run: droplab patch net.py:Inner --rates fc=0.1",
        ),
        (
            "self.blocks = nn.ModuleList([Inner() for _ in range(n)])",
            "return self.blocks[0](x)",
            {"blocks.1.fc": 0.1},
            "run: droplab patch net.py:Inner --rates fc=0.1",
        ),
        (
            "self.net = nn.Sequential(nn.ReLU(), Inner())",
            "return self.net(x)",
            {"net.1.fc": 0.1},
            "run: droplab patch net.py:Inner --rates fc=0.1",
        ),
        (
            "self.enc = torch.nn.TransformerEncoderLayer(4, 2)",
            "return self.enc(x)",
            {"enc.linear1": 0.1},
            "net.py:7: 'enc.linear1' belongs to torch.nn.TransformerEncoderLayer, which is defined",
        ),
        # What torch has no layer for.
        (
            "self.rnn = nn.LSTM(3, 3)",
            "return self.rnn(x)",
            {"rnn": 0.1},
            "net.py:7: 'rnn' needs dropout of the kind 'locked', for which torch has no layer; ask "
            "for the kind 'element'",
        ),
        # What was asked for.
        (
            FC,
            "return self.fc(x)",
            {"fcc": 0.1},
            "net.py:4: class Net makes no attribute 'fcc' that "
            "is a torch layer; did you mean 'fc'?",
        ),
        (
            FC,
            "return self.fc(x)",
            {"f.*": 0.1},
            "net.py:4: class Net: rates: 'f.*' matches no site",
        ),
        (FC, "return self.fc(x)", {"fc": 10}, "percentage; did you mean 0.1?"),
        (
            f"self.a = nn.Linear(3, 3)\n        {FC}",
            "return self.fc(self.a(x))",
            {"*": 0.1, "f*": 0.2},
            "both mean the site 'fc'",
        ),
    ],
)
def test_refusals_name_file_line_and_reason(refused, init, body, rates, message):
    inner = (
        "class Inner(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(3, 3)\n    def forward(self, x):\n        return self.fc(x)\n"
    )
    assert message in refused(forward(init, body, inner), rates)


INHERITED = HEADER + textwrap.dedent(
    """\
    from elsewhere import Far
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)
        def forward(self, x):
            return self.fc(self.more(x))
    class Net(Base):
        def __init__(self):
            super().__init__()
            self.more = nn.Linear(3, 3)
    class Abroad(Far):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)
    """
)


@pytest.mark.parametrize(
    ("name", "rates", "message"),
    [
        ("Net", {"fc": 0.1}, "net.py:8: 'fc' is made by the base class Base, and a change there"),
        ("Net", {"more": 0.1}, "net.py:10: 'more' is called in a method that Net inherits from"),
        ("Abroad", {"gone": 0.1}, "net.py:15: class Abroad makes no 'gone' itself; if its base"),
        ("Abroad", {"fc": 0.1}, "net.py:15: class Abroad inherits its forward from elsewhere.Far"),
        ("Nett", {"fc": 0.1}, "net.py: expected a class 'Nett', got none of that name; did you"),
    ],
)
def test_inherited_parts_are_refused_with_their_place(refused, name, rates, message):
    assert message in refused(INHERITED, rates, name)


def test_a_class_defined_twice_is_refused(refused):
    text = forward(FC, "return self.fc(x)") * 2
    assert "net.py:14: the class 'Net' is defined more than once, in lines 4 and 14" in refused(
        text, {"fc": 0.1}
    )


def test_a_nested_class_has_a_dotted_name(tmp_path):
    path = tmp_path / "net.py"
    body = textwrap.indent(forward(FC, "return self.fc(x)").removeprefix(HEADER), "    ")
    path.write_text(f"{HEADER}class Outer:\n{body}")
    assert "fc_dropout" in patch_file(path, "Outer.Net", {"fc": 0.1}).diff


def test_a_file_that_does_not_parse_is_refused(refused):
    assert refused("class Net(:\n  pass\n", {"fc": 0.1}).startswith(
        "net.py:1: expected Python, got: "
    )


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(PlacementError, match=r"gone.py: expected a Python file, got: No such"):
        patch_file(tmp_path / "gone.py", "Net", {"fc": 0.1})
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(PlacementError, match=r"bytes.py"):
        patch_file(tmp_path / "bytes.py", "Net", {"fc": 0.1})


def test_a_file_that_changed_since_is_not_overwritten(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(forward(FC, "return self.fc(x)"))
    patch = patch_file(path, "Net", {"fc": 0.1})
    path.write_text("# mine\n")
    with pytest.raises(PlacementError, match="expected the file as it was read, got another"):
        patch.write()
    assert path.read_text() == "# mine\n"


def test_writing_keeps_the_mode_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(forward(FC, "return self.fc(x)"))
    path.chmod(0o750)
    patch_file(path, "Net", {"fc": 0.1}).write()
    assert path.stat().st_mode & 0o777 == 0o750
    assert [file.name for file in tmp_path.iterdir()] == ["net.py"]


def test_a_change_that_would_not_parse_is_never_given_back(tmp_path, monkeypatch):
    import libcst as cst

    path = tmp_path / "net.py"
    path.write_text(forward(FC, "return self.fc(x)"))
    monkeypatch.setattr(cst.Module, "bytes", property(lambda self: b"def ("))
    with pytest.raises(PlacementError, match=r"the change would not parse.*nothing was written"):
        patch_file(path, "Net", {"fc": 0.1})


def test_a_class_without_a_file_is_refused():
    class Local(nn.Module):
        pass

    with pytest.raises(PlacementError, match="class or function that a file defines at its top"):
        source_patch(Local(), {"fc": 0.1})


def test_a_function_that_makes_what_is_elsewhere(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text("import other\n\n\ndef make():\n    return other.Net(8)\n")
    with pytest.raises(PlacementError, match=r"nets\.py:4: expected 'make' to return a class"):
        patch_file(path, "make", {"fc": 0.1})


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(3, 3)), nn.LSTM(3, 3), nn.Sequential])
def test_torchs_own_source_is_not_looked_at(model, monkeypatch):
    """Its lists of layers stand in no class; a second went into reading the file."""
    monkeypatch.setattr("droplab.placement._source_patch.patch_file", None)
    with pytest.raises(PlacementError, match=r"of your own, got \w+ of module torch"):
        source_patch(model, {"0": 0.3})


def test_a_sequential_is_changed_where_it_is_made(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        f"{HEADER}\n\ndef build():\n    return nn.Sequential(nn.Linear(3, 3), nn.Tanh())\n"
    )
    assert (
        "+    return nn.Sequential(nn.Dropout(p=0.3), nn.L"
        in patch_file(path, "build", {"0": 0.3}).diff
    )
