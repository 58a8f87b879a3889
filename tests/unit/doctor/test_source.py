"""Reading: encodings, line ends, positions, notebooks, broken files."""

from __future__ import annotations

import json

import pytest

from droplab.doctor import check, check_text
from droplab.doctor._source import Source, UnreadableError, decode

LSTM = "from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)\n"


def codes(findings):
    return [finding.code for finding in findings]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00bad",
        b"# -*- coding: utf-8 -*-\nx = '\xe9'\n",
        b"# coding: no-such-codec\nx = 1\n",
        b"x = 1\n\x80\n",
    ],
)
def test_bytes_that_are_no_text_are_a_finding(tmp_path, data):
    file = tmp_path / "a.py"
    file.write_bytes(data)
    assert codes(check([file]).findings) == ["DRP000"]


def test_the_line_of_a_bad_byte_is_told():
    with pytest.raises(UnreadableError) as caught:
        decode(b"x = 1\ny = 2\nz = '\xff'\n", "a.py")
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "text",
    ["def f(:\n", "x = (1,\n", "  x = 1\n", "'''open\n", "x = 1 +\n", "\0", "if x\n", "a b c\n"],
)
def test_syntax_errors_are_reported_as_such(text):
    (finding,) = check_text(text)
    assert finding.code == "DRP000"
    assert "syntax error" in finding.message or "cannot be parsed" in finding.message


def test_a_syntax_error_points_at_its_line():
    (finding,) = check_text("x = 1\ny = (\n")
    assert (finding.line, finding.source) == (2, "y = (")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
def test_declared_encodings_are_read_and_written_back(tmp_path, encoding):
    head = "" if encoding.startswith("utf-8") else f"# coding: {encoding}\n"
    text = head + "# café é\nimport torch\nx = 'ü'; rnn = torch.nn.LSTM(8, 8, dropout=0.5)\n"
    file = tmp_path / "a.py"
    file.write_bytes(text.encode(encoding))
    report = check([file], fix=True)
    assert (codes(report.fixed), report.findings) == (["DRP015"], ())
    assert file.read_bytes() == text.replace(", dropout=0.5", "").encode(encoding)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_survive_a_fix(tmp_path, end):
    file = tmp_path / "a.py"
    file.write_bytes(LSTM.replace("\n", end).encode())
    assert codes(check([file], fix=True).fixed) == ["DRP015"]
    assert file.read_bytes() == LSTM.replace("\n", end).replace(", dropout=0.5", "").encode()


def test_columns_count_characters_not_bytes():
    text = "import torch\nx = '🙂é'; y = torch.nn.Dropout(50)\n"
    (finding,) = check_text(text)
    line = text.splitlines()[1]
    assert line[finding.column - 1 : finding.end_column - 1] == "50"


def test_form_feeds_and_separators_do_not_shift_lines():
    text = "import torch\n\x0cx = '\x1c\u2028\x85'\ny = torch.nn.Dropout(50)\n"
    (finding,) = check_text(text)
    assert (finding.line, finding.source) == (3, "y = torch.nn.Dropout(50)")


def test_a_deep_expression_is_no_crash():
    deep = "import torch\nx = torch.nn.Dropout(" + " / ".join(["1"] * 20_000) + ")\n"
    assert set(codes(check_text(deep))) <= {"DRP000"}
    nested = "import torch.nn as nn\nx = " + "nn.Sequential(" * 90 + "nn.Dropout(50)" + ")" * 90
    assert "DRP011" in codes(check_text(nested))


def test_relative_imports_are_followed_inside_torch(tmp_path):
    source = Source("from .. import functional as F\n", package="torch.nn.modules")
    assert source.package == "torch.nn.modules"
    package = tmp_path / "torch" / "nn"
    package.mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").touch()
    (package / "__init__.py").touch()
    file = package / "net.py"
    file.write_text(
        "from . import functional as F\nfrom .modules import Module\n"
        "class Net(Module):\n    def forward(self, x):\n        return F.dropout(x, 0.5)\n"
    )
    assert codes(check([file]).findings) == ["DRP001"]


def notebook(*cells):
    """Return a notebook with the given code cells, the way Jupyter writes it."""
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {},
            "cells": [
                {"cell_type": "markdown", "metadata": {}, "source": ["# nn.Dropout(50)"]},
                *(
                    {"cell_type": "code", "metadata": {}, "source": cell.splitlines(True)}
                    for cell in cells
                ),
            ],
        }
    )


def test_notebooks_are_read_cell_by_cell(tmp_path):
    file = tmp_path / "a.ipynb"
    file.write_text(
        notebook("from torch import nn", "%matplotlib inline\n!pip list\nx = 1\ny = nn.Dropout(50)")
    )
    (finding,) = check([file]).findings
    assert (finding.code, finding.cell, finding.line) == ("DRP011", 3, 4)
    assert finding.place == f"{file}:cell 3:4:16"


def test_notebooks_are_never_written(tmp_path):
    file = tmp_path / "a.ipynb"
    text = notebook("from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)")
    file.write_text(text)
    report = check([file], fix=True)
    assert (codes(report.findings), report.fixed) == (["DRP015"], ())
    assert not report.findings[0].fixable
    assert file.read_text() == text


def test_cells_in_other_languages_and_broken_cells_are_passed_over(tmp_path):
    file = tmp_path / "a.ipynb"
    file.write_text(
        notebook(
            "from torch import nn",
            "%%bash\nls -l | grep x",
            "def half(",
            "files = !ls\nnn.Dropout?\ndrop = nn.Dropout(50)  # droplab: ignore",
            "%%time\ndrop = nn.Dropout(70)",
        )
    )
    assert [(f.code, f.cell) for f in check([file]).findings] == [("DRP011", 6)]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cells": 3}', "null", "\x00"])
def test_a_broken_notebook_is_a_finding(tmp_path, text):
    file = tmp_path / "a.ipynb"
    file.write_text(text)
    (finding,) = check([file]).findings
    assert (finding.code, "not a notebook" in finding.message) == ("DRP000", True)


def test_an_old_notebook_and_one_without_code(tmp_path):
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": LSTM.splitlines(True)}]}]}
    (tmp_path / "old.ipynb").write_text(json.dumps(old))
    (tmp_path / "none.ipynb").write_text(json.dumps({"cells": []}))
    assert codes(check([tmp_path]).findings) == ["DRP015"]


RANKS = """import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
{more}
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net(x).sum().backward()
optimizer.step()
"""


@pytest.mark.parametrize(
    ("path", "more", "expected"),
    [
        ("train.py", "net = nn.parallel.DistributedDataParallel(net)", ["DRP042"]),
        ("latest_train.py", "loader = DataLoader(d, sampler=DistributedSampler(d))", ["DRP042"]),
        ("test_train.py", "net = nn.parallel.DistributedDataParallel(net)", ["DRP042"]),
        ("train.py", "import pytest\nnet = nn.parallel.DistributedDataParallel(net)", []),
        ("train.py", "net = parallelize(net, tp_plan=PLAN)", []),
    ],
)
def test_one_seed_for_all_ranks_matters_where_each_has_its_own_samples(path, more, expected):
    found = check_text(RANKS.format(more=more), path=path)
    assert codes(found) == expected
