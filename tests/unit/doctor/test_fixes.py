"""Fixes on disk: what they change, what they leave alone, and which are unsafe."""

from __future__ import annotations

import os
import stat

import pytest

from droplab.doctor import check
from droplab.doctor._edit import apply, mend
from droplab.doctor._finding import Edit, Finding

LSTM = "from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)\n"


def codes(findings):
    return [finding.code for finding in findings]


def test_a_fix_keeps_mode_and_link(tmp_path):
    real = tmp_path / "real.py"
    real.write_text(LSTM)
    real.chmod(0o754)
    link = tmp_path / "link.py"
    link.symlink_to(real)
    check([link], fix=True)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o754
    assert "dropout" not in real.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.py", "real.py"]


def test_a_fix_leaves_everything_else_alone(tmp_path):
    text = (
        "import torch.nn.functional as F\n\n\n"
        "class Net(torch.nn.Module):   # a  comment\n"
        "\tdef forward( self,x ) :\n"
        "\t\treturn F.dropout( x,\t0.5  ,  # half\n\t\t)   # end\n"
    )
    file = tmp_path / "a.py"
    file.write_text("import torch\n" + text)
    report = check([file], fix=True)
    assert codes(report.fixed) == ["DRP001"]
    assert file.read_text() == "import torch\n" + text.replace("0.5", "0.5, training=self.training")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("F.dropout(x)", "F.dropout(x, training=self.training)"),
        ("F.dropout((x))", "F.dropout((x), training=self.training)"),
        ("F.dropout(x, p=(0.5))", "F.dropout(x, p=(0.5), training=self.training)"),
        ("F.dropout(x, 0.5,)", "F.dropout(x, 0.5, training=self.training,)"),
        ("F.dropout(x, 0.5, True)", "F.dropout(x, 0.5, True)"),
        (
            "F.dropout(F.dropout(x))",
            "F.dropout(F.dropout(x, training=self.training), training=self.training)",
        ),
        ("F.dropout(x, self.training)", "F.dropout(x, training=self.training)"),
        ("nn.Dropout(0.5)(x)", "nn.functional.dropout(x, 0.5, training=self.training)"),
        ("nn.Dropout(keep_prob=0.5)", "nn.Dropout(keep_prob=0.5)"),
        ("nn.Dropout(rate=0.5).eval()", "nn.Dropout(p=0.5).eval()"),
    ],
)
def test_fixes_one_by_one(tmp_path, before, after):
    frame = (
        "import torch.nn.functional as F\nfrom torch import nn\n"
        "class Net(nn.Module):\n    def forward(self, x):\n        return {}\n"
    )
    file = tmp_path / "a.py"
    file.write_text(frame.format(before))
    check([file], fix=True, unsafe_fixes=True)
    assert file.read_text() == frame.format(after)
    written = file.stat().st_mtime_ns
    assert check([file], fix=True, unsafe_fixes=True).fixed == ()
    assert file.stat().st_mtime_ns == written


IMPORTS = (
    "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
    "from torch.utils.checkpoint import checkpoint\n"
)
MODULE = "class Net(nn.Module):\n    def forward(self, x):\n        {}\n        return x\n"


@pytest.mark.parametrize(
    ("line", "unsafe"),
    [
        ("x = F.dropout(x, 0.5)", False),  # eval mode alone is mended
        ("x = F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)", False),
        ("x = nn.Dropout(0.5)(x)", False),
        ("x = nn.LSTM(8, 16, dropout=0.5)(x)[0]", False),  # an argument that does nothing
        ("x = nn.Dropout(rate=0.5).eval()(x)", False),  # it raises
        ("x = F.dropout(torch.relu(x), 0.5, True, True)", False),  # its backward pass raises
        ("x = F.alpha_dropout(x, 0.5)", True),  # from now on it drops
        ("x = F.dropout(x, self.training)", True),
        ("F.dropout(x, 0.5, self.training)", True),
        ("y = F.dropout(x, 0.5, self.training, True)\n        x = x + y", True),
        ("x = checkpoint(F.dropout, x, preserve_rng_state=False)\n        nn.Dropout()", True),
    ],
)
def test_a_fix_that_changes_training_is_unsafe(tmp_path, line, unsafe):
    file = tmp_path / "a.py"
    file.write_text(IMPORTS + MODULE.format(line))
    found = [finding for finding in check([file]).findings if finding.edits]
    assert [finding.unsafe for finding in found] == [unsafe]
    assert [finding.fixable for finding in found] == [not unsafe]
    assert len(check([file], fix=True).fixed) == (not unsafe)
    assert len(check([file], fix=True, unsafe_fixes=True).fixed) == unsafe


def test_a_fix_that_would_not_parse_is_left_out():
    good = Finding("DRP001", "", "", edits=(Edit(0, 1, "y"),))
    bad = Finding("DRP001", "", "", edits=(Edit(4, 5, "("),))
    text, done = mend("x = 1", [bad, good])
    assert (text, done) == ("y = 1", [good])


def test_fixes_that_overlap_wait_for_the_next_round():
    one = Finding("DRP001", "", "", edits=(Edit(0, 3, "abc"),))
    two = Finding("DRP001", "", "", edits=(Edit(2, 5, "xyz"),))
    assert mend("aaaaaa", [one, two]) == ("abcaaa", [one])


def test_edits_are_applied_from_the_end():
    assert apply("abcdef", [Edit(0, 1, "AA"), Edit(3, 4, "")]) == "AAbcef"


def test_a_read_only_file_is_not_rewritten(tmp_path, monkeypatch):
    file = tmp_path / "net.py"
    file.write_text(LSTM)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    report = check([file], fix=True)
    assert (codes(report.findings), report.fixed) == (["DRP015"], ())
    assert file.read_text() == LSTM
