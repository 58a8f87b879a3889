"""Settings in pyproject.toml and on the command line."""

from __future__ import annotations

import pytest

from droplab.doctor import Settings, check
from droplab.doctor._settings import load_settings
from droplab.errors import ArgumentError

BAD = "from torch import nn\ndrop = nn.Dropout(50)\n"
LSTM = "from torch import nn\nrnn = nn.LSTM(8, 16, dropout=0.5)\n"


def write(folder, text):
    (folder / "pyproject.toml").write_text(text)


def test_settings_of_pyproject(tmp_path):
    write(
        tmp_path,
        """
        [tool.droplab.check]
        select = ["DRP01"]
        ignore = ["idle-rate"]
        exclude = ["old/*", "gen_*.py"]
        per-file-ignores = { "tests/*" = ["DRP011"] }
        """,
    )
    for name in ("a.py", "old/b.py", "gen_c.py", "tests/d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BAD + "e = nn.Dropout(0)\n" + LSTM)
    (tmp_path / "sub").mkdir()
    settings = load_settings(tmp_path / "sub")
    found = [
        (f.path.rpartition("/")[2], f.code) for f in check([tmp_path], settings=settings).findings
    ]
    assert found == [("a.py", "DRP011"), ("a.py", "DRP015"), ("d.py", "DRP015")]


def test_the_nearest_pyproject_counts_and_none_is_fine(tmp_path):
    write(tmp_path, "[tool.droplab.check]\nselect = ['DRP001']\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert load_settings(inner).select == {"DRP001"}
    write(inner, "[project]\nname = 'x'\n")
    assert len(load_settings(inner).select) > 20


VALIDATES = """
import torch
from torch import nn
model = nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.5))
optimizer = torch.optim.Adam(model.parameters())
for x, y in train_loader:
    criterion(model(x), y).backward()
    optimizer.step()
for x, y in val_loader:
    correct += (model(x).argmax(1) == y).sum()
"""


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        ("ignore = []", []),
        ("select = ['ALL']", ["DRP007"]),
        ("select = ['validation-in-train-mode']", ["DRP007"]),
        ("select = ['DRP00']", ["DRP007"]),
        ("select = ['ALL']\nignore = ['DRP007']", []),
    ],
)
def test_an_optional_check_has_to_be_asked_for(tmp_path, table, codes):
    (tmp_path / "train.py").write_text(VALIDATES)
    write(tmp_path, f"[tool.droplab.check]\n{table}\n")
    found = check([tmp_path], settings=load_settings(tmp_path)).findings
    assert [finding.code for finding in found] == codes


PROVEN = """
import torch
from torch import nn
model = nn.Sequential(nn.Linear(8, 2), nn.Dropout(0.5))
optimizer = torch.optim.Adam(model.parameters())
for epoch in range(3):
    for x, y in train_loader:
        criterion(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for x, y in val_loader:
            correct += (model(x).argmax(1) == y).sum()
"""


@pytest.mark.parametrize(
    ("table", "weak", "proven"),
    [
        ("", [], ["DRP006"]),
        ("select = ['DRP006']", ["DRP006"], ["DRP006"]),
        ("select = ['ALL']", ["DRP006"], ["DRP006"]),
        ("select = ['DRP014']", [], []),
        ("ignore = ['DRP006']", [], []),
    ],
)
def test_of_a_provable_check_what_is_proven_is_on(tmp_path, table, weak, proven):
    write(tmp_path, f"[tool.droplab.check]\n{table}\n")
    settings = load_settings(tmp_path)
    file = tmp_path / "train.py"
    for text, codes in ((PROVEN, proven), (PROVEN.replace("0.5", "args.rate"), weak)):
        file.write_text(text)
        assert [item.code for item in check([file], settings=settings).findings] == codes


def test_running_proves_optional_checks_too_unless_others_are_selected():
    assert Settings().wants("DRP041", "net.py", "running")
    assert not Settings().wants("DRP041", "net.py")
    assert not Settings(ignore=frozenset({"DRP041"})).wants("DRP041", "net.py", "running")
    assert not Settings(select=frozenset({"DRP014"})).wants("DRP041", "net.py", "running")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.droplab.check]\nselekt = []\n", "did you mean 'select'"),
        ("[tool.droplab.check]\nselect = 'DRP001'\n", "expected a list of strings"),
        ("[tool.droplab.check]\nignore = [1]\n", "expected a list of strings"),
        ("[tool.droplab.check]\nselect = ['DRP999']\n", "expected codes"),
        ("[tool.droplab.check]\nexclude = 3\n", "expected a list of strings"),
        ("[tool.droplab.check]\nper-file-ignores = []\n", "expected a table"),
        ("[tool.droplab.check]\nper-file-ignores = {'a' = ['X']}\n", "expected codes"),
        ("[tool.droplab]\ncheck = 3\n", "expected a table"),
        ("[tool.droplab.check\n", "expected valid TOML"),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(ArgumentError, match=message):
        load_settings(tmp_path)


def test_the_command_line_overrides():
    settings = Settings(select=frozenset({"DRP001"}), ignore=frozenset({"DRP002"}))
    assert settings.override(select=["DRP03"]).select == {f"DRP03{n}" for n in range(1, 7)}
    assert settings.override(ignore=["DRP014"]).ignore == {"DRP002", "DRP014"}
